package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

// node is a nats-server in this process that can be stopped and started again
// on the same port and store, and a proxy in front of it that can lose answers.
type node struct {
	t     testing.TB
	dir   string
	extra string
	sync  string
	port  int
	srv   *server.Server
	proxy *proxy
}

// synced makes startNode start a server that syncs every write.
const synced = "synced"

const password = "publisher-s3cr3t"

func startNode(t testing.TB, extra string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), extra: extra, sync: `"2m"`, port: -1}
	if extra == synced {
		n.extra, n.sync = "", "always"
	}
	n.start()
	n.proxy = newProxy(t, n.addr())
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	opts := &server.Options{}
	conf := fmt.Sprintf(`listen: "127.0.0.1:%d"
max_payload: 4MB
jetstream { store_dir: %q, max_file: 1GB, sync_interval: %s }
authorization { users: [{user: pub, password: %q}] }
%s`, n.port, n.dir, n.sync, password, n.extra)
	if err := opts.ProcessConfigString(conf); err != nil {
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
	n.srv = srv
	n.port = srv.Addr().(*net.TCPAddr).Port
}

func (n *node) stop() {
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv.WaitForShutdown()
		n.srv = nil
	}
}

func (n *node) addr() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

// admin returns a JetStream context of a client beside the sink.
func (n *node) admin() jetstream.JetStream {
	n.t.Helper()
	nc, err := nats.Connect("nats://"+n.addr(), nats.UserInfo("pub", password))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		n.t.Fatal(err)
	}
	return js
}

func (n *node) makeStream(c jetstream.StreamConfig) jetstream.Stream {
	n.t.Helper()
	if c.Name == "" {
		c.Name = "EVENTS"
	}
	if c.Subjects == nil {
		c.Subjects = []string{"test.>"}
	}
	st, err := n.admin().CreateStream(n.t.Context(), c)
	if err != nil {
		n.t.Fatal(err)
	}
	return st
}

// config is that of a sink through the proxy.
func (n *node) config() Config {
	c := Defaults()
	c.URL, c.Username, c.Password = "nats://"+n.proxy.addr(), "pub", setting.NewSecret(password)
	c.Stream, c.Subject = "EVENTS", "test.{object}"
	return c
}

// received reads the stream with an ordered consumer.
func (n *node) received(stream string) []sinktest.Delivered {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	js := n.admin()
	st, err := js.Stream(ctx, stream)
	if err != nil {
		n.t.Fatal(err)
	}
	want := st.CachedInfo().State.Msgs
	var out []sinktest.Delivered
	if want == 0 {
		return nil
	}
	cons, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		n.t.Fatal(err)
	}
	it, err := cons.Messages()
	if err != nil {
		n.t.Fatal(err)
	}
	defer it.Stop()
	for uint64(len(out)) < want {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			n.t.Fatalf("read %d of %d messages: %v", len(out), want, err)
		}
		d := sinktest.Delivered{Destination: m.Subject(), ID: m.Headers().Get("Cycle-Event-Id"), Payload: m.Data(), Headers: map[string]string{}}
		for k, v := range m.Headers() {
			d.Headers[k] = v[0]
		}
		out = append(out, d)
	}
	return out
}

// proxy forwards TCP to a server. While it is deaf, nothing comes back.
type proxy struct {
	ln     net.Listener
	target string
	deaf   atomic.Bool
	mu     sync.Mutex
	conns  []net.Conn
	wg     sync.WaitGroup
	// onForward, if set, sees what goes to the server and may cut the connection.
	onForward func([]byte) (keep int, cut bool)
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: target}
	p.wg.Go(p.accept)
	t.Cleanup(func() { ln.Close(); p.cut(); p.wg.Wait() })
	return p
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.target)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, c, s)
		hook := p.onForward
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(c, s, hook) })
		p.wg.Go(func() { p.back(s, c) })
	}
}

func (p *proxy) forward(from, to net.Conn, hook func([]byte) (int, bool)) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if hook != nil && n > 0 {
			keep, cut := hook(buf[:n])
			if cut {
				_, _ = to.Write(buf[:keep])
				return
			}
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *proxy) back(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		// What a deaf proxy swallows is lost: the stream of bytes would be
		// broken, so the connection ends when it hears again.
		if p.deaf.Load() {
			for p.deaf.Load() {
				if _, err := from.Read(buf); err != nil {
					return
				}
			}
			return
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			if !errors.Is(err, io.EOF) || n == 0 {
				return
			}
		}
	}
}

func openSink(t testing.TB, c Config, env bridge.Env) *Sink {
	t.Helper()
	s, err := open(c, env)
	if err != nil {
		t.Fatal(err)
	}
	s.pace.always = true // where the stream allows batches, they are what is tested
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// settle hands messages again until all are settled, at most for 20 s.
func settle(t testing.TB, s bridge.Sink, msgs []bridge.Message) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		results := publish(t, s, msgs)
		var again []bridge.Message
		var last error
		for i, err := range results {
			if err != nil {
				again, last = append(again, msgs[i]), err
			}
		}
		if len(again) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages not settled: %v", len(again), last)
		}
		msgs = again
		time.Sleep(20 * time.Millisecond)
	}
}

func publish(t testing.TB, s bridge.Sink, msgs []bridge.Message) []error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	results := make([]error, len(msgs))
	s.Publish(ctx, msgs, results)
	return results
}

func messages(first uint64, n, keys int) []bridge.Message {
	return sinktest.Messages(first, n, keys, func(i int) string { return fmt.Sprintf("test.k%d", i) })
}

// checkExact compares the stream with the events 1..n, each once, in order.
func checkExact(t testing.TB, got []sinktest.Delivered, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d messages in the stream, want %d", len(got), n)
	}
	for i, d := range got {
		if want := fmt.Sprintf("%s-%d", sinktest.Epoch, i+1); d.ID != want {
			t.Fatalf("message %d is event %s, want %s", i, d.ID, want)
		}
	}
}

func contains(t testing.TB, err error, kind bridge.Kind, parts ...string) {
	t.Helper()
	if bridge.KindOf(err) != kind {
		t.Errorf("got %v (%v), want %v", bridge.KindOf(err), err, kind)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}
