package journaltest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// exportAll lets cmp look into the parsed view, whatever it is made of.
func exportAll(reflect.Type) bool { return true }

func testCursors(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	ctx := t.Context()
	es := events(0, 10)
	appendAll(t, j, es)
	if pos, ok, err := j.Cursor(ctx, "a"); ok || err != nil {
		t.Fatalf("Cursor of an unknown sink = %v, %v, %v", pos, ok, err)
	}
	set := func(sink string, at int) error {
		return j.SetCursor(ctx, sink, bridge.Position{ID: es[at].ID, Seq: 1})
	}
	for _, name := range []string{"a", "b", "a sink.with/odd*chars>"} {
		for _, at := range []int{0, 4, 4, 7} {
			if err := set(name, at); err != nil {
				t.Fatalf("SetCursor(%q, %d): %v", name, at, err)
			}
			pos, ok, err := j.Cursor(ctx, name)
			if want := (bridge.Position{ID: es[at].ID, Seq: 1}); pos != want || !ok || err != nil {
				t.Errorf("Cursor(%q) = %v, %v, %v, want %v", name, pos, ok, err, want)
			}
		}
	}
	if err := set("a", 3); !errors.Is(err, bridge.ErrStaleCursor) {
		t.Errorf("SetCursor back = %v, want %v", err, bridge.ErrStaleCursor)
	}
	if pos, _, err := j.Cursor(ctx, "a"); pos.ID != es[7].ID || err != nil {
		t.Errorf("Cursor after a refused SetCursor = %v, %v, want %v", pos, err, es[7].ID)
	}
}

func testCursorsSurvive(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	es := events(0, 10)
	appendAll(t, j, es)
	if err := j.SetCursor(t.Context(), "a", bridge.Position{ID: es[4].ID}); err != nil {
		t.Fatal(err)
	}
	s2 := s.Crash(t)
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j = open(t, s2)
	if pos, ok, err := j.Cursor(t.Context(), "a"); pos.ID != es[4].ID || !ok || err != nil {
		t.Errorf("Cursor = %v, %v, %v, want %v", pos, ok, err, es[4].ID)
	}
	got, _ := read(t, reader(t, j, bridge.Position{ID: es[4].ID}), 5)
	checkRun(t, got, 5, 6)
	if err := j.SetCursor(t.Context(), "a", bridge.Position{ID: es[3].ID}); !errors.Is(err, bridge.ErrStaleCursor) {
		t.Errorf("SetCursor back after a crash = %v, want %v", err, bridge.ErrStaleCursor)
	}
}

// testStaleCursor checks that a cursor below the stored one is refused also
// when the journal that asks never read it.
func testStaleCursor(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	es := events(0, 10)
	appendAll(t, j, es)
	if err := j.SetCursor(t.Context(), "a", bridge.Position{ID: es[9].ID}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j = open(t, s)
	if err := j.SetCursor(t.Context(), "a", bridge.Position{ID: es[2].ID}); !errors.Is(err, bridge.ErrStaleCursor) {
		t.Errorf("SetCursor back = %v, want %v", err, bridge.ErrStaleCursor)
	}
}

func testReopen(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	epochs := map[string]bool{}
	var id string
	total := 0
	for term := range 4 {
		j := s.Open(t)
		i := j.Info()
		if i.New != (term == 0) {
			t.Errorf("term %d: new = %v", term, i.New)
		}
		if term == 0 {
			id = i.ID
		} else if i.ID != id {
			t.Errorf("term %d: journal id = %q, want %q", term, i.ID, id)
		}
		if epochs[i.Epoch] {
			t.Errorf("term %d: epoch %q again", term, i.Epoch)
		}
		epochs[i.Epoch] = true
		if i.FirstOffset != uint64(total)+1 || i.Last != uint64(total) { //nolint:gosec // small
			t.Errorf("term %d: first offset %d, last %d, want %d and %d", term, i.FirstOffset, i.Last, total+1, total)
		}
		got, _ := read(t, reader(t, j, bridge.Position{}), total)
		checkRun(t, got, 0, 1)
		es := events(total, 5)
		appendAll(t, j, es)
		if es[0].ID.Epoch != i.Epoch {
			t.Errorf("term %d: event of epoch %q, want %q", term, es[0].ID.Epoch, i.Epoch)
		}
		total += 5
		if err := j.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

func testCrash(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	ids := map[bridge.ID]int{}
	total := 0
	for term := range 4 {
		j := s.Open(t)
		got, _ := read(t, reader(t, j, bridge.Position{}), total)
		checkRun(t, got, 0, 1)
		for range 3 {
			es := events(total, 7)
			appendAll(t, j, es)
			for i := range es {
				if n, ok := ids[es[i].ID]; ok {
					t.Fatalf("term %d: id %v was given to event %d before", term, es[i].ID, n)
				}
				ids[es[i].ID] = Number(&es[i])
			}
			total += 7
		}
		next := s.Crash(t)
		if err := j.Close(context.Background()); err != nil {
			t.Fatalf("Close: %v", err)
		}
		s = next
	}
}

func testClose(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	appendAll(t, j, events(0, 3))
	waiting := reader(t, j, bridge.Position{})
	read(t, waiting, 3)
	got := make(chan error, 1)
	go func() {
		_, err := waiting.Next(context.Background(), true)
		got <- err
	}()
	for range 2 {
		if err := j.Close(t.Context()); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	select {
	case err := <-got:
		if !errors.Is(err, bridge.ErrClosed) {
			t.Errorf("Next of a closed journal = %v, want %v", err, bridge.ErrClosed)
		}
	case <-time.After(limit):
		t.Fatal("Next still waits after Close")
	}
	ctx := t.Context()
	_, _, cursorErr := j.Cursor(ctx, "a")
	_, readerErr := j.NewReader(ctx, bridge.Position{})
	for what, err := range map[string]error{
		"Append":        j.Append(ctx, events(3, 1)),
		"SetCursor":     j.SetCursor(ctx, "a", bridge.Position{ID: bridge.ID{Epoch: "x", Offset: 1}}),
		"Cursor":        cursorErr,
		"NewReader":     readerErr,
		"PutDeadLetter": j.PutDeadLetter(ctx, bridge.DeadLetter{Sink: "a", Event: bridge.ID{Epoch: "x", Offset: 1}}),
	} {
		if !errors.Is(err, bridge.ErrClosed) {
			t.Errorf("%s of a closed journal = %v, want %v", what, err, bridge.ErrClosed)
		}
	}
	if i := j.Info(); i.Last != 3 {
		t.Errorf("Info of a closed journal: last = %d, want 3", i.Last)
	}
	// A closed reader of an open journal.
	j = open(t, s)
	r := reader(t, j, bridge.Position{})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(ctx, false); !errors.Is(err, bridge.ErrClosed) {
		t.Errorf("Next of a closed reader = %v, want %v", err, bridge.ErrClosed)
	}
}

func testAppendContext(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Append(ctx, events(0, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want %v", err, context.Canceled)
	}
	appendAll(t, j, events(0, 2))
	got, _ := read(t, reader(t, j, bridge.Position{}), 2)
	checkRun(t, got, 0, 1)
}

func testRetention(t *testing.T, h Harness) {
	const maxBytes = 4 << 20
	s := h.New(t, Limits{MaxBytes: maxBytes})
	j := s.Open(t)
	pad := string(slices.Repeat([]byte{'x'}, 1000))
	var epoch string
	const groups, size = 100, 100 // 10 MB
	for g := range groups {
		es := events(g*size, size)
		for i := range es {
			es[i].Raw = append(es[i].Raw[:len(es[i].Raw)-1:len(es[i].Raw)-1], fmt.Sprintf(`,"pad":"%s"}`, pad)...)
			es[i].Note, _ = bridge.ParseNotification(es[i].Raw)
		}
		appendAll(t, j, es)
		epoch = es[0].ID.Epoch
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j = open(t, s)
	info := j.Info()
	if info.Oldest <= 1 || info.Bytes > maxBytes {
		t.Fatalf("oldest = %d, %d bytes: the limit of %d does nothing", info.Oldest, info.Bytes, maxBytes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for _, at := range []uint64{0, 1, 57, info.Oldest - 2} {
		r := reader(t, j, bridge.Position{ID: bridge.ID{Epoch: epoch, Offset: at}})
		b, err := r.Next(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		want := &bridge.Skip{First: at + 1, Last: info.Oldest - 1, Retention: true}
		got := b.Skipped
		if got == nil || got.First != want.First || got.Last != want.Last || !got.Retention {
			t.Fatalf("after %d: skipped %+v, want %+v", at, got, want)
		}
		if len(b.Events) > 0 && b.Events[0].ID.Offset != info.Oldest {
			t.Errorf("after %d: first event %v, want offset %d", at, b.Events[0].ID, info.Oldest)
		}
		rest, _ := read(t, r, groups*size+1-int(info.Oldest)-len(b.Events)) //nolint:gosec // small
		if n := Number(&rest[len(rest)-1]); n != groups*size-1 {
			t.Errorf("last number %d, want %d", n, groups*size-1)
		}
	}
	// From the oldest nothing is skipped.
	read(t, reader(t, j, bridge.Position{}), groups*size+1-int(info.Oldest)) //nolint:gosec // small
}

func testDeadLetters(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	want := []bridge.DeadLetter{
		{
			Sink: "kafka", Event: bridge.ID{Epoch: "k3v9q0x7m2", Offset: 12}, Destination: "cycle.container",
			Key: []byte{0, 1, 255}, Headers: []bridge.Header{{Name: "A", Value: []byte("b")}, {Name: "A", Value: []byte{0xff}}},
			Payload: noise(100_000, 5), Reason: "rejected: too large", Attempts: 3, First: at, Last: at.Add(time.Minute),
		},
		{
			Sink: "a sink.with/odd*chars>", Event: bridge.ID{Epoch: "k3v9q0x7m2", Offset: 13}, Destination: "https://example.com",
			Payload: []byte("{}"), Reason: "rejected: 400", Attempts: 1, First: at, Last: at,
		},
	}
	for _, dl := range want {
		if err := j.PutDeadLetter(t.Context(), dl); err != nil {
			t.Fatalf("PutDeadLetter: %v", err)
		}
	}
	s2 := s.Crash(t)
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j = open(t, s2)
	if diff := cmp.Diff(want, s2.DeadLetters(t, j)); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

func testInfo(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	i := j.Info()
	if !i.New || !i.Healthy || i.Problem != "" || i.ID == "" || i.Where == "" || i.Last != 0 || i.Oldest != 1 || i.FirstOffset != 1 {
		t.Errorf("info of an empty journal = %+v", i)
	}
	appendAll(t, j, events(0, 10))
	if i = j.Info(); i.Last != 10 || i.Bytes == 0 {
		t.Errorf("info = %+v, want last 10 and some bytes", i)
	}
	j.Proof("production", time.Now())
}
