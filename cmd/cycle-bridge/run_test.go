package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// received is a message as an independent client of the stream CYCLE gets it.
type received struct {
	subject string
	header  nats.Header
	data    []byte
}

// consumer reads the stream CYCLE without credentials.
type consumer struct {
	t        *testing.T
	messages jetstream.MessagesContext
	close    func()
}

func consume(t *testing.T, url string) *consumer {
	t.Helper()
	nc, err := nats.Connect(url, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(t.Context(), "CYCLE", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"cycle.>"}})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	out := &consumer{t: t, messages: messages, close: func() { messages.Stop(); nc.Close() }}
	t.Cleanup(out.close)
	return out
}

// upTo reads until stop says so, or nothing comes for a while.
func (c *consumer) upTo(stop func(received) bool) []received {
	c.t.Helper()
	var out []received
	for {
		m, err := c.messages.Next(jetstream.NextMaxWait(15 * time.Second))
		if errors.Is(err, nats.ErrTimeout) {
			return out
		}
		if err != nil {
			c.t.Fatalf("after %d messages: %v", len(out), err)
		}
		r := received{m.Subject(), m.Headers(), m.Data()}
		out = append(out, r)
		if stop(r) {
			return out
		}
	}
}

func (c *consumer) next(n int) []received {
	got := 0
	return c.upTo(func(received) bool { got++; return got == n })
}

func getJSON(t *testing.T, url string, into any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%s: %v: %s", url, err, body)
	}
	return resp.StatusCode
}

// waitReady polls /readyz until it is 200.
func waitReady(t *testing.T, p *proc) string {
	t.Helper()
	base := p.attr("status page", "url")
	deadline := time.Now().Add(30 * time.Second)
	for {
		var body any
		if getJSON(t, base+"/readyz", &body) == http.StatusOK {
			return base
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestZeroConfigRun(t *testing.T) {
	sim, api := simulator(t, hubsim.Options{Ledger: true, Numbered: true})
	p := startProcess(t, zeroConfig(sim, api, t.TempDir()), "run")
	url := p.attr("NATS clients can connect", "url")
	waitReady(t, p)

	const n = 3000
	sim.Burst(n)
	sim.Emit([]byte(`{"topic":"never.seen.before","object":{"id":"a.b c*>"},"more":[1e400, 18446744073709551617]}`))
	got := consume(t, url).next(n + 1)
	if len(got) != n+1 {
		t.Fatalf("got %d messages, want %d", len(got), n+1)
	}
	frames := sim.Ledger().Frames
	ids := make(map[string]bool)
	for i, m := range got {
		if want := frames[i].Payload(); !bytes.Equal(m.data, want) {
			t.Fatalf("message %d: got %s, want %s", i, m.data, want)
		}
		id, err := bridge.ParseID(m.header.Get("Cycle-Event-Id"))
		if err != nil || id.Offset != uint64(i+1) || ids[id.String()] {
			t.Fatalf("message %d: id %q: want offset %d, once: %v", i, m.header.Get("Cycle-Event-Id"), i+1, err)
		}
		ids[id.String()] = true
		if m.header.Get("Cycle-Hub-Id") != sim.HubID() || m.header.Get("Cycle-Origin") != "hub" || m.header.Get("Cycle-Journal-Id") == "" {
			t.Fatalf("message %d: headers %v", i, m.header)
		}
		if _, err := time.Parse(time.RFC3339Nano, m.header.Get("Cycle-Received-At")); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	last := got[n]
	if want := "cycle." + sim.HubID() + ".a%2Eb%20c%2A%3E.never.seen.before"; last.subject != want {
		t.Errorf("got subject %s, want %s", last.subject, want)
	}

	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitDone {
		t.Errorf("got exit code %d after SIGTERM, want %d", code, exitDone)
	}
	for _, secret := range []string{sim.APIKey(), "token="} {
		if strings.Contains(p.log(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

// A client without credentials can read, and nothing else.
func TestZeroConfigClientCannotWrite(t *testing.T) {
	sim, api := simulator(t, hubsim.Options{})
	p := startProcess(t, zeroConfig(sim, api, t.TempDir()), "run")
	url := p.attr("NATS clients can connect", "url")
	refused := make(chan error, 10)
	nc, err := nats.Connect(url, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{"cycle.x.y.container.new", "$JS.API.STREAM.DELETE.CYCLE", "$JS.API.STREAM.PURGE.CYCLE"} {
		if err := nc.Publish(subject, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-refused:
			if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				t.Errorf("publish to %s: got %v", subject, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("publish to %s was not refused", subject)
		}
	}
}

// Killed again and again under load, the bridge loses nothing that it had
// stored, gives no id twice and doubles nothing in its stream.
func TestRunSurvivesKill(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	sim, api := simulator(t, hubsim.Options{Numbered: true, Rate: 3000, MinConnections: 1, Seed: seed})
	sim.Start()
	env := zeroConfig(sim, api, dir)
	for range rounds {
		p := startProcess(t, env, "run")
		p.line("hub connected")
		time.Sleep(time.Duration(100+rng.IntN(900)) * time.Millisecond)
		p.signal(syscall.SIGKILL)
		p.wait()
	}
	p := startProcess(t, env, "run")
	url := p.attr("NATS clients can connect", "url")
	p.line("hub connected")
	sim.Stop()
	base := waitReady(t, p)
	last := lastOffset(t, base)

	var offset, number uint64
	ids := make(map[string]bool)
	objects := make(map[string]uint64)
	got := consume(t, url).next(int(last))
	for _, m := range got {
		text := m.header.Get("Cycle-Event-Id")
		id, err := bridge.ParseID(text)
		if err != nil || ids[text] || id.Offset != offset+1 {
			t.Fatalf("id %s after offset %d, seen before: %v, %v", text, offset, ids[text], err)
		}
		ids[text], offset = true, id.Offset
		seq, ok := sequence(m.data)
		if !ok {
			continue // the bridge's own
		}
		object := m.header.Get("Cycle-Object-Id")
		if seq <= number || seq <= objects[object] {
			t.Fatalf("notification %d came after %d", seq, number)
		}
		number, objects[object] = seq, seq
	}
	if offset != last || last == 0 {
		t.Errorf("the stream ends at offset %d, the journal at %d", offset, last)
	}
	t.Logf("%d events through %d kills", last, rounds)
}

func lastOffset(t *testing.T, base string) uint64 {
	t.Helper()
	var v struct {
		Journal struct {
			Last uint64 `json:"last_offset"`
		} `json:"journal"`
	}
	if code := getJSON(t, base+"/api/v1/status", &v); code != http.StatusOK {
		t.Fatalf("status: got %d", code)
	}
	return v.Journal.Last
}

func sequence(raw []byte) (uint64, bool) { return number(raw, `"sim_seq":`) }

func TestSecondProcessOnTheSameDirectory(t *testing.T) {
	sim, api := simulator(t, hubsim.Options{})
	env := zeroConfig(sim, api, t.TempDir())
	first := startProcess(t, env, "run")
	first.line("journal open")
	second := startProcess(t, env, "run")
	if code := second.wait(); code != exitFailed {
		t.Errorf("got exit code %d, want %d", code, exitFailed)
	}
	if want := fmt.Sprintf("in use by pid %d", first.cmd.Process.Pid); !strings.Contains(second.log(), want) {
		t.Errorf("got %s, want it to say %q", second.log(), want)
	}
}

// A sink that hangs keeps a drain waiting; the second signal ends it.
func TestSecondSignalQuits(t *testing.T) {
	hang := newHangingServer(t)
	sim, api := simulator(t, hubsim.Options{})
	cfg := writeFile(t, "c.yaml", fmt.Sprintf(`
hubs: [{name: h, id: %s, api_key: %s, api_url: %q}]
journal: {dir: %q, max_bytes: 64MiB}
nats: {listen: ""}
http: {listen: ""}
shutdown_timeout: 10m
sinks: [{name: k, type: kafka, brokers: [%q]}]
`, sim.HubID(), sim.APIKey(), api, t.TempDir(), hang))
	p := startProcess(t, nil, "run", "-c", cfg)
	p.line("hub connected")
	p.signal(syscall.SIGTERM)
	p.line("stopping")
	p.signal(syscall.SIGTERM)
	begin := time.Now()
	p.wait()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the second signal took %s", took)
	}
}

// newHangingServer accepts connections and never answers.
func newHangingServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			if _, err := ln.Accept(); err != nil {
				return
			}
		}
	}()
	return ln.Addr().String()
}

func TestDemo(t *testing.T) {
	r := command(t, nil, "", "demo", "--count", "200", "--rate", "0")
	if r.code != exitDone || !strings.Contains(r.out, "sent 200 · received 200 · doubled 0 · lost 0") {
		t.Errorf("got exit code %d and\n%s\n%s", r.code, r.out, r.err)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var out bytes.Buffer
	code := execute(ctx, &streams{in: strings.NewReader(""), out: &out, err: io.Discard}, nil, []string{"demo", "--count", "100000", "--rate", "50"})
	if code != exitDone || !strings.Contains(out.String(), "lost 0") {
		t.Errorf("got exit code %d and the end %s", code, out.String()[max(0, out.Len()-600):])
	}
}

func TestQuietIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	logger, err := newLogger(&log, config.Log{Level: "info", Format: "json"}, false)
	if err != nil {
		t.Fatal(err)
	}
	w := watcher{log: logger}
	now := time.Unix(1_000_000, 0)
	s := bridge.Status{Sources: []bridge.SourceStatus{{Name: "production", ID: "60d0fe4f5311236168a109ca", Connections: 1, Filter: "topic=x"}}}
	for range 59 {
		w.look(s, now)
		now = now.Add(time.Second)
	}
	if log.Len() != 0 {
		t.Fatalf("too early: %s", log.String())
	}
	for range 300 {
		w.look(s, now)
		now = now.Add(time.Second)
	}
	text := log.String()
	if strings.Count(text, "\n") != 1 {
		t.Fatalf("got %d lines, want 1: %s", strings.Count(text, "\n"), text)
	}
	for _, want := range []string{"a quiet hub is normal", "restart or stop a container", "production", "60d0fe4f5311236168a109ca", "topic=x"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q: %s", want, text)
		}
	}
}
