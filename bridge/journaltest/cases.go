package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

func testOrder(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	total := 0
	for _, n := range []int{1, 1, 7, 100, 999, 1000, 3} {
		es := events(total, n)
		appendAll(t, j, es)
		checkRun(t, es, total, uint64(total)+1) //nolint:gosec // small
		total += n
	}
	got, batches := read(t, reader(t, j, bridge.Position{}), total)
	checkRun(t, got, 0, 1)
	var seq uint64
	for _, b := range batches {
		if b.Seq < seq || b.Seq == 0 {
			t.Errorf("sequence %d after %d", b.Seq, seq)
		}
		seq = b.Seq
	}
	if i := j.Info(); i.Last != uint64(total) || i.Oldest != 1 { //nolint:gosec // small
		t.Errorf("info: last %d, oldest %d, want %d and 1", i.Last, i.Oldest, total)
	}
}

func testNoEvents(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	appendAll(t, j, nil)
	appendAll(t, j, []bridge.Event{})
	appendAll(t, j, events(0, 1))
	got, _ := read(t, reader(t, j, bridge.Position{}), 1)
	checkRun(t, got, 0, 1)
}

func testGroupLimits(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	const n = 2*bridge.MaxGroupEvents + 5
	appendAll(t, j, events(0, n))
	got, batches := read(t, reader(t, j, bridge.Position{}), n)
	checkRun(t, got, 0, 1)
	for _, b := range batches {
		if len(b.Events) > bridge.MaxGroupEvents {
			t.Errorf("a batch has %d events, want at most %d", len(b.Events), bridge.MaxGroupEvents)
		}
	}
	// By bytes.
	var big []bridge.Event
	for i := range 5 {
		e := Event(n + i)
		e.Raw = append(e.Raw[:len(e.Raw)-1:len(e.Raw)-1], fmt.Sprintf(`,"pad":"%0*d"}`, bridge.MaxGroupBytes/2, 0)...)
		big = append(big, e)
	}
	appendAll(t, j, big)
	got, _ = read(t, reader(t, j, bridge.Position{ID: bridge.ID{Epoch: got[0].ID.Epoch, Offset: n}}), 5)
	checkRun(t, got, n, n+1)
}

func testHugeEvent(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := open(t, s)
	es := events(0, 3)
	es[1].Raw, es[1].Note, es[1].Flags = noise(3<<20, 7), bridge.Notification{}, bridge.FlagUnparsed
	appendAll(t, j, es)
	got, _ := read(t, reader(t, j, bridge.Position{}), 3)
	if !bytes.Equal(es[1].Raw, got[1].Raw) {
		t.Error("the raw bytes differ")
	}
	if got[2].ID.Offset != 3 {
		t.Errorf("offset = %d, want 3", got[2].ID.Offset)
	}
}

// variety is one event of every kind of field.
func variety() []bridge.Event {
	es := events(0, 8)
	es[1].Source, es[1].Conn, es[1].Flags = other, 1<<32-1, bridge.FlagPossibleDuplicate|bridge.FlagLate
	es[2].Source, es[2].ReceivedAt = own, es[0].ReceivedAt-int64(time.Hour)
	es[3].Raw, es[3].Note, es[3].Flags = nil, bridge.Notification{}, bridge.FlagUnparsed
	es[4].Raw, es[4].Note, es[4].Flags = noise(1000, 3), bridge.Notification{}, bridge.FlagUnparsed|bridge.FlagTruncated
	es[4].Cut = &bridge.Cut{Length: 5 << 30, SHA256: [32]byte(noise(32, 5))}
	es[5].Raw = []byte("{\"topic\":\"caf\\u00e9\\n\",\"object\":{\"id\":\"\xc3\xa9\"}}")
	es[5].Note, _ = bridge.ParseNotification(es[5].Raw)
	es[6].Flags = bridge.FlagReplay | bridge.FlagEnriched
	es[6].ReceivedAt = 0
	return es
}

func sameEvents(t *testing.T, got, want []bridge.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		g, w := &got[i], &want[i]
		if g.ID != w.ID || g.ReceivedAt != w.ReceivedAt || g.Conn != w.Conn || g.Flags != w.Flags || (g.Cut == nil) != (w.Cut == nil) || g.Cut != nil && *g.Cut != *w.Cut ||
			*g.Source != *w.Source || string(g.Raw) != string(w.Raw) {
			t.Errorf("event %d:\n got %v %d %v %d %v %q\nwant %v %d %v %d %v %q", i,
				g.ID, g.ReceivedAt, *g.Source, g.Conn, g.Flags, g.Raw,
				w.ID, w.ReceivedAt, *w.Source, w.Conn, w.Flags, w.Raw)
		}
		if diff := cmp.Diff(w.Note, g.Note, cmp.AllowUnexported(bridge.Notification{}), cmp.Exporter(exportAll)); diff != "" {
			t.Errorf("event %d: notification (-want +got):\n%s", i, diff)
		}
	}
}

func testFields(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	want := variety()
	appendAll(t, j, want)
	live, _ := read(t, reader(t, j, bridge.Position{}), len(want))
	sameEvents(t, live, want)
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// From storage, not from memory.
	j = open(t, s)
	cold, _ := read(t, reader(t, j, bridge.Position{}), len(want))
	sameEvents(t, cold, want)
}

func testConcurrentReaders(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	const readers, groups, size = 6, 60, 20
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var wg sync.WaitGroup
	for n := range readers {
		wg.Go(func() {
			r, err := j.NewReader(ctx, bridge.Position{})
			if err != nil {
				t.Errorf("NewReader: %v", err)
				return
			}
			defer r.Close()
			want := 0
			for want < groups*size {
				b, err := r.Next(ctx, n%2 == 0)
				if err != nil {
					t.Errorf("reader %d: Next: %v", n, err)
					return
				}
				for i := range b.Events {
					if got := Number(&b.Events[i]); got != want {
						t.Errorf("reader %d: number %d, want %d", n, got, want)
						return
					}
					want++
				}
				if len(b.Events) == 0 && bridge.Sleep(ctx, time.Millisecond) != nil {
					return
				}
			}
		})
	}
	for g := range groups {
		appendAll(t, j, events(g*size, size))
	}
	wg.Wait()
}

func testNextWaits(t *testing.T, h Harness) {
	j := open(t, h.New(t, Limits{}))
	r := reader(t, j, bridge.Position{})
	b, err := r.Next(t.Context(), false)
	if err != nil || len(b.Events) != 0 || b.Skipped != nil {
		t.Fatalf("Next of an empty journal = %+v, %v, want nothing", b, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next = %v, want %v", err, context.DeadlineExceeded)
	}
	got := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		b, err := r.Next(ctx, true)
		if err == nil && len(b.Events) != 2 {
			err = fmt.Errorf("%d events, want 2", len(b.Events))
		}
		got <- err
	}()
	appendAll(t, j, events(0, 2))
	if err := <-got; err != nil {
		t.Errorf("Next: %v", err)
	}
	done, cancel2 := context.WithCancel(t.Context())
	cancel2()
	if _, err := r.Next(done, true); !errors.Is(err, context.Canceled) {
		t.Errorf("Next with an ended context = %v, want %v", err, context.Canceled)
	}
}

func testEveryPosition(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	var all []bridge.Event
	seqs := map[uint64]uint64{}
	for _, n := range []int{3, 1, 4, 2} {
		es := events(len(all), n)
		appendAll(t, j, es)
		all = append(all, es...)
	}
	check := func(j bridge.Journal) {
		t.Helper()
		_, batches := read(t, reader(t, j, bridge.Position{}), len(all))
		for _, b := range batches {
			for i := range b.Events {
				seqs[b.Events[i].ID.Offset] = b.Seq
			}
		}
		for at := range all {
			id := all[at].ID
			for _, pos := range []bridge.Position{
				{ID: id}, {ID: id, Seq: seqs[id.Offset]}, {ID: id, Seq: 1}, {ID: id, Seq: 1 << 40}, {ID: bridge.ID{Offset: id.Offset}},
			} {
				r := reader(t, j, pos)
				got, _ := read(t, r, len(all)-at-1)
				checkRun(t, got, at+1, id.Offset+1)
				if b, err := r.Next(t.Context(), false); err != nil || len(b.Events) != 0 || b.Skipped != nil {
					t.Errorf("at %v: Next at the end = %+v, %v", pos, b, err)
				}
			}
		}
	}
	check(j)
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j = open(t, s)
	check(j)
	// A reader at the end goes on with what a new term appends.
	r := reader(t, j, bridge.Position{ID: all[len(all)-1].ID})
	appendAll(t, j, events(len(all), 2))
	got, _ := read(t, r, 2)
	checkRun(t, got, len(all), uint64(len(all))+1)
}

// A new sink begins at "now": the epoch of this term with the last offset,
// which an earlier term has given.
func testNowOfNewTerm(t *testing.T, h Harness) {
	s := h.New(t, Limits{})
	j := s.Open(t)
	appendAll(t, j, events(0, 5))
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j = open(t, s)
	i := j.Info()
	pos := bridge.Position{ID: bridge.ID{Epoch: i.Epoch, Offset: i.Last}}
	r := reader(t, j, pos)
	appendAll(t, j, events(5, 3))
	late := reader(t, j, pos)
	for _, r := range []bridge.Reader{r, late} {
		got, _ := read(t, r, 3)
		checkRun(t, got, 5, 6)
	}
}
