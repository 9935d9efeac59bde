package natsserver

import (
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func TestValidate(t *testing.T) {
	pw := setting.NewSecret("x")
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // keys
	}{
		{"defaults", func(*Config) {}, nil},
		{"closed", func(c *Config) { c.Listen = "" }, nil},
		{"localhost", func(c *Config) { c.Listen = "localhost:4222" }, nil},
		{"ipv6 loopback", func(c *Config) { c.Listen = "[::1]:4222" }, nil},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, []string{"listen"}},
		{"bad port", func(c *Config) { c.Listen = "127.0.0.1:70000" }, []string{"listen"}},
		{"off loopback", func(c *Config) { c.Listen = "0.0.0.0:4222" }, []string{"users", "tls"}},
		{"all interfaces", func(c *Config) { c.Listen = ":4222" }, []string{"users", "tls"}},
		{"host name", func(c *Config) { c.Listen = "nats.example.com:4222" }, []string{"users", "tls"}},
		{"off loopback, insecure", func(c *Config) { c.Listen, c.Insecure = "10.0.0.1:4222", true }, []string{"users"}},
		{"off loopback, users", func(c *Config) {
			c.Listen, c.Users = "10.0.0.1:4222", []User{{Name: "a", Password: pw}}
		}, []string{"tls"}},
		{"off loopback, users and tls", func(c *Config) {
			c.Listen, c.Users = "10.0.0.1:4222", []User{{Name: "a", Password: pw}}
			c.TLS = setting.TLS{CertFile: "c", KeyFile: "k"}
		}, nil},
		{"half tls", func(c *Config) { c.TLS = setting.TLS{CertFile: "c"} }, []string{"tls"}},
		{"users", func(c *Config) {
			c.Users = []User{
				{}, {Name: "a", Password: pw}, {Name: "a", Password: pw},
				{Name: "cycle-bridge-publisher", Password: pw},
				{Name: "b", Password: pw, Subscribe: []string{"cycle..a"}, Publish: []string{"cycle.x", ">", "*.a", "$JS.API.>", "ok.>", "a b"}},
			}
		}, []string{
			"users[0].name", "users[0].password", "users[2].name", "users[3].name",
			"users[4].subscribe[0]", "users[4].publish[0]", "users[4].publish[1]", "users[4].publish[2]",
			"users[4].publish[3]", "users[4].publish[5]",
		}},
		{"limits", func(c *Config) { c.Stream = StreamConfig{MaxAge: -time.Second, MaxBytes: 1} }, []string{"stream.max_age", "stream.max_bytes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.change(&c)
			var got []string
			for _, m := range c.Validate() {
				got = append(got, m.Key)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("keys = %q, want %q", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("keys = %q, want %q", got, tt.want)
					break
				}
			}
		})
	}
}
