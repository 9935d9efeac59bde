// Package journaltest is the suite that every bridge.Journal passes.
//
// Run proves the contract of bridge.Journal from outside: order and gapless
// offsets, ids that are never given twice, readers from every position,
// cursors, closing, and what survives a crash. Faults that are particular to
// one way of storing are tested with that.
package journaltest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Harness makes storage to test on.
type Harness struct {
	// New returns empty storage. It is called for each test.
	New func(t *testing.T, limits Limits) Storage
}

// Limits is what the storage keeps at most.
type Limits struct {
	MaxBytes int64 // 0: as the journal's default
}

// Storage is what outlives an open journal.
type Storage interface {
	// Open opens the journal. The suite closes it, or crashes it.
	Open(t *testing.T) bridge.Journal
	// Crash returns storage as it would be had the process that holds the
	// open journal been killed now. The old storage is not used again, but
	// its journal may still be closed.
	Crash(t *testing.T) Storage
	// DeadLetters returns all that were stored, oldest first.
	DeadLetters(t *testing.T, j bridge.Journal) []bridge.DeadLetter
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, tt := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Order", testOrder},
		{"NoEvents", testNoEvents},
		{"GroupLimits", testGroupLimits},
		{"HugeEvent", testHugeEvent},
		{"Fields", testFields},
		{"ConcurrentReaders", testConcurrentReaders},
		{"NextWaits", testNextWaits},
		{"EveryPosition", testEveryPosition},
		{"NowOfNewTerm", testNowOfNewTerm},
		{"Cursors", testCursors},
		{"CursorsSurvive", testCursorsSurvive},
		{"StaleCursor", testStaleCursor},
		{"Reopen", testReopen},
		{"Crash", testCrash},
		{"Close", testClose},
		{"AppendContext", testAppendContext},
		{"Retention", testRetention},
		{"DeadLetters", testDeadLetters},
		{"Info", testInfo},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, h) })
	}
}

// limit bounds every wait of the suite.
const limit = 30 * time.Second

func open(t *testing.T, s Storage) bridge.Journal {
	t.Helper()
	j := s.Open(t)
	t.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

var (
	hub   = &bridge.Source{Origin: bridge.OriginHub, ID: "5a14ddd8b6393d0001976f44", Name: "production"}
	other = &bridge.Source{Origin: "hookstream", ID: "", Name: "orders"}
	own   = &bridge.Source{Origin: bridge.OriginBridge}
)

// Event makes a notification with a number that tells it from all others.
func Event(n int) bridge.Event {
	raw := fmt.Appendf(nil, `{"topic":"container.state.changed","object":{"id":"%024x","state":"running"},"context":{},"n":%d}`, n%500, n)
	note, err := bridge.ParseNotification(raw)
	if err != nil {
		panic(err)
	}
	return bridge.Event{ReceivedAt: 1_700_000_000_000_000_000 + int64(n)*1_000_003, Source: hub, Conn: uint32(n % 3), Raw: raw, Note: note} //nolint:gosec // small
}

// Number reads back which Event it is; -1 if it is none.
func Number(e *bridge.Event) int {
	var v struct{ N *int }
	if json.Unmarshal(e.Raw, &v) != nil || v.N == nil {
		return -1
	}
	return *v.N
}

func events(from, n int) []bridge.Event {
	out := make([]bridge.Event, n)
	for i := range out {
		out[i] = Event(from + i)
	}
	return out
}

func appendAll(t *testing.T, j bridge.Journal, es []bridge.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := j.Append(ctx, es); err != nil {
		t.Fatalf("Append of %d events: %v", len(es), err)
	}
}

func reader(t *testing.T, j bridge.Journal, after bridge.Position) bridge.Reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := j.NewReader(ctx, after)
	if err != nil {
		t.Fatalf("NewReader(%v): %v", after, err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Reader.Close: %v", err)
		}
	})
	return r
}

// read reads n events; skips fail the test.
func read(t *testing.T, r bridge.Reader, n int) ([]bridge.Event, []bridge.Batch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var out []bridge.Event
	var batches []bridge.Batch
	for len(out) < n {
		b, err := r.Next(ctx, true)
		if err != nil {
			t.Fatalf("Next after %d of %d events: %v", len(out), n, err)
		}
		if b.Skipped != nil {
			t.Fatalf("Next skipped %+v after %d events", *b.Skipped, len(out))
		}
		out = append(out, b.Events...)
		batches = append(batches, b)
	}
	if len(out) != n {
		t.Fatalf("read %d events, want %d", len(out), n)
	}
	return out, batches
}

// checkRun fails unless the events are number from.. with offsets first...
func checkRun(t *testing.T, es []bridge.Event, from int, first uint64) {
	t.Helper()
	for i := range es {
		if n := Number(&es[i]); n != from+i {
			t.Fatalf("event %d has number %d, want %d", i, n, from+i)
		}
		if got, want := es[i].ID.Offset, first+uint64(i); got != want { //nolint:gosec // an index
			t.Fatalf("event %d has offset %d, want %d", i, got, want)
		}
		if len(es[i].ID.Epoch) != 10 {
			t.Fatalf("event %d has epoch %q, want ten characters", i, es[i].ID.Epoch)
		}
	}
}

func noise(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // test data
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
