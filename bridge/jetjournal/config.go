package jetjournal

import (
	"fmt"
	"strconv"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Config is the part of the configuration under "journal".
type Config struct {
	Dir             string `yaml:"dir" doc:"data directory of the embedded journal"`
	natsconn.Config `yaml:",inline"`
	Name            string         `yaml:"name" doc:"name of the journal's stream; bridges that share server and name are replicas; required with url, else cycle-bridge"`
	Replicas        Replicas       `yaml:"replicas" doc:"copies on a JetStream cluster; auto: 3 where the server has three peers, else 1"`
	MaxAge          time.Duration  `yaml:"max_age" doc:"how long events are kept"`
	MaxBytes        setting.Size   `yaml:"max_bytes" doc:"how much is kept; auto: 30 % of the free space, at most 10GiB"`
	Durability      string         `yaml:"durability" doc:"fsync: stored means on disk; relaxed: the server's own policy"`
	EncryptionKey   setting.Secret `yaml:"encryption_key" doc:"encrypts the embedded store at rest"`
}

// Replicas is a number of copies; 0 is written auto.
type Replicas int

// UnmarshalText reads "auto" or 1, 3 or 5.
func (r *Replicas) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "auto":
		*r = 0
	case "1", "3", "5":
		n, _ := strconv.Atoi(s)
		*r = Replicas(n)
	default:
		return fmt.Errorf("%q is not a number of replicas: want auto, 1, 3 or 5", text)
	}
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (r Replicas) MarshalText() ([]byte, error) {
	if r == 0 {
		return []byte("auto"), nil
	}
	return strconv.AppendInt(nil, int64(r), 10), nil
}

// Durability values.
const (
	DurabilityFsync   = "fsync"
	DurabilityRelaxed = "relaxed"
)

// Defaults returns a Config with every default.
func Defaults() Config {
	return Config{
		Dir: "./data", MaxAge: 168 * time.Hour,
		MaxBytes: setting.SizeAuto, Durability: DurabilityFsync,
	}
}

// defaultName is the name of an embedded journal. One elsewhere has none:
// two bridges that share a name by chance would take each other for replicas.
const defaultName = "cycle-bridge"

// embedded reports whether the journal is in the server of this process.
func (c Config) embedded() bool { return c.URL == "" }

// StreamName is the name of the journal and of its stream: Name, or
// "cycle-bridge" for an embedded journal without one. It is empty for a
// journal elsewhere without a name, which Validate refuses.
func (c Config) StreamName() string {
	if c.Name == "" && c.embedded() {
		return defaultName
	}
	return c.Name
}
