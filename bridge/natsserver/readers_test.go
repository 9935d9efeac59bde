package natsserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// quiet keeps what the server refuses out of the test's output.
func quiet() nats.Option { return nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}) }

// take reads n messages in stream order and acknowledges them.
func take(t *testing.T, c jetstream.Consumer, first, n int) {
	t.Helper()
	for got := 0; got < n; {
		b, err := c.Fetch(n-got, jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatalf("fetch: %v", err)
		}
		before := got
		for m := range b.Messages() {
			md, err := m.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			if want := uint64(first + got); md.Sequence.Stream != want { //nolint:gosec // small
				t.Fatalf("sequence = %d, want %d", md.Sequence.Stream, want)
			}
			if m.Subject() != "cycle.h.o.t" {
				t.Fatalf("subject = %q, want the event's own", m.Subject())
			}
			if err := m.DoubleAck(t.Context()); err != nil {
				t.Fatalf("ack: %v", err)
			}
			got++
		}
		if got == before {
			t.Fatalf("fetched %d of %d: %v", got, n, b.Error())
		}
	}
}

func TestReaderResumesAfterReconnectAndRestart(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	config := jetstream.ConsumerConfig{Durable: "app", AckPolicy: jetstream.AckExplicitPolicy}
	open := func() (*nats.Conn, jetstream.Consumer) {
		nc, js := dial(t, s, quiet(), nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(-1))
		c, err := js.CreateOrUpdateConsumer(t.Context(), CycleStream, config)
		if err != nil {
			t.Fatalf("create or update consumer: %v", err)
		}
		return nc, c
	}
	publish(t, s, "cycle.h.o.t", 5)
	nc, c := open()
	take(t, c, 1, 2)
	nc.Close()
	_, c = open()
	take(t, c, 3, 3)

	_, js := dial(t, s, quiet(), nats.ReconnectWait(20*time.Millisecond), nats.MaxReconnects(-1))
	ordered, err := js.OrderedConsumer(t.Context(), CycleStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := ordered.Messages(jetstream.PullHeartbeat(time.Second), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	next := func(want uint64) {
		t.Helper()
		for {
			m, err := it.Next(jetstream.NextContext(timeout(t)))
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				continue // said once while the server is away
			}
			if err != nil {
				t.Fatalf("ordered consumer: %v", err)
			}
			md, err := m.Metadata()
			if err != nil || md.Sequence.Stream != want {
				t.Fatalf("ordered consumer: %+v, %v, want sequence %d", md, err, want)
			}
			return
		}
	}
	for i := range 5 {
		next(uint64(i + 1)) //nolint:gosec // small
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.h.o.t", 3)
	take(t, c, 6, 3) // the same connection, the durable consumer as it was
	for i := range 3 {
		next(uint64(i + 6)) //nolint:gosec // small
	}
	_, again := open()
	if info, err := again.Info(t.Context()); err != nil || info.AckFloor.Stream != 8 {
		t.Errorf("consumer after the restart: %+v, %v, want an ack floor of 8", info, err)
	}
}

func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestReaderOlderClients is what nats-py's pull_subscribe, push subscribers
// and the nats command line use.
func TestReaderOlderClients(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	publish(t, s, "cycle.h.o.t", 20)
	nc, js := dial(t, s, quiet())
	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // the second binds to what the first made
		pull, err := old.PullSubscribe("cycle.>", "py", nats.BindStream(CycleStream))
		if err != nil {
			t.Fatalf("pull subscribe: %v", err)
		}
		ms, err := pull.Fetch(10, nats.MaxWait(5*time.Second))
		if err != nil || len(ms) != 10 {
			t.Fatalf("fetch: %d messages, %v, want 10", len(ms), err)
		}
		for i, m := range ms {
			md, err := m.Metadata()
			if want := uint64(round*10 + i + 1); err != nil || md.Sequence.Stream != want { //nolint:gosec // small
				t.Fatalf("fetched %+v, %v, want sequence %d", md, err, want)
			}
			if err := m.AckSync(); err != nil {
				t.Fatalf("ack: %v", err)
			}
		}
	}
	push, err := old.SubscribeSync("cycle.>", nats.OrderedConsumer(), nats.IdleHeartbeat(200*time.Millisecond))
	if err != nil {
		t.Fatalf("ordered push consumer: %v", err)
	}
	for i := range 20 {
		m, err := push.NextMsg(5 * time.Second)
		if err != nil || m.Subject != "cycle.h.o.t" {
			t.Fatalf("ordered push consumer: message %d: %v, %v", i, m, err)
		}
	}
	// Another process of the same name finds the durable push consumer under
	// the deliver subject that was chosen.
	if _, err := old.SubscribeSync("cycle.>", nats.Durable("d"), nats.DeliverSubject("my.events")); err != nil {
		t.Fatalf("durable push consumer: %v", err)
	}
	info, err := old.ConsumerInfo(CycleStream, "d")
	if err != nil || info.Config.DeliverSubject != "my.events" {
		t.Errorf("consumer info = %+v, %v, want the deliver subject my.events", info, err)
	}
	seen := map[string]string{}
	for ci := range old.Consumers(CycleStream) {
		seen[ci.Name] = ci.Config.DeliverSubject
	}
	if d, ok := seen["d"]; !ok || d != "my.events" || len(seen) != 3 {
		t.Errorf("consumers = %q, want three, d with my.events", seen)
	}
	var names []string
	for n := range old.ConsumerNames(CycleStream) {
		names = append(names, n)
	}
	if len(names) != 3 {
		t.Errorf("consumer names = %q, want three", names)
	}
	for si := range old.Streams() {
		if si.Config.Name != CycleStream || si.State.Msgs != 20 {
			t.Errorf("stream list has %s with %d messages", si.Config.Name, si.State.Msgs)
		}
	}
	if acc, err := js.AccountInfo(t.Context()); err != nil || acc.Streams != 1 {
		t.Errorf("account info = %+v, %v, want one stream", acc, err)
	}
	st, err := js.Stream(t.Context(), CycleStream)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := st.GetLastMsgForSubject(t.Context(), "cycle.h.o.t"); err != nil || m.Sequence != 20 {
		t.Errorf("last message = %+v, %v, want sequence 20", m, err)
	}
	// A batch is one request with several answers.
	batch, err := nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.DIRECT.GET.CYCLE", batch.Subject, []byte(`{"seq":1,"batch":3}`)); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if m, err := batch.NextMsg(5 * time.Second); err != nil || m.Header.Get("Nats-Sequence") != fmt.Sprint(i+1) {
			t.Errorf("direct get of a batch: answer %d: %v, %v", i, m, err)
		}
	}
	m, err := nc.Request("$JS.API.STREAM.MSG.GET.CYCLE", []byte(`{"seq":7}`), 5*time.Second)
	if err != nil || !strings.Contains(string(m.Data), `"seq":7`) {
		t.Errorf("message get = %v, %v", m, err)
	}
}

// TestReaderPushKeepsFlowing reads more than the flow control window holds.
func TestReaderPushKeepsFlowing(t *testing.T) {
	const n = 5000
	s, err := Start(t.Context(), Options{Dir: t.TempDir(), Config: testConfig(), JournalMaxBytes: 64 << 20, CycleMaxBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	fill(t, s, "cycle.h.o.t", n, 8000)
	nc, _ := dial(t, s, quiet())
	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := old.SubscribeSync("cycle.>", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		m, err := sub.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if md, err := m.Metadata(); err != nil || md.Sequence.Stream != uint64(i+1) { //nolint:gosec // small
			t.Fatalf("message %d: %+v, %v", i, md, err)
		}
	}
}

func TestUsersAreApart(t *testing.T) {
	c := testConfig()
	pw := setting.NewSecret("pw")
	c.Users = []User{
		{Name: "all", Password: pw},
		{Name: "narrow", Password: pw, Subscribe: []string{"cycle.h1.>"}},
		{Name: "asks", Password: pw, Publish: []string{"requests.>"}},
		{Name: "narrow2", Password: pw, Subscribe: []string{"cycle.h2.>"}},
	}
	s := start(t, t.TempDir(), c)
	as := func(name string) (*nats.Conn, jetstream.JetStream) {
		return dial(t, s, quiet(), nats.UserInfo(name, "pw"))
	}
	spy, spyJS := as("narrow")
	overheard := make(chan *nats.Msg, 100)
	for _, subject := range []string{"_INBOX.>", "cycle.h1.>"} {
		if _, err := spy.ChanSubscribe(subject, overheard); err != nil {
			t.Fatal(err)
		}
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.h2.o.t", 3)
	publish(t, s, "cycle.h1.o.t", 2)
	all, _ := as("all")
	old, err := all.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	push, err := old.SubscribeSync("cycle.>", nats.OrderedConsumer())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := push.NextMsg(5 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	own, err := spyJS.CreateConsumer(t.Context(), CycleStream, jetstream.ConsumerConfig{FilterSubject: "cycle.h1.>", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatalf("own consumer: %v", err)
	}
	b, err := own.Fetch(2, jetstream.FetchMaxWait(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range b.Messages() {
		n++
	}
	if n != 2 {
		t.Errorf("narrow read %d events of its consumer, want 2", n)
	}
	if err := spy.Flush(); err != nil {
		t.Fatal(err)
	}
	live := 0
	for len(overheard) > 0 {
		m := <-overheard
		if strings.HasPrefix(m.Subject, "cycle.h2.") || strings.Contains(string(m.Data), "account_info") {
			t.Errorf("narrow overheard %s", m.Subject)
		}
		if m.Subject == "cycle.h1.o.t" && !strings.HasPrefix(m.Reply, "$JS.ACK.") {
			live++
		}
	}
	if live != 2 {
		t.Errorf("narrow saw %d events live, want 2", live)
	}

	// What users may publish stays among the readers: request and reply work,
	// and nothing of it is stored.
	if _, err := all.Subscribe("requests.>", func(m *nats.Msg) { _ = m.Respond([]byte("yes")) }); err != nil {
		t.Fatal(err)
	}
	asks, _ := as("asks")
	heard, err := asks.SubscribeSync("requests.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := asks.PublishRequest("requests.a", "cycle.h.o.t", []byte("?")); err != nil {
		t.Fatal(err)
	}
	if m, err := heard.NextMsg(5 * time.Second); err != nil || string(m.Data) != "?" {
		t.Errorf("request heard = %v, %v", m, err)
	}
	bridge := bridgeSide(t, s)
	st, err := bridge.Stream(t.Context(), CycleStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.CachedInfo().State.LastSeq; got != 5 {
		t.Errorf("last sequence = %d, want 5", got)
	}
}

// TestReadersSeeNoAPI checks that nothing of the bridge's own traffic in the
// account CYCLE shows in the readers' account.
func TestReadersSeeNoAPI(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	nc, _ := dial(t, s, quiet())
	all, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.h.o.t", 2)
	_, other := dial(t, s, quiet())
	if _, err := other.CreateConsumer(t.Context(), CycleStream, jetstream.ConsumerConfig{Durable: "x", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.end.o.t", 1)
	events := 0
	for {
		m, err := all.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case m.Subject == "cycle.end.o.t":
			if events != 2 {
				t.Errorf("saw %d events, want 2", events)
			}
			return
		case m.Subject == "cycle.h.o.t":
			events++
		case strings.HasPrefix(m.Subject, gatePrefix), strings.HasPrefix(m.Subject, pushPrefix), strings.HasPrefix(m.Subject, gateInbox),
			strings.HasPrefix(m.Subject, "$JS.API.STREAM.CREATE"), strings.HasPrefix(m.Subject, "$JS.API.STREAM.UPDATE"):
			t.Errorf("a reader sees %s", m.Subject)
		}
	}
}

func TestStartIsQuiet(t *testing.T) {
	var out strings.Builder
	c := testConfig()
	c.Users = []User{{Name: "a", Password: setting.NewSecret("topsecret")}}
	s, err := Start(t.Context(), Options{
		Dir: t.TempDir(), Config: c, JournalMaxBytes: 64 << 20, CycleMaxBytes: 64 << 20,
		Log: slog.New(slog.NewTextHandler(io.Writer(&out), &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		t.Errorf("a start says:\n%s", out.String())
	}
}
