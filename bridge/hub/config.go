package hub

import (
	"fmt"
	"strconv"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Config describes one hub.
type Config struct {
	Name        string         `yaml:"name" doc:"a name of your own, for subjects ({hub_name}), logs and metrics"`
	ID          string         `yaml:"id" doc:"the hub's id, 24 hex digits (Hub settings in the portal)"`
	APIKey      setting.Secret `yaml:"api_key" doc:"API key with the capability apionly-notifications-listen"`
	APIURL      string         `yaml:"api_url" doc:"the API's address; a bare host is fine; custom cores have their own"`
	Connections Connections    `yaml:"connections" doc:"WebSocket connections held at once, or auto"`
	Filter      Filter         `yaml:"filter" doc:"what the hub is asked to send; empty: everything"`
	TLS         setting.TLS    `yaml:"tls" doc:"TLS towards the API, for a private CA"`
}

// Filter is what the hub is asked to send. Empty members do not restrict.
type Filter struct {
	Containers   []string `yaml:"containers" doc:"container ids"`
	Environments []string `yaml:"environments" doc:"environment ids"`
	Clusters     []string `yaml:"clusters" doc:"cluster names"`
	Topic        string   `yaml:"topic" doc:"one topic"`
}

// Connections is a number of connections; 0 is written auto.
type Connections int

// UnmarshalText reads "auto" or a number.
func (c *Connections) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*c = 0
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a number of connections: want auto or a number from 1", text)
	}
	*c = Connections(n)
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (c Connections) MarshalText() ([]byte, error) {
	if c == 0 {
		return []byte("auto"), nil
	}
	return strconv.AppendInt(nil, int64(c), 10), nil
}

// Defaults returns a Config with every default.
func Defaults() Config { return Config{APIURL: "https://api.cycle.io"} }
