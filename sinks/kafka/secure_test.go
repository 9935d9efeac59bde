package kafka

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/kafka/kafkatest"
)

// TestRealSecure: every way to sign in, and every way to fail at it, against a
// real broker with an authorizer.
func TestRealSecure(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{Secure: true})
	prepare(t, openSink(t, config(c.Brokers())), []string{"secure"})
	password := setting.NewSecret(kafkatest.Password)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(kafkatest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	trusted := setting.TLS{CAFile: c.Certs.CAFile}
	mutual := setting.TLS{CAFile: c.Certs.CAFile, CertFile: c.Certs.ClientCert, KeyFile: c.Certs.ClientKey}
	user := func(mechanism, name string, p setting.Secret) SASL {
		return SASL{Mechanism: mechanism, Username: name, Password: p}
	}
	wrong := setting.NewSecret("wrong-secret-5512")
	tests := []struct {
		name    string
		brokers []string
		tls     setting.TLS
		sasl    SASL
		want    bridge.Kind // KindUnknown: it works
		text    string      // in the error
	}{
		{"plain", c.SASL(), trusted, user("PLAIN", kafkatest.User, password), 0, ""},
		{"plain, password from a file", c.SASL(), trusted, user("PLAIN", kafkatest.User, setting.SecretFile(file)), 0, ""},
		{"scram 256", c.SASL(), trusted, user("SCRAM-SHA-256", kafkatest.User, password), 0, ""},
		{"scram 512", c.SASL(), trusted, user("SCRAM-SHA-512", kafkatest.User, password), 0, ""},
		{"scram without tls", c.SASLPlaintext(), setting.TLS{}, user("SCRAM-SHA-512", kafkatest.User, password), 0, ""},
		{"mutual tls", c.MutualTLS(), mutual, SASL{}, 0, ""},
		{"plain, wrong password", c.SASL(), trusted, user("PLAIN", kafkatest.User, wrong), bridge.KindMisconfigured, "sasl.password"},
		{"scram, wrong password", c.SASL(), trusted, user("SCRAM-SHA-512", kafkatest.User, wrong), bridge.KindMisconfigured, "sasl.password"},
		{"unknown user", c.SASL(), trusted, user("SCRAM-SHA-256", "nobody", password), bridge.KindMisconfigured, "sasl.username"},
		{"stranger", c.SASL(), trusted, user("PLAIN", kafkatest.Stranger, setting.NewSecret(kafkatest.StrangerPassword)), bridge.KindMisconfigured, "kafka-acls.sh"},
		{"another ca", c.SASL(), setting.TLS{CAFile: c.Certs.OtherCAFile}, user("PLAIN", kafkatest.User, password), bridge.KindMisconfigured, "tls.ca_file"},
		{"wrong name", c.SASL(), setting.TLS{CAFile: c.Certs.CAFile, ServerName: "kafka.example"}, user("PLAIN", kafkatest.User, password), bridge.KindMisconfigured, "tls.server_name"},
		{"no client certificate", c.MutualTLS(), trusted, SASL{}, bridge.KindMisconfigured, "tls.cert_file"},
		{"tls to a plain listener", c.Brokers(), trusted, SASL{}, 255, "tls"},
		{"plain to a tls listener", c.MutualTLS(), setting.TLS{}, SASL{}, 255, "tls"},
		{"no sasl to a sasl listener", c.SASLPlaintext(), setting.TLS{}, SASL{}, 255, "sasl"},
	}
	from := 1
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(tt.brokers)
			cfg.TLS, cfg.SASL, cfg.Create = tt.tls, tt.sasl, "never"
			s := openSink(t, cfg)
			probe := Probe(within(t, 20*time.Second), cfg, bridge.Env{Log: testLog(t)})
			if tt.want == bridge.KindUnknown {
				if probe != nil {
					t.Errorf("probe: %v", probe)
				}
				prepare(t, s, []string{"secure"})
				d := &driver{sink: s}
				if err := d.run(within(t, 20*time.Second), messages("secure", from, from+99, 3), 100); err != nil {
					t.Fatal(err)
				}
				from += 100
				return
			}
			results := make([]error, 1)
			s.Publish(within(t, 20*time.Second), messages("secure", 1, 1, 3), results)
			for what, err := range map[string]error{
				"publish": results[0], "prepare": s.Prepare(within(t, 20*time.Second), []string{"secure"}),
			} {
				kind := bridge.KindOf(err)
				if err == nil || kind != tt.want && (tt.want != 255 || kind != bridge.KindMisconfigured && kind != bridge.KindUnavailable) {
					t.Errorf("%s: kind %v: %v", what, kind, err)
					continue
				}
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%s: %q does not mention %q", what, err, tt.text)
				}
				for _, secret := range []string{kafkatest.Password, kafkatest.StrangerPassword, "wrong-secret-5512"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s: a secret in %q", what, err)
					}
				}
			}
			if probe == nil && tt.name != "stranger" {
				t.Error("probe found nothing wrong")
			}
			t.Log(results[0])
		})
	}
	check(t, readAll(t, c.Brokers(), "secure", from-1), "secure", 1, from-1, 3)
}

// TestRealThreeBrokers: a leader is killed and its partitions move; a topic
// with one replica is refused.
func TestRealThreeBrokers(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{Brokers: 3})
	t.Run("one replica is refused", func(t *testing.T) {
		for _, replication := range []int{0, 1} { // the brokers' default is 1
			cfg := config(c.Brokers())
			cfg.Replication = replication
			err := openSink(t, cfg).Prepare(t.Context(), []string{"weak.a", "weak.b"})
			if bridge.KindOf(err) != bridge.KindMisconfigured || !strings.Contains(err.Error(), "weak.b") || !strings.Contains(err.Error(), "--replication-factor") {
				t.Errorf("replication %d: got %v, want misconfigured with the commands", replication, err)
			}
		}
	})
	cfg := config(c.Brokers())
	cfg.Partitions, cfg.Replication = 6, 3
	s := openSink(t, cfg)
	prepare(t, s, []string{"three"})
	setTopicConfig(t, c.Brokers(), "three", "min.insync.replicas", "2")
	d := &driver{sink: s, grow: true, pause: 20 * time.Millisecond}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		time.Sleep(time.Second)
		c.Kill(1)
	}()
	total := 0
	step := func() {
		if err := d.run(within(t, 90*time.Second), messages("three", total+1, total+200, 40), 200); err != nil {
			t.Fatal(err)
		}
		total += 200
	}
	for {
		step()
		select {
		case <-killed:
			for range 50 {
				step()
			}
			t.Logf("%d records, %d attempts unsettled", total, len(d.errs))
			if len(d.errs) == 0 {
				t.Error("no attempt failed: the kill was not felt")
			}
			check(t, readAll(t, []string{c.Brokers()[0], c.Brokers()[2]}, "three", total), "three", 1, total, 40)
			return
		default:
		}
	}
}

// TestRealMissing: create: never names all that is missing, with the commands.
func TestRealMissing(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Create, cfg.Topic = "never", "missing.fixed"
	s := openSink(t, cfg)
	err := s.Prepare(t.Context(), []string{"missing.one", "missing.two"})
	if bridge.KindOf(err) != bridge.KindMisconfigured {
		t.Fatalf("got %v, want misconfigured", err)
	}
	for _, want := range []string{"--create --topic missing.one ", "--create --topic missing.two "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if err := Probe(t.Context(), cfg, bridge.Env{}); bridge.KindOf(err) != bridge.KindMisconfigured || !strings.Contains(err.Error(), "missing.fixed") {
		t.Errorf("probe: got %v, want misconfigured with the topic", err)
	}
	results := make([]error, 2)
	msgs := messages("missing.one", 1, 2, 1)
	msgs[1].Destination = "not/legal"
	s.Publish(t.Context(), msgs, results)
	if bridge.KindOf(results[0]) != bridge.KindMisconfigured || bridge.KindOf(results[1]) != bridge.KindRejected {
		t.Errorf("got %v and %v, want misconfigured and rejected", results[0], results[1])
	}
}
