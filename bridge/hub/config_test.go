package hub

import (
	"strings"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func good() Config {
	c := Defaults()
	c.Name, c.ID, c.APIKey = "production", "60d0fe4f5311236168a109ca", setting.NewSecret(canaryKey)
	return c
}

// The numbers are those of the list of bad inputs.
func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Config)
		key    string // of the mistake; "" for none
		text   string // part of it
	}{
		{"defaults", func(*Config) {}, "", ""},
		{"(6) id too short", func(c *Config) { c.ID = "60d0" }, "id", "24 hex digits"},
		{"(6) id not hex", func(c *Config) { c.ID = "zzd0fe4f5311236168a109ca" }, "id", "24 hex digits"},
		{"(6) id missing", func(c *Config) { c.ID = "" }, "id", "required"},
		{"key missing", func(c *Config) { c.APIKey = setting.Secret{} }, "api_key", capability},
		{"(13) http", func(c *Config) { c.APIURL = "http://api.cycle.io" }, "api_url", "not encrypted"},
		{"(13) http to a name that begins like loopback", func(c *Config) { c.APIURL = "http://127.0.0.1.evil.com" }, "api_url", "not encrypted"},
		{"(13) http to localhost's subdomain", func(c *Config) { c.APIURL = "http://localhost.evil.com" }, "api_url", "not encrypted"},
		{"(13) http to a mapped address", func(c *Config) { c.APIURL = "http://[::ffff:127.0.0.1]" }, "api_url", "not encrypted"},
		{"(14) ws", func(c *Config) { c.APIURL = "ws://api.cycle.io" }, "api_url", "not encrypted"},
		{"(15) user and password", func(c *Config) { c.APIURL = "https://me:hunter2@api.cycle.io" }, "api_url", "remove it"},
		{"http to localhost", func(c *Config) { c.APIURL = "http://localhost:8080" }, "", ""},
		{"http to 127.0.0.2", func(c *Config) { c.APIURL = "http://127.0.0.2:1" }, "", ""},
		{"http to ::1", func(c *Config) { c.APIURL = "http://[::1]:1" }, "", ""},
		{"bare host", func(c *Config) { c.APIURL = "api.my-company.cycle.io" }, "", ""},
		{"empty url", func(c *Config) { c.APIURL = " " }, "api_url", "is empty"},
		{"other scheme", func(c *Config) { c.APIURL = "ftp://api.cycle.io" }, "api_url", "ftp"},
		{"no host", func(c *Config) { c.APIURL = "https://" }, "api_url", "no host"},
		{"query", func(c *Config) { c.APIURL = "https://api.cycle.io/?token=secret" }, "api_url", "query"},
		{"control characters", func(c *Config) { c.APIURL = "https://api.cycle.io\r\nX: y" }, "api_url", "not a URL"},
		{"two connections", func(c *Config) { c.Connections = 2 }, "connections", "later version"},
		{"one connection", func(c *Config) { c.Connections = 1 }, "", ""},
		{"container not an id", func(c *Config) { c.Filter.Containers = []string{"web"} }, "filter.containers[0]", "24 hex"},
		{"cluster with comma", func(c *Config) { c.Filter.Clusters = []string{"a", "b,c"} }, "filter.clusters[1]", "comma"},
		{"topic pattern", func(c *Config) { c.Filter.Topic = "container.>" }, "filter.topic", "one topic"},
		{"tls without tls", func(c *Config) { c.APIURL = "http://localhost"; c.TLS.Enabled = true }, "tls", "no meaning"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(&c)
			got := c.Validate()
			if tt.key == "" {
				if len(got) > 0 {
					t.Fatalf("got mistakes %v, want none", got)
				}
				if _, err := New(c, Options{}); err != nil {
					t.Errorf("New: %v", err)
				}
				return
			}
			if len(got) != 1 || got[0].Key != tt.key || !strings.Contains(got[0].Text, tt.text) {
				t.Fatalf("got %v, want one at %s about %q", got, tt.key, tt.text)
			}
			for _, secret := range []string{"hunter2", "secret", canaryKey} {
				if strings.Contains(got[0].Error(), secret) {
					t.Errorf("mistake %q holds a secret", got[0])
				}
			}
			if _, err := New(c, Options{}); err == nil {
				t.Error("New took it")
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	c := good()
	c.Filter.Topic = "container.state.change"
	// (23) unknown topic filter: a warning with the near ones, and it passes.
	if m := c.Validate(); len(m) > 0 {
		t.Fatalf("got mistakes %v, want none", m)
	}
	w := c.Warnings()
	if len(w) != 1 || !strings.Contains(w[0], "container.state.changed") || strings.Contains(w[0], "image.new") {
		t.Errorf("got %q, want one warning that names container.state.changed", w)
	}
	c.Filter.Topic = "image.new"
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("got %q for a known topic, want none", w)
	}
}

func TestEndpoint(t *testing.T) {
	for in, want := range map[string]string{
		"api.cycle.io":                  "https://api.cycle.io" + notificationsPath,
		"https://api.cycle.io/":         "https://api.cycle.io" + notificationsPath,
		"https://API.Cycle.io/v1":       "https://api.cycle.io" + notificationsPath,
		"wss://api.cycle.io":            "https://api.cycle.io" + notificationsPath,
		"https://h:8443/core/":          "https://h:8443/core" + notificationsPath,
		"ws://[::1]:9":                  "http://[::1]:9" + notificationsPath,
		"https://a" + notificationsPath: "https://a" + notificationsPath,
	} {
		ep, err := parseEndpoint(in)
		if err != nil {
			t.Errorf("parseEndpoint(%q): %v", in, err)
			continue
		}
		if got := ep.tokenURL(); got != want {
			t.Errorf("parseEndpoint(%q).tokenURL() = %q, want %q", in, got, want)
		}
	}
}

func TestSocketURL(t *testing.T) {
	f := Filter{Containers: []string{"a", "b"}, Clusters: []string{"prod & co"}, Topic: "x.y"}
	ep, err := parseEndpoint("https://api.my-company.cycle.io")
	if err != nil {
		t.Fatal(err)
	}
	const query = "clusters=prod+%26+co&containers=a%2Cb&token=t%26%23%25%0D%0A+%2B&topic=x.y"
	for _, tt := range []struct{ name, address, want, err string }{
		{"(33) no address", "", "https://api.my-company.cycle.io" + notificationsPath + "?" + query, ""},
		{"own host", "wss://api.my-company.cycle.io/ws", "https://api.my-company.cycle.io/ws?" + query, ""},
		{"subdomain of the registered name", "wss://ws.cycle.io/n?v=1", "https://ws.cycle.io/n?" + query + "&v=1", ""},
		{"the registered name", "https://cycle.io", "https://cycle.io?" + query, ""},
		{"without a scheme", "ws.cycle.io/n", "https://ws.cycle.io/n?" + query, ""},
		{"(41) metadata", "wss://169.254.169.254/latest", "", "does not belong"},
		{"(41) other domain", "wss://evil.example/ws", "", "does not belong"},
		{"(41) ends alike", "wss://evilcycle.io/ws", "", "does not belong"},
		{"(41) not encrypted", "ws://ws.cycle.io/n", "", "not encrypted"},
		{"(41) user", "wss://u:p@ws.cycle.io/n", "", "not a usable URL"},
		{"(41) scheme", "file:///etc/passwd", "", "not a usable URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ep.socketURL(grant{token: "t&#%\r\n +", address: tt.address}, f)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %q, %v, want an error about %q", got, err, tt.err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("got %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

func TestRegisteredName(t *testing.T) {
	for in, want := range map[string]string{
		"api.cycle.io": "cycle.io", "cycle.io": "cycle.io", "a.b.example.com": "example.com",
		"api.example.co.uk": "example.co.uk", "co.uk": "", "localhost": "", "10.0.0.1": "", "::1": "", "a..io": "",
	} {
		if got := registeredName(in); got != want {
			t.Errorf("registeredName(%q) = %q, want %q", in, got, want)
		}
	}
}
