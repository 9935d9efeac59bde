package natsserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func testConfig() Config {
	c := Defaults()
	c.Listen = "127.0.0.1:0"
	c.Stream.MaxBytes = 64 << 20
	return c
}

func start(t *testing.T, dir string, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{
		Dir: dir, Config: c, JournalMaxBytes: 64 << 20, CycleMaxBytes: 64 << 20,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return s
}

func dial(t *testing.T, s *Server, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.Addr(), opts...)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// publish writes n messages to CYCLE as the bridge's own sink does.
func publish(t *testing.T, s *Server, subject string, n int) {
	t.Helper()
	nc, err := Connect(s.Cycle(), "test publisher")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := js.Publish(t.Context(), subject, []byte(`{"topic":"container.created"}`)); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
}

func TestAnonymousReads(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	nc, js := dial(t, s)
	ctx := t.Context()

	sub, err := nc.SubscribeSync("cycle.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.h.o.container.created", 3)
	for range 3 {
		if _, err := sub.NextMsg(5 * time.Second); err != nil {
			t.Fatalf("core subscription: %v", err)
		}
	}

	st, err := js.Stream(ctx, CycleStream)
	if err != nil {
		t.Fatalf("stream info: %v", err)
	}
	if got := st.CachedInfo().State.Msgs; got != 3 {
		t.Errorf("messages = %d, want 3", got)
	}
	if cfg := st.CachedInfo().Config; !cfg.AllowAtomicPublish || cfg.Duplicates != duplicateWindow || cfg.Discard != jetstream.DiscardOld {
		t.Errorf("stream config = %+v", cfg)
	}
	if _, err := st.GetMsg(ctx, 2); err != nil {
		t.Errorf("direct get: %v", err)
	}

	durable, err := js.CreateConsumer(ctx, CycleStream, jetstream.ConsumerConfig{Durable: "app", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatalf("create durable pull consumer: %v", err)
	}
	fetch := func(c jetstream.Consumer, want int) {
		t.Helper()
		b, err := c.Fetch(want, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			t.Fatalf("fetch: %v", err)
		}
		n := 0
		for m := range b.Messages() {
			n++
			if err := m.DoubleAck(ctx); err != nil {
				t.Errorf("ack: %v", err)
			}
		}
		if n != want {
			t.Errorf("fetched %d messages, want %d (%v)", n, want, b.Error())
		}
	}
	fetch(durable, 3)
	ci, err := durable.Info(ctx)
	if err != nil || ci.AckFloor.Stream != 3 {
		t.Errorf("ack floor = %+v, %v, want 3", ci, err)
	}

	ordered, err := js.OrderedConsumer(ctx, CycleStream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"cycle.h.>"}})
	if err != nil {
		t.Fatalf("ordered consumer: %v", err)
	}
	it, err := ordered.Messages()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := it.Next(); err != nil {
			t.Fatalf("ordered consumer: %v", err)
		}
	}
	it.Stop()

	// The older client API: a durable push consumer.
	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	push, err := old.SubscribeSync("cycle.>", nats.Durable("push"), nats.DeliverSubject("deliver.push"), nats.ManualAck())
	if err != nil {
		t.Fatalf("durable push consumer: %v", err)
	}
	for range 3 {
		m, err := push.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("push consumer: %v", err)
		}
		if err := m.AckSync(); err != nil {
			t.Errorf("ack: %v", err)
		}
	}
}

func TestAnonymousChangesNothing(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	publish(t, s, "cycle.h.o.t", 3)
	denied := make(chan error, 64)
	nc, _ := dial(t, s, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case denied <- err:
		default:
		}
	}))
	tests := []struct{ name, subject, body string }{
		{"publish an event", "cycle.h.o.t", "x"},
		{"publish elsewhere", "elsewhere", "x"},
		{"create a stream", "$JS.API.STREAM.CREATE.MINE", `{"name":"MINE","subjects":["mine"]}`},
		{"update the stream", "$JS.API.STREAM.UPDATE.CYCLE", `{"name":"CYCLE","subjects":["cycle.>"],"max_msgs":1}`},
		{"delete the stream", "$JS.API.STREAM.DELETE.CYCLE", ""},
		{"purge the stream", "$JS.API.STREAM.PURGE.CYCLE", ""},
		{"delete a message", "$JS.API.STREAM.MSG.DELETE.CYCLE", `{"seq":1}`},
		{"restore a stream", "$JS.API.STREAM.RESTORE.MINE", `{}`},
		{"delete a consumer", "$JS.API.CONSUMER.DELETE.CYCLE.app", ""},
		{"pause a consumer", "$JS.API.CONSUMER.PAUSE.CYCLE.app", `{}`},
		{"purge the account", "$JS.API.ACCOUNT.PURGE.CYCLE", ""},
		{"system request", "$SYS.REQ.SERVER.PING", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := nc.PublishRequest(tt.subject, nats.NewInbox(), []byte(tt.body)); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-denied:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("error = %v, want a permission violation", err)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("%s was not refused", tt.subject)
			}
		})
	}
	// The refusals are asynchronous; what follows may bring more of them.
	// A consumer must not become a way to write: not into the stream, and not
	// as a request to the API.
	for _, deliver := range []string{"cycle.h.o.t", "$JS.API.STREAM.PURGE.CYCLE", "$JS.API.STREAM.MSG.DELETE.CYCLE"} {
		body := `{"stream_name":"CYCLE","config":{"name":"evil","deliver_subject":"` + deliver + `","ack_policy":"none","deliver_policy":"all"}}`
		if _, err := nc.Request("$JS.API.CONSUMER.CREATE.CYCLE.evil", []byte(body), 2*time.Second); err != nil {
			t.Logf("consumer to %s: %v", deliver, err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	pc, err := Connect(s.Cycle(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	js, err := jetstream.New(pc)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), CycleStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.CachedInfo().State; got.Msgs != 3 || got.LastSeq != 3 || got.NumDeleted != 0 {
		t.Errorf("stream state = %+v, want the three messages untouched", got)
	}
}

func TestAccountsAreApart(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	jc, err := Connect(s.Journal(), "test journal")
	if err != nil {
		t.Fatal(err)
	}
	defer jc.Close()
	jjs, err := jetstream.New(jc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jjs.CreateStream(t.Context(), jetstream.StreamConfig{Name: "J", Subjects: []string{"j"}, MaxBytes: 64 << 20}); err != nil {
		t.Fatalf("create in the journal account: %v", err)
	}
	if _, err := jjs.Publish(t.Context(), "j", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	nc, js := dial(t, s)
	if _, err := js.Stream(t.Context(), "J"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("anonymous sees the journal: error = %v", err)
	}
	sub, err := nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := jjs.Publish(t.Context(), "j", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.a.b.c", 1)
	for {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("own account is not seen: %v", err)
		}
		if m.Subject == "j" {
			t.Error("anonymous sees the journal's messages")
		}
		if m.Subject == "cycle.a.b.c" {
			break
		}
	}
	// One account's limit is not the other's: CYCLE cannot reserve more than its own.
	cc, err := Connect(s.Cycle(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	cjs, err := jetstream.New(cc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cjs.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BIG", Subjects: []string{"big"}, MaxBytes: slackBytes + 1}); err == nil {
		t.Error("a stream larger than the account's limit was made")
	}
}

func TestUsers(t *testing.T) {
	c := testConfig()
	c.Users = []User{
		{Name: "all", Password: setting.NewSecret(`p"w$1`)},
		{Name: "narrow", Password: setting.NewSecret("pw2"), Subscribe: []string{"cycle.h1.>"}},
		{Name: "writer", Password: setting.NewSecret("pw3"), Publish: []string{"requests.>"}},
	}
	s := start(t, t.TempDir(), c)
	publish(t, s, "cycle.h1.o.t", 2)
	publish(t, s, "cycle.h2.o.t", 2)
	if _, err := nats.Connect("nats://" + s.Addr()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("connect without credentials: %v, want %v", err, nats.ErrAuthorization)
	}
	if _, err := nats.Connect("nats://"+s.Addr(), nats.UserInfo("all", "no")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("connect with a wrong password: %v, want %v", err, nats.ErrAuthorization)
	}
	count := func(js jetstream.JetStream, filter string) (int, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := js.CreateConsumer(ctx, CycleStream, jetstream.ConsumerConfig{FilterSubject: filter, AckPolicy: jetstream.AckNonePolicy})
		if err != nil {
			return 0, err
		}
		return int(c.CachedInfo().NumPending), nil
	}
	_, js := dial(t, s, nats.UserInfo("all", `p"w$1`))
	if n, err := count(js, ""); n != 4 || err != nil {
		t.Errorf("all sees %d, %v, want 4", n, err)
	}
	_, js = dial(t, s, nats.UserInfo("narrow", "pw2"))
	if n, err := count(js, "cycle.h1.>"); n != 2 || err != nil {
		t.Errorf("narrow sees %d, %v, want 2", n, err)
	}
	if n, err := count(js, "cycle.h2.>"); err == nil {
		t.Errorf("narrow made a consumer of another hub and sees %d", n)
	}
	if n, err := count(js, ""); err == nil {
		t.Errorf("narrow made a consumer without filter and sees %d", n)
	}
}

func TestRestartKeepsAddressAndConnections(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	nc, err := Connect(s.Cycle(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	publish(t, s, "cycle.a.b.c", 1)
	addr := s.Addr()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatalf("Restart: %v", err)
	}
	if s.Addr() != addr {
		t.Errorf("address = %s, want %s", s.Addr(), addr)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		ack, err := js.Publish(t.Context(), "cycle.a.b.c", nil)
		if err == nil {
			if ack.Sequence != 2 {
				t.Errorf("sequence = %d, want 2", ack.Sequence)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("publish after the restart: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestSecondProcessIsTold(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, testConfig())
	_, err := Start(t.Context(), Options{Dir: dir, Config: testConfig()})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("error = %v, want %v with the pid", err, ErrLocked)
	}
}

func TestTakenPort(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for addr, want := range map[string]string{
		s.Addr():               `the NATS server "cycle-bridge"`,
		silent.Addr().String(): "another program",
	} {
		c := testConfig()
		c.Listen = addr
		_, err := Start(t.Context(), Options{Dir: t.TempDir(), Config: c})
		if err == nil {
			t.Fatal("Start on a taken port did not fail")
		}
		for _, w := range []string{addr, want, "nats.listen"} {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not contain %q", err, w)
			}
		}
		if bridge.KindOf(err) != bridge.KindMisconfigured {
			t.Errorf("kind = %v, want %v", bridge.KindOf(err), bridge.KindMisconfigured)
		}
	}
}

func TestClosedListener(t *testing.T) {
	c := testConfig()
	c.Listen = ""
	s := start(t, t.TempDir(), c)
	if s.Addr() != "" {
		t.Errorf("address = %q, want none", s.Addr())
	}
	publish(t, s, "cycle.a.b.c", 1)
}

func TestSmallerLimitStillRecovers(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{Dir: dir, Config: testConfig(), JournalMaxBytes: 64 << 20, CycleMaxBytes: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, s, "cycle.a.b.c", 5)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, testConfig())
	_, js := dial(t, s)
	st, err := js.Stream(t.Context(), CycleStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.CachedInfo(); got.State.Msgs != 5 || got.Config.MaxBytes != 64<<20 {
		t.Errorf("messages = %d, max bytes = %d, want 5 and %d", got.State.Msgs, got.Config.MaxBytes, 64<<20)
	}
}
