package bridge_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/memjournal"
)

func TestBridgeAddsAndRemovesWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, feed := &testSink{}, &testSink{}, newTestFeed()
		b, stop := start(t, bridge.Options{Journal: memjournal.New(), Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", first)}})
		for n := range 10 {
			feed.events <- notification(t, n)
		}
		time.Sleep(time.Second)
		if err := b.RemoveSink(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		late := newTestFeed()
		b.AddFeed(late)
		for n := range 10 {
			late.events <- notification(t, n)
		}
		time.Sleep(time.Second)
		wantOffsets(t, "removed sink", first.got(), offsets(1, 10))
		// A sink of the same name goes on where it was, a new one at its beginning.
		if err := errors.Join(b.AddSink(spec("a", first)), b.AddSink(spec("b", second))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := b.RemoveFeed(t.Context(), testHub.Name); err != nil { // the first of that name
			t.Fatal(err)
		}
		for n := range 5 {
			late.events <- notification(t, n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		wantOffsets(t, "sink that came back", first.got(), offsets(1, 25))
		wantOffsets(t, "new sink, in the journal's first run", second.got(), offsets(1, 25))
		if s := b.Status(); len(s.Sinks) != 2 || len(s.Sources) != 1 {
			t.Errorf("got %d sinks and %d sources, want 2 and 1", len(s.Sinks), len(s.Sources))
		}
	})
}

// A sink that is down can be removed at once.
func TestBridgeRemovesASinkThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink, feed := &testSink{}, newTestFeed()
		sink.fail = func(int, *bridge.Message) error {
			return bridge.Errorf(bridge.KindUnavailable, "publish", "connection refused")
		}
		b, stop := start(t, bridge.Options{Journal: memjournal.New(), Feeds: []bridge.Feed{feed}, Sinks: []bridge.SinkSpec{spec("a", sink)}})
		feed.events <- notification(t, 1)
		time.Sleep(time.Minute)
		begin := time.Now()
		if err := b.RemoveSink(t.Context(), "a"); err != nil || time.Since(begin) > time.Second {
			t.Errorf("got %v after %s", err, time.Since(begin))
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
