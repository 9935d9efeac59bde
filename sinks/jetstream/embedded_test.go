package jetstream

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

// embedded stands for the bridge's own server: it dials the one that runs now.
type embedded struct{ n *node }

func (e embedded) InProcessConn() (net.Conn, error) {
	if e.n.srv == nil {
		return nil, net.ErrClosed
	}
	return e.n.srv.InProcessConn()
}
func (e embedded) Publisher() (user, secret string) { return "pub", password }

func TestEmbedded(t *testing.T) {
	n := startNode(t, "")
	c := Defaults()
	c.URL = natsconn.Embedded
	if _, err := open(c, sinktest.Env(t, "sink")); bridge.KindOf(err) != bridge.KindMisconfigured {
		t.Errorf("Open without an embedded server: got %v, want misconfigured", err)
	}
	env := sinktest.Env(t, "sink")
	env.Embedded = embedded{n}
	s := openSink(t, c, env)
	all := sinktest.Messages(1, 300, 5, func(i int) string { return "cycle.h.k.topic" })
	for _, err := range publish(t, s, all[:3]) {
		contains(t, err, bridge.KindUnavailable, "CYCLE")
	}
	n.makeStream(jetstream.StreamConfig{Name: "CYCLE", Subjects: []string{"cycle.>"}, AllowAtomicPublish: true, Duplicates: 100 * time.Millisecond})
	if err := s.Prepare(t.Context(), []string{"cycle.a.b.c"}); err != nil {
		t.Errorf("Prepare: %v", err)
	}
	settle(t, s, all[:100])
	n.stop() // the bridge starts its server again, for example after a full disk
	n.start()
	settle(t, s, all[100:])
	checkExact(t, n.received("CYCLE"), 300)
	if err := Probe(t.Context(), c, env); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

func TestValidate(t *testing.T) {
	ok := Defaults()
	ok.URL, ok.Stream = "nats://h:4222", "EVENTS"
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"minimal", func(*Config) {}, nil},
		{"embedded", func(c *Config) { c.URL, c.Stream = natsconn.Embedded, "" }, nil},
		{"embedded elsewhere", func(c *Config) { c.URL, c.Stream, c.Create = natsconn.Embedded, "X", createMissing }, []string{"stream", "create"}},
		{"embedded, foreign subject", func(c *Config) { c.URL, c.Stream, c.Subject = natsconn.Embedded, "", "ops.{topic}" }, []string{"subject"}},
		{"no stream", func(c *Config) { c.Stream = "" }, []string{"stream"}},
		{"bad stream", func(c *Config) { c.Stream = "a.b" }, []string{"stream"}},
		{"words", func(c *Config) { c.Create, c.Dedupe, c.Format, c.From = "x", "x", "x", "x" }, []string{"create", "dedupe", "from", "format"}},
		{"route", func(c *Config) { c.Route = []Route{{Format: "x"}} }, []string{"route[0].match", "route[0].format"}},
		{"url", func(c *Config) { c.URL = "" }, []string{"url"}},
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

func TestPatterns(t *testing.T) {
	for _, tt := range []struct{ template, match, want string }{
		{"cycle.{hub}.{object}.{topic}", ">", "cycle.*.*.>"},
		{"cycle.{hub}.{topic}", "container.instance.>", "cycle.*.container.instance.>"},
		{"cycle.{topic}.end", "a.{b,c}.*", "cycle.a.*.*.end"},
		{"ops.{container|object|\"a.b\"}.x", ">", "ops.*.x"},
		{"ops.{$.context.environments[0]}", ">", "ops.*"},
		{"plain", ">", "plain"},
		{"x.{object|topic}", "a", "x.>"},
	} {
		if got := pattern(tt.template, tt.match); got != tt.want {
			t.Errorf("pattern(%q, %q): got %q, want %q", tt.template, tt.match, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b             string
		covers, overlaps bool
	}{
		{"a.>", "a.b", true, true}, {"a.>", "a", false, false}, {"a.>", "a.>", true, true},
		{"a.*", "a.b", true, true}, {"a.*", "a.>", false, true}, {"a.b", "a.*", false, true},
		{"a.*.c", "a.b.*", false, true}, {"a.b", "a.c", false, false}, {">", "a.*.>", true, true}, {"a.b", "a.b.c", false, false},
	} {
		if got := covers(tt.a, tt.b); got != tt.covers {
			t.Errorf("covers(%q, %q): got %v", tt.a, tt.b, got)
		}
		if got := overlaps(tt.a, tt.b); got != tt.overlaps {
			t.Errorf("overlaps(%q, %q): got %v", tt.a, tt.b, got)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"stream":"EVENTS","seq":7}`))
	f.Add([]byte(`{"stream":"EVENTS", "seq":7,"duplicate": true}`))
	f.Add([]byte(`{"stream":"EVENTS","domain":"d","seq":7}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, ok := plainAck(b, "EVENTS")
		if !ok {
			return
		}
		// What the short way takes is not an error and has that number.
		if seq == 0 {
			t.Errorf("%q gives sequence 0", b)
		}
	})
}
