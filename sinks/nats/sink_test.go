package nats

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

const password = "publisher-s3cr3t"

// node is a nats-server with a subscriber that notes everything, through restarts.
type node struct {
	t     testing.TB
	port  int
	perms string
	srv   *server.Server
	mu    sync.Mutex
	got   []sinktest.Delivered
	nc    *natsgo.Conn
}

func startNode(t testing.TB, perms string) *node {
	n := &node{t: t, port: -1, perms: perms}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	opts := &server.Options{}
	if err := opts.ProcessConfigString(fmt.Sprintf(`listen: "127.0.0.1:%d"
max_payload: 2MB
authorization { users: [{user: pub, password: %q %s}, {user: sub, password: sub}] }`, n.port, password, n.perms)); err != nil {
		n.t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		n.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		n.t.Fatal("server is not ready")
	}
	n.srv, n.port = srv, srv.Addr().(*net.TCPAddr).Port
	nc, err := natsgo.Connect(fmt.Sprintf("nats://127.0.0.1:%d", n.port), natsgo.UserInfo("sub", "sub"), natsgo.NoReconnect())
	if err != nil {
		n.t.Fatal(err)
	}
	_, err = nc.Subscribe("test.>", func(m *natsgo.Msg) {
		n.mu.Lock()
		defer n.mu.Unlock()
		d := sinktest.Delivered{Destination: m.Subject, ID: m.Header.Get("Cycle-Event-Id"), Payload: m.Data, Headers: map[string]string{}}
		for k, v := range m.Header {
			d.Headers[k] = v[0]
		}
		n.got = append(n.got, d)
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		n.t.Fatal(err)
	}
	n.nc = nc
}

func (n *node) stop() {
	if n.srv == nil {
		return
	}
	// What the server has is noted before it goes.
	if err := n.nc.Drain(); err == nil {
		for deadline := time.Now().Add(10 * time.Second); !n.nc.IsClosed() && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	n.srv.Shutdown()
	n.srv.WaitForShutdown()
	n.srv = nil
}

func (n *node) received() []sinktest.Delivered {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]sinktest.Delivered(nil), n.got...)
}

func (n *node) config() Config {
	c := Defaults()
	c.URL = fmt.Sprintf("nats://127.0.0.1:%d", n.port)
	c.Username, c.Password = "pub", setting.NewSecret(password)
	return c
}

func openSink(t testing.TB, c Config) *Sink {
	t.Helper()
	s, err := open(c, sinktest.Env(t, "sink"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, sinktest.Harness{
		Features: sinktest.Features{Headers: true, MaxBytes: 2 << 20},
		Start: func(t *testing.T) sinktest.Destination {
			n := startNode(t, "")
			conf := n.config()
			return sinktest.Destination{
				Open: func(t *testing.T) bridge.Sink {
					s, err := Open(t.Context(), conf, sinktest.Env(t, "sink"))
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Unauthorized: func(t *testing.T) bridge.Sink {
					bad := conf
					bad.Password = setting.NewSecret("wr0ng-s3cr3t")
					return openSink(t, bad)
				},
				Received: func(*testing.T) []sinktest.Delivered { return n.received() },
				Down:     func(*testing.T) { n.stop() },
				Up:       func(*testing.T) { n.start() },
				Secrets:  []string{password, "wr0ng-s3cr3t"},
			}
		},
	})
}

func TestPermissionDenied(t *testing.T) {
	n := startNode(t, `, permissions: {publish: {allow: "test.a"}}`)
	s := openSink(t, n.config())
	publish := func(subjects ...string) []error {
		msgs := make([]bridge.Message, len(subjects))
		for i, sub := range subjects {
			msgs[i] = sinktest.Message(uint64(i+1), sub, "k", []byte("{}"))
		}
		results := make([]error, len(msgs))
		s.Publish(t.Context(), msgs, results)
		return results
	}
	for round := range 2 { // the second is told although it says the same
		for i, err := range publish("test.a", "test.b") {
			if bridge.KindOf(err) != bridge.KindMisconfigured || !strings.Contains(err.Error(), "test.b") {
				t.Errorf("round %d, message %d: got %v, want misconfigured with the subject", round, i, err)
			}
		}
		if err := publish("test.a")[0]; err != nil {
			t.Errorf("an allowed subject after a refused one: %v", err)
		}
	}
}

func TestBadSubject(t *testing.T) {
	n := startNode(t, "")
	s := openSink(t, n.config())
	msgs := []bridge.Message{
		sinktest.Message(1, "test.a b", "k", []byte("{}")),
		sinktest.Message(2, "test.>", "k", []byte("{}")),
		sinktest.Message(3, "test.ok", "k", []byte("{}")),
		sinktest.Message(4, "test."+strings.Repeat("x", 5000), "k", []byte("{}")),
	}
	msgs[2].Headers = append(msgs[2].Headers, bridge.Header{Name: "X-Evil", Value: []byte("a\r\nInjected: yes")})
	results := make([]error, len(msgs))
	s.Publish(t.Context(), msgs, results)
	for i, want := range []bridge.Kind{bridge.KindRejected, bridge.KindRejected, bridge.KindUnknown, bridge.KindRejected} {
		if got := bridge.KindOf(results[i]); got != want {
			t.Errorf("message %d: got %v (%v), want %v", i, got, results[i], want)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(n.received()) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nothing arrived")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if d := n.received()[0]; d.Headers["Injected"] != "" || d.Headers["X-Evil"] != "a  Injected: yes" {
		t.Errorf("headers %v: a line end was copied", d.Headers)
	}
}

func TestValidate(t *testing.T) {
	ok := Defaults()
	ok.URL = "nats://h:4222"
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"minimal", func(*Config) {}, nil},
		{"embedded", func(c *Config) { c.URL = natsconn.Embedded }, []string{"url"}},
		{"no url", func(c *Config) { c.URL = "" }, []string{"url"}},
		{"domain", func(c *Config) { c.Domain = "d" }, []string{"domain"}},
		{"format", func(c *Config) { c.Format = "xml" }, []string{"format"}},
		{"from", func(c *Config) { c.From = "then" }, []string{"from"}},
		{"route", func(c *Config) { c.Route = []Route{{Match: ">"}, {Match: ">", Format: "x"}} }, []string{"route[1].format"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := ok
			tt.change(&c)
			var got []string
			for _, m := range c.Validate() {
				got = append(got, m.Key)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	n := startNode(t, "")
	if err := Probe(t.Context(), n.config(), sinktest.Env(t, "probe")); err != nil {
		t.Errorf("Probe: %v", err)
	}
	n.stop()
	if err := Probe(t.Context(), n.config(), sinktest.Env(t, "probe")); bridge.KindOf(err) != bridge.KindUnavailable {
		t.Errorf("Probe of a server that is gone: got %v, want unavailable", err)
	}
}

func BenchmarkPublish(b *testing.B) {
	n := startNode(b, "")
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openSink(b, n.config())
			msgs := sinktest.Messages(1, size, 500, func(i int) string { return fmt.Sprintf("bench.k%d", i) })
			results := make([]error, size)
			b.ReportAllocs()
			for b.Loop() {
				s.Publish(b.Context(), msgs, results)
				if results[0] != nil {
					b.Fatal(results[0])
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
