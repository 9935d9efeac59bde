package natsserver

import (
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Config is the part of the configuration under "nats": the listener of the
// embedded server and the stream that consumers read.
type Config struct {
	Listen   string       `yaml:"listen" doc:"where consumers connect; empty closes it; other than loopback needs users and tls"`
	Users    []User       `yaml:"users" doc:"who may connect; empty: anybody on loopback, to read"`
	TLS      setting.TLS  `yaml:"tls" doc:"certificate of the listener"`
	Stream   StreamConfig `yaml:"stream" doc:"the stream CYCLE"`
	Insecure bool         `yaml:"insecure" doc:"allow a listener off loopback without TLS, for example behind a proxy"`
}

// User is a consumer's account.
type User struct {
	Name      string         `yaml:"name" doc:"user name"`
	Password  setting.Secret `yaml:"password" doc:"password"`
	Subscribe []string       `yaml:"subscribe" doc:"subjects it may subscribe to; default cycle.>"`
	Publish   []string       `yaml:"publish" doc:"subjects it may publish to, towards other users and never into the stream; none by default"`
}

// StreamConfig limits the stream CYCLE.
type StreamConfig struct {
	MaxAge   time.Duration `yaml:"max_age" doc:"how long events are kept"`
	MaxBytes setting.Size  `yaml:"max_bytes" doc:"how much is kept; auto: 30 % of the free space, at most 10GiB"`
}

// Defaults returns a Config with every default.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:4222",
		Stream: StreamConfig{MaxAge: 168 * time.Hour, MaxBytes: setting.SizeAuto},
	}
}
