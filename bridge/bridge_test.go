package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/memjournal"
)

var testHub = &bridge.Source{Origin: bridge.OriginHub, ID: "5a14ddd8b6393d0001976f44", Name: "production"}

func notification(t testing.TB, n int) bridge.Event {
	t.Helper()
	raw := fmt.Appendf(nil, `{"topic":"container.state.changed","object":{"id":"obj-%d","state":"s%d"},"context":{}}`, n%7, n)
	note, err := bridge.ParseNotification(raw)
	if err != nil {
		t.Fatal(err)
	}
	return bridge.Event{Raw: raw, Note: note, Source: testHub, ReceivedAt: time.Now().UnixNano()}
}

// testFeed hands over what is sent to it.
type testFeed struct{ events chan bridge.Event }

func newTestFeed() *testFeed { return &testFeed{events: make(chan bridge.Event)} }

func (f *testFeed) Source() *bridge.Source { return testHub }
func (f *testFeed) Status() bridge.SourceStatus {
	return bridge.SourceStatus{Name: testHub.Name, Connections: 1, Wanted: 1}
}

func (f *testFeed) Run(ctx context.Context, in bridge.Inlet) error {
	for {
		select {
		case e := <-f.events:
			if err := in.Put(context.WithoutCancel(ctx), e); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// testSink records what it accepts; fail decides about each message.
type testSink struct {
	mu       sync.Mutex
	accepted []string // payloads
	offsets  []uint64
	calls    [][]uint64 // offsets of each Publish
	fail     func(call int, m *bridge.Message) error
}

func (s *testSink) Publish(_ context.Context, msgs []bridge.Message, results []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var offsets []uint64
	blocked := map[string]bool{}
	for i := range msgs {
		m := &msgs[i]
		offsets = append(offsets, m.Event.ID.Offset)
		if blocked[string(m.Key)] {
			results[i] = bridge.Errorf(bridge.KindTransient, "publish", "behind a failed message")
			continue
		}
		if s.fail != nil {
			if results[i] = s.fail(len(s.calls), m); results[i] != nil {
				blocked[string(m.Key)] = bridge.KindOf(results[i]) != bridge.KindRejected
				continue
			}
		}
		s.accepted = append(s.accepted, string(m.Payload))
		s.offsets = append(s.offsets, m.Event.ID.Offset)
	}
	s.calls = append(s.calls, offsets)
}

func (s *testSink) Close(context.Context) error { return nil }

func (s *testSink) got() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.offsets)
}

func spec(name string, s bridge.Sink) bridge.SinkSpec {
	return bridge.SinkSpec{
		Name: name, Type: "test",
		Plan: bridge.Plan{Kind: bridge.DestinationSubject, Destination: "cycle.{hub}.{object}.{topic}", Key: "{object}"},
		Open: func(context.Context) (bridge.Sink, error) { return s, nil },
	}
}

// start runs a bridge; the returned func ends it and returns Run's error.
func start(t *testing.T, opts bridge.Options) (*bridge.Bridge, func() error) {
	t.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	b, err := bridge.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	return b, func() error { cancel(); return <-done }
}

func offsets(from, to uint64) []uint64 {
	var out []uint64
	for o := from; o <= to; o++ {
		out = append(out, o)
	}
	return out
}

func wantOffsets(t *testing.T, who string, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got offsets %v, want %v", who, got, want)
	}
}

func wantAccounted(t *testing.T, b *bridge.Bridge) {
	t.Helper()
	for _, s := range b.Status().Sinks {
		if s.Unaccounted != 0 {
			t.Errorf("sink %s: %d events unaccounted for: %+v", s.Name, s.Unaccounted, s)
		}
	}
}

func TestBridgeDeliversInOrderAndKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memjournal.New()
		sink, feed := &testSink{}, newTestFeed()
		opts := bridge.Options{Journal: j, Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", sink)}}
		b, stop := start(t, opts)
		for n := range 2500 {
			feed.events <- notification(t, n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, "first run", sink.got(), offsets(1, 2500))
		wantAccounted(t, b)
		if pos, ok, err := j.Cursor(t.Context(), "a"); err != nil || !ok || pos.ID.Offset != 2500 {
			t.Errorf("cursor after the drain: got %v %v %v, want 2500", pos, ok, err)
		}

		_, stop = start(t, opts)
		feed.events <- notification(t, 1)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, "second run", sink.got(), offsets(1, 2501))
	})
}

func TestBridgeHandsUnsettledMessagesAgainFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := 0
		sink, feed := &testSink{}, newTestFeed()
		sink.fail = func(_ int, m *bridge.Message) error {
			if string(m.Key) == "obj-3" && fails < 4 {
				fails++
				return bridge.Errorf(bridge.KindTransient, "publish", "try again")
			}
			return nil
		}
		b, stop := start(t, bridge.Options{
			Journal: memjournal.New(), Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", sink)},
		})
		for n := range 100 {
			feed.events <- notification(t, n)
		}
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		got := sink.got()
		slices.Sort(got)
		wantOffsets(t, "all of them", got, offsets(1, 100))
		var last uint64
		for _, o := range sink.got() { // in order for the key that failed
			if (o-1)%7 == 3 {
				if o < last {
					t.Errorf("obj-3: %d came after %d", o, last)
				}
				last = o
			}
		}
		wantAccounted(t, b)
		s := b.Status().Sinks[0]
		if fails != 4 || s.Retried == 0 || s.Delivered != 100 {
			t.Errorf("got %d failures, status %+v", fails, s)
		}
	})
}

func TestBridgeDeadLettersWhatASinkWillNeverTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memjournal.New()
		sink, feed := &testSink{}, newTestFeed()
		sink.fail = func(_ int, m *bridge.Message) error {
			if m.Event.ID.Offset == 5 {
				return bridge.Errorf(bridge.KindRejected, "publish", "too large")
			}
			return nil
		}
		b, stop := start(t, bridge.Options{Journal: j, Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", sink)}})
		for n := range 10 {
			feed.events <- notification(t, n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, "delivered", sink.got(), []uint64{1, 2, 3, 4, 6, 7, 8, 9, 10})
		dead := j.Store().DeadLetters()
		if len(dead) != 1 || dead[0].Event.Offset != 5 || dead[0].Sink != "a" || len(dead[0].Payload) == 0 {
			t.Errorf("got dead letters %+v, want the event at offset 5", dead)
		}
		if s := b.Status().Sinks[0]; s.Delivered != 9 || s.DeadLettered != 1 {
			t.Errorf("got %+v", s)
		}
		wantAccounted(t, b)
	})
}

func TestBridgeOneDeadSinkHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		live, dead, feed := &testSink{}, &testSink{}, newTestFeed()
		dead.fail = func(int, *bridge.Message) error {
			if !up.Load() {
				return bridge.Errorf(bridge.KindUnavailable, "publish", "connection refused")
			}
			return nil
		}
		b, stop := start(t, bridge.Options{
			Journal: memjournal.New(), Feeds: []bridge.Feed{feed},
			Sinks: []bridge.SinkSpec{spec("live", live), spec("dead", dead)},
		})
		for n := range 3000 {
			feed.events <- notification(t, n)
		}
		time.Sleep(10 * time.Minute)
		wantOffsets(t, "live sink", live.got(), offsets(1, 3000))
		s := b.Status().Sinks[1]
		if s.State != bridge.SinkPaused || s.LagEvents != 3000 || s.LagSeconds < 590 || s.Problem == "" || s.DeadLettered != 0 {
			t.Errorf("dead sink: got %+v", s)
		}
		up.Store(true)
		time.Sleep(10 * time.Second)
		wantOffsets(t, "dead sink after it came back", dead.got(), offsets(1, 3000))
		if s := b.Status().Sinks[1]; s.State != bridge.SinkIdle || s.Problem != "" {
			t.Errorf("after it came back: got %+v", s)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantAccounted(t, b)
	})
}

func TestBridgeStartsWithASinkThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		sink, feed := &testSink{}, newTestFeed()
		s := spec("late", sink)
		s.Open = func(context.Context) (bridge.Sink, error) {
			if tries++; tries < 4 {
				return nil, bridge.Errorf(bridge.KindUnavailable, "connect", "connection refused")
			}
			return sink, nil
		}
		_, stop := start(t, bridge.Options{Journal: memjournal.New(), Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{s}})
		for n := range 10 {
			feed.events <- notification(t, n)
		}
		time.Sleep(time.Minute)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, "sink", sink.got(), offsets(1, 10))
	})
}

// A sink that had trouble to get ready is up once it is, also before its first message.
func TestBridgeSinkRecoversBeforeItsFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		s := spec("late", &testSink{})
		s.Open = func(context.Context) (bridge.Sink, error) {
			if tries++; tries < 3 {
				return nil, bridge.Errorf(bridge.KindTransient, "connect", "loading")
			}
			return &testSink{}, nil
		}
		b, stop := start(t, bridge.Options{Journal: memjournal.New(), Sinks: []bridge.SinkSpec{s}})
		time.Sleep(time.Minute)
		if s := b.Status().Sinks[0]; !s.Up() || s.Problem != "" {
			t.Errorf("got %+v, want a sink that is up", s)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBridgeCrashRepeatsAtMostWhatTheCursorMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memjournal.New()
		sink, feed := &testSink{}, newTestFeed()
		opts := bridge.Options{Journal: j, Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", sink)}}
		_, stop := start(t, opts)
		for n := range 500 {
			feed.events <- notification(t, n)
		}
		time.Sleep(50 * time.Millisecond) // delivered, the cursor not yet written
		crashed := j.Clone().Open(memjournal.Options{})
		if err := stop(); err != nil {
			t.Fatal(err)
		}

		again, feed2 := &testSink{}, newTestFeed()
		opts.Journal, opts.Sinks, opts.Feeds = crashed, []bridge.SinkSpec{spec("a", again)}, []bridge.Feed{feed2}
		_, stop = start(t, opts)
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		got := again.got()
		if len(got) == 0 || got[len(got)-1] != 500 {
			t.Fatalf("after the crash: got %v, want a stretch that ends at 500", got)
		}
		wantOffsets(t, "after the crash", got, offsets(got[0], 500))
	})
}

func TestBridgeDrainStopsAtAPausedSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, feed := &testSink{}, newTestFeed()
		sink.fail = func(int, *bridge.Message) error {
			return bridge.Errorf(bridge.KindUnavailable, "publish", "connection refused")
		}
		_, stop := start(t, bridge.Options{Journal: memjournal.New(), Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", sink)}})
		feed.events <- notification(t, 1)
		time.Sleep(time.Minute)
		begin := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > backlog {
			t.Errorf("the drain took %s with a sink that is down, want at most %s", took, backlog)
		}
	})
}

// backlog is the time a drain works off the backlog.
const backlog = 5 * time.Second

func TestBridgeEndsWhenItIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := memjournal.NewStore().Open(memjournal.Options{
			BeforeAppend: func(context.Context, []bridge.Event) error { return bridge.ErrFenced },
		})
		feed := newTestFeed()
		b, err := bridge.New(bridge.Options{
			Journal: j, Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", &testSink{})},
			Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- b.Run(t.Context()) }()
		feed.events <- notification(t, 1)
		if err := <-done; !errors.Is(err, bridge.ErrFenced) {
			t.Errorf("got %v, want %v", err, bridge.ErrFenced)
		}
	})
}
