package config

import (
	"log/slog"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/admin"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
	"github.com/cycle-bridge/cycle-bridge/bridge/jetjournal"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Config is the whole configuration. Load fills it; it is not changed
// afterwards and may be shared.
type Config struct {
	Hubs            []hub.Config      `yaml:"hubs" doc:"the Cycle hubs to listen to"`
	HubsFile        string            `yaml:"hubs_file" later:"true" doc:"files with more hubs (hubs.d/*.yaml), followed while running; not available in this version"`
	Sources         []Source          `yaml:"sources" doc:"other feeds: {name, type, ...}; none are available in this version"`
	Journal         Journal           `yaml:"journal" doc:"where events are stored before anything else happens to them"`
	NATS            natsserver.Config `yaml:"nats" doc:"the embedded NATS server, from which consumers read"`
	Sinks           []Sink            `yaml:"sinks" doc:"where events go; each has a name of its own, which its position in the journal is kept by"`
	HTTP            admin.Config      `yaml:"http" doc:"health, metrics and status"`
	Heartbeat       time.Duration     `yaml:"heartbeat" later:"true" doc:"interval of bridge.heartbeat events; 0s: none; not available in this version"`
	ShutdownTimeout time.Duration     `yaml:"shutdown_timeout" doc:"how long a shutdown may take to settle what is on its way"`
	Log             Log               `yaml:"log" doc:"the log, on standard error"`

	// File is the file that was read; empty when the configuration came from
	// CYCLE_* variables alone. It is absolute, or "-" for standard input.
	File string `yaml:"-"`
	// Warnings are worth telling, and no reason to stop.
	Warnings []Problem `yaml:"-"`
}

// Journal is the part under "journal": what the journal's package takes, and
// the cluster of embedded servers.
type Journal struct {
	jetjournal.Config `yaml:",inline"`
	Cluster           Cluster `yaml:"cluster" later:"true" doc:"three bridges whose embedded servers form the journal; not available in this version"`
}

// Cluster is empty: it keeps the key's place.
type Cluster struct{}

// Sink is one entry of "sinks".
type Sink struct {
	Name string
	Type string
	// Config is what the type's New returned, decoded: a pointer to a struct.
	Config any
}

// Source is one entry of "sources".
type Source struct {
	Name   string
	Type   string
	Config any
}

// Type is a type of sink or source.
type Type struct {
	// New returns a pointer to a new struct with the type's defaults. Where it
	// has a method Validate() []setting.Mistake, that is called after decoding.
	New func() any
	// Doc is one line for the example file.
	Doc string
}

// Log says what is logged, and how.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error"`
	Format string `yaml:"format" doc:"auto: text on a terminal, else json; or text, or json"`
}

// Validate reports levels and formats that do not exist.
func (l Log) Validate() []setting.Mistake {
	var out []setting.Mistake
	if m := oneOf("level", l.Level, "debug", "info", "warn", "error"); m != nil {
		out = append(out, *m)
	}
	if m := oneOf("format", l.Format, "auto", "text", "json"); m != nil {
		out = append(out, *m)
	}
	return out
}

// SlogLevel returns Level as slog has it; info when it is not valid.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}

// Defaults returns the configuration with every default: no hubs, and no
// sinks (those of an absent "sinks" come from Options.DefaultSinks).
func Defaults() Config {
	return Config{
		Journal:         Journal{Config: jetjournal.Defaults()},
		NATS:            natsserver.Defaults(),
		HTTP:            admin.Defaults(),
		ShutdownTimeout: 30 * time.Second,
		Log:             Log{Level: "info", Format: "auto"},
	}
}

// elementDefaults returns a new element of a list, for element types that
// have defaults.
func elementDefaults(zero any) any {
	switch zero.(type) {
	case hub.Config:
		return hub.Defaults()
	default:
		return zero
	}
}
