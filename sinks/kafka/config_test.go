package kafka

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Config)
		want []string // keys
	}{
		{"good", func(*Config) {}, nil},
		{"no brokers", func(c *Config) { c.Brokers = nil }, []string{"brokers"}},
		{"bad addresses", func(c *Config) { c.Brokers = []string{"a:1", "b", "c:0", ":9092", "kafka://u:secret@h:1"} },
			[]string{"brokers[1]", "brokers[2]", "brokers[3]", "brokers[4]"}},
		{"exactly-once", func(c *Config) { c.Delivery = "exactly-once" }, []string{"delivery"}},
		{"everything", func(c *Config) {
			c.Delivery, c.Format, c.Create, c.From, c.Compression = "twice", "xml", "maybe", "then", "rar"
			c.Partitions, c.Replication, c.Timeout, c.MaxBatchBytes, c.ClientID = -1, -2, 0, 1, "a\nb"
			c.Route = []Route{{Match: ">", Format: "raw"}, {Match: ">", Format: "xml"}}
		}, []string{"delivery", "create", "compression", "partitions", "replication", "timeout", "max_batch_bytes", "client_id", "from", "format", "route[1].format"}},
		{"plain without tls", func(c *Config) {
			c.SASL = SASL{Mechanism: "PLAIN", Username: "u", Password: setting.NewSecret("hunter2")}
		}, []string{"sasl.mechanism"}},
		{"plain without tls, allowed", func(c *Config) {
			c.SASL, c.Insecure = SASL{Mechanism: "PLAIN", Username: "u", Password: setting.NewSecret("hunter2")}, true
		}, nil},
		{"plain with tls", func(c *Config) {
			c.SASL, c.TLS.Enabled = SASL{Mechanism: "PLAIN", Username: "u", Password: setting.NewSecret("hunter2")}, true
		}, nil},
		{"half sasl", func(c *Config) { c.SASL.Mechanism = "SCRAM-SHA-512" }, []string{"sasl.username", "sasl.password"}},
		{"unknown mechanism", func(c *Config) {
			c.SASL = SASL{Mechanism: "NTLM", Username: "u", Password: setting.NewSecret("hunter2")}
		}, []string{"sasl.mechanism"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config([]string{"127.0.0.1:9092"})
			tt.edit(&c)
			var keys []string
			for _, m := range c.Validate() {
				keys = append(keys, m.Key)
				if strings.Contains(m.Text, "hunter2") || strings.Contains(m.Text, "secret@") {
					t.Errorf("a secret in %q", m.Text)
				}
			}
			if d := cmp.Diff(tt.want, keys); d != "" {
				t.Errorf("keys (-want +got)\n%s", d)
			}
			_, err := Open(t.Context(), c, bridge.Env{})
			if (err != nil) != (tt.want != nil) || err != nil && bridge.KindOf(err) != bridge.KindMisconfigured {
				t.Errorf("open: %v", err)
			}
		})
	}
}

// TestTags: every key has a name and a text for the example file.
func TestTags(t *testing.T) {
	var walk func(reflect.Type) = func(rt reflect.Type) {
		for f := range rt.Fields() {
			if f.Tag.Get("yaml") == "" || f.Tag.Get("doc") == "" {
				t.Errorf("%s.%s lacks yaml or doc", rt.Name(), f.Name)
			}
		}
	}
	for _, v := range []any{Config{}, Route{}, SASL{}} {
		walk(reflect.TypeOf(v))
	}
}

func TestPlan(t *testing.T) {
	c := Defaults()
	c.Route = []Route{{Match: "a.>", When: "w", Topic: "x", Key: "k", Format: "envelope"}, {Match: ">"}}
	want := bridge.Plan{
		Kind: bridge.DestinationKafka, Format: "raw", Destination: "cycle.{family}", Key: "{object|topic}",
		Rules: []bridge.Rule{{Match: "a.>", When: "w", Destination: "x", Key: "k", Format: "envelope"}, {Match: ">"}},
	}
	if d := cmp.Diff(want, c.Plan()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := config([]string{"h:1"})
	c.SASL = SASL{Mechanism: "PLAIN", Username: "u", Password: setting.NewSecret("hunter2")}
	if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, "hunter2") {
		t.Errorf("the password is in %s", text)
	}
}
