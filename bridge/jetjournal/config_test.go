package jetjournal

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"defaults", func(*Config) {}, nil},
		{"no directory", func(c *Config) { c.Dir = "" }, []string{"dir"}},
		{"replicas of one", func(c *Config) { c.Replicas = 3 }, []string{"replicas"}},
		{"two replicas", func(c *Config) { c.URL, c.Name, c.Replicas = "nats://127.0.0.1:4222", "hubs", 2 }, []string{"replicas"}},
		{"url", func(c *Config) { c.URL, c.Name = "nats://127.0.0.1:4222", "hubs" }, nil},
		{"url without name", func(c *Config) { c.URL = "nats://127.0.0.1:4222" }, []string{"name"}},
		{"url embedded", func(c *Config) { c.URL, c.Name = "embedded", "hubs" }, []string{"url"}},
		{"bad url", func(c *Config) { c.URL, c.Name = "http://127.0.0.1:4222", "hubs" }, []string{"url"}},
		{"embedded with credentials", func(c *Config) { c.Token = setting.NewSecret("x") }, []string{"token"}},
		{"url with key", func(c *Config) {
			c.URL, c.Name, c.EncryptionKey = "nats://127.0.0.1:4222", "hubs", setting.NewSecret("x")
		}, []string{"encryption_key"}},
		{"odd name", func(c *Config) { c.Name = "a.b" }, []string{"name"}},
		{"long name", func(c *Config) { c.Name = strings.Repeat("a", 65) }, []string{"name"}},
		{"limits", func(c *Config) { c.MaxAge, c.MaxBytes = time.Second, 1 }, []string{"max_age", "max_bytes"}},
		{"negative age", func(c *Config) { c.MaxAge = -1 }, []string{"max_age"}},
		{"no limits", func(c *Config) { c.MaxAge = 0 }, nil},
		{"durability", func(c *Config) { c.Durability = "yes" }, []string{"durability"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.change(&c)
			var got []string
			for _, m := range c.Validate() {
				got = append(got, m.Key)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("keys = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStreamName(t *testing.T) {
	tests := []struct{ name, url, want string }{
		{"", "", "cycle-bridge"},
		{"mine", "", "mine"},
		{"mine", "nats://127.0.0.1:4222", "mine"},
		{"", "nats://127.0.0.1:4222", ""},
	}
	for _, tt := range tests {
		c := Defaults()
		c.Name, c.URL = tt.name, tt.url
		if got := c.StreamName(); got != tt.want {
			t.Errorf("name %q, url %q: StreamName = %q, want %q", tt.name, tt.url, got, tt.want)
		}
	}
}
