package jetjournal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/journaltest"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
)

var errInjected = errors.New("injected")

// readAll reads what is there, with everything that was skipped.
func readAll(t *testing.T, j bridge.Journal, after bridge.Position) (numbers []int, skips []bridge.Skip) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := j.NewReader(ctx, after)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		b, err := r.Next(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		if b.Skipped != nil {
			skips = append(skips, *b.Skipped)
		}
		if len(b.Events) == 0 && b.Skipped == nil {
			return numbers, skips
		}
		for i := range b.Events {
			numbers = append(numbers, journaltest.Number(&b.Events[i]))
		}
	}
}

func wantNumbers(t *testing.T, got []int, want ...[2]int) {
	t.Helper()
	var all []int
	for _, w := range want {
		for n := w[0]; n < w[1]; n++ {
			all = append(all, n)
		}
	}
	if len(got) != len(all) {
		t.Fatalf("%d events, want %d", len(got), len(all))
	}
	for i := range all {
		if got[i] != all[i] {
			t.Fatalf("event %d has number %d, want %d", i, got[i], all[i])
		}
	}
}

// admin opens JetStream in the journal's account, as damage from outside.
func admin(t *testing.T, j *opened) jetstream.JetStream {
	t.Helper()
	nc, err := natsserver.Connect(j.server.Journal(), "admin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestLostAcknowledgementStoresOnce(t *testing.T) {
	var n atomic.Int64
	s := setup{dir: t.TempDir(), change: func(o *Options) {
		o.timing = short()
		o.faults.afterPublish = func(uint64) error {
			if n.Add(1)%2 == 1 {
				return errInjected
			}
			return nil
		}
	}}
	j := s.must(t)
	for g := range 10 {
		if err := j.Append(t.Context(), numbered(g*5, 5)); err != nil {
			t.Fatal(err)
		}
	}
	if n.Load() < 10 {
		t.Fatalf("the fault was met %d times", n.Load())
	}
	got, skips := readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 50})
	if len(skips) > 0 || j.Breaks() > 0 {
		t.Errorf("skips = %v, breaks = %d", skips, j.Breaks())
	}
}

func TestNotSentIsSentAgain(t *testing.T) {
	var n atomic.Int64
	s := setup{dir: t.TempDir(), change: func(o *Options) {
		o.timing = short()
		o.faults.beforePublish = func(uint64) error {
			if n.Add(1)%3 != 0 {
				return errInjected
			}
			return nil
		}
	}}
	j := s.must(t)
	for g := range 3 {
		if err := j.Append(t.Context(), numbered(g*5, 5)); err != nil {
			t.Fatal(err)
		}
	}
	got, skips := readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 15})
	if len(skips) > 0 {
		t.Errorf("skips = %v", skips)
	}
}

// An append whose context ends is settled by the next one, which then comes
// after it.
func TestUnsettledGroupIsSettledFirst(t *testing.T) {
	var broken atomic.Bool
	s := setup{dir: t.TempDir(), change: func(o *Options) {
		o.timing = short()
		o.faults.beforePublish = func(uint64) error {
			if broken.Load() {
				return errInjected
			}
			return nil
		}
	}}
	j := s.must(t)
	broken.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := j.Append(ctx, numbered(0, 5)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Append = %v, want %v", err, context.DeadlineExceeded)
	}
	broken.Store(false)
	if err := j.Append(t.Context(), numbered(5, 5)); err != nil {
		t.Fatal(err)
	}
	got, skips := readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 10})
	if len(skips) > 0 {
		t.Errorf("skips = %v", skips)
	}
}

func TestStaleWriterIsFenced(t *testing.T) {
	j := (setup{dir: t.TempDir()}).must(t)
	if err := j.Append(t.Context(), numbered(0, 5)); err != nil {
		t.Fatal(err)
	}
	// Another writer on the same stream, as a replica that takes over.
	second, err := Open(t.Context(), Options{Config: j.cfg, Server: j.server, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close(context.Background())
	if second.Info().FirstOffset != 6 {
		t.Errorf("first offset = %d, want 6", second.Info().FirstOffset)
	}
	if err := second.Append(t.Context(), numbered(5, 5)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := j.Append(t.Context(), numbered(100, 5)); !errors.Is(err, bridge.ErrFenced) {
			t.Errorf("Append of the stale writer = %v, want %v", err, bridge.ErrFenced)
		}
	}
	if i := j.Info(); i.Healthy || !strings.Contains(i.Problem, "another writer") {
		t.Errorf("info of the stale writer = %+v", i)
	}
	got, _ := readAll(t, second, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 10})
	st, err := second.link.state(t.Context(), time.Second)
	if err != nil || st.LastSeq != 2 {
		t.Errorf("the stream ends at %d, %v, want 2: the stale writer's group was stored", st.LastSeq, err)
	}
}

func TestStaleCursorOfAnotherProcess(t *testing.T) {
	j := (setup{dir: t.TempDir()}).must(t)
	es := numbered(0, 10)
	if err := j.Append(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), Options{Config: j.cfg, Server: j.server, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close(context.Background())
	for _, jj := range []*Journal{j.Journal, second} {
		if _, _, err := jj.Cursor(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.SetCursor(t.Context(), "a", bridge.Position{ID: es[3].ID}); err != nil {
		t.Fatal(err)
	}
	if err := j.SetCursor(t.Context(), "a", bridge.Position{ID: es[5].ID}); !errors.Is(err, bridge.ErrStaleCursor) {
		t.Errorf("SetCursor = %v, want %v", err, bridge.ErrStaleCursor)
	}
	if got := second.Known()["a"].ID; got != es[3].ID {
		t.Errorf("known cursor = %v, want %v", got, es[3].ID)
	}
}

func TestRemovedGroupIsALoss(t *testing.T) {
	s := setup{dir: t.TempDir()}
	// A stream made by an older hand, without deny_delete, so that the test can remove.
	j := s.must(t)
	js := admin(t, j)
	var es []bridge.Event
	for g := range 6 {
		e := numbered(g*10, 10)
		if err := j.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		es = append(es, e...)
	}
	st, err := js.Stream(t.Context(), "cycle-bridge")
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteMsg(t.Context(), 3); err == nil {
		t.Error("a group could be deleted: deny_delete is off")
	}
	if err := st.Purge(t.Context(), jetstream.WithPurgeSequence(4)); err != nil {
		t.Fatal(err)
	}
	j.tail.reset(j.w.last+1, j.w.next) // as a reader that is behind sees it
	got, skips := readAll(t, j, bridge.Position{ID: es[4].ID})
	wantNumbers(t, got, [2]int{30, 60})
	if len(skips) != 1 || skips[0].First != 6 || skips[0].Last != 30 || skips[0].Retention {
		t.Errorf("skips = %+v, want 6 to 30 as a loss", skips)
	}
	if j.Breaks() == 0 {
		t.Error("the loss was not counted")
	}
}

// blocks returns the journal stream's block files.
func blocks(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "nats", "jetstream", "JOURNAL", "streams", "cycle-bridge", "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		t.Fatalf("block files: %v, %v", files, err)
	}
	return files
}

// damaged opens a journal of six groups of ten events whose block file was
// changed while it was stopped.
func damaged(t *testing.T, change func(path string, b []byte) []byte) (*opened, []bridge.Event) {
	t.Helper()
	s := setup{dir: t.TempDir()}
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var es []bridge.Event
	for g := range 6 {
		e := numbered(g*10, 10)
		if err := j.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		es = append(es, e...)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := blocks(t, s.dir)[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(path, b), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.must(t), es
}

func TestFlippedBit(t *testing.T) {
	for _, at := range []float64{0.05, 0.3, 0.5, 0.7, 0.99} {
		j, es := damaged(t, func(_ string, b []byte) []byte {
			b[int(at*float64(len(b)))] ^= 4
			return b
		})
		got, skips := readAll(t, j, bridge.Position{ID: bridge.ID{Epoch: es[0].ID.Epoch}})
		seen := map[int]bool{}
		for _, n := range got {
			seen[n] = true
		}
		lost := 0
		for _, s := range append(skips, j.Lost()...) {
			if s.Retention {
				t.Errorf("at %v: %+v is called retention", at, s)
			}
		}
		for n := range es {
			in := false
			for _, s := range append(skips, j.Lost()...) {
				in = in || (s.First <= es[n].ID.Offset && es[n].ID.Offset <= s.Last)
			}
			if !seen[n] {
				lost++
			}
			if !seen[n] && !in {
				t.Errorf("at %v: event %d is missing and nothing says so", at, n)
			}
		}
		t.Logf("at %v: %d lost, skips %+v, at open %+v", at, lost, skips, j.Lost())
		if lost == 0 {
			t.Errorf("at %v: the flipped bit did no damage", at)
		}
		appendAfter(t, j, es)
	}
}

// appendAfter checks that the journal goes on with ids that were never given.
func appendAfter(t *testing.T, j *opened, before []bridge.Event) {
	t.Helper()
	es := numbered(1000, 5)
	if err := j.Append(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	for i := range before {
		if before[i].ID == es[0].ID {
			t.Fatalf("id %v was given again", es[0].ID)
		}
	}
	if last := before[len(before)-1].ID.Offset; es[0].ID.Offset <= last {
		t.Errorf("offset %d was given again (last was %d)", es[0].ID.Offset, last)
	}
	got, _ := readAll(t, j, bridge.Position{ID: bridge.ID{Epoch: j.epoch, Offset: es[0].ID.Offset - 1}})
	wantNumbers(t, got, [2]int{1000, 1005})
}

func TestCutTailIsALossByState(t *testing.T) {
	j, es := damaged(t, func(_ string, b []byte) []byte { return b[:len(b)-500] })
	lost := j.Lost()
	if len(lost) != 1 || lost[0].First != 51 || lost[0].Last != 60 || lost[0].Retention || lost[0].OldEpoch != es[0].ID.Epoch {
		t.Fatalf("lost = %+v, want 51 to 60 of epoch %s", lost, es[0].ID.Epoch)
	}
	if first := j.Info().FirstOffset; first != 61 {
		t.Errorf("first offset = %d, want 61", first)
	}
	appendAfter(t, j, es)
	// A reader in the middle meets the same stretch.
	got, skips := readAll(t, j, bridge.Position{ID: es[39].ID})
	wantNumbers(t, got, [2]int{40, 50}, [2]int{1000, 1005})
	if len(skips) != 1 || skips[0].First != 51 || skips[0].Last != 60 || skips[0].Retention {
		t.Errorf("skips = %+v, want 51 to 60", skips)
	}
}

func TestStreamGoneIsALossByState(t *testing.T) {
	s := setup{dir: t.TempDir()}
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	es := numbered(0, 40)
	if err := j.Append(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	id := j.Info().ID
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "nats")); err != nil {
		t.Fatal(err)
	}
	j = s.must(t)
	if lost := j.Lost(); len(lost) != 1 || lost[0].First != 1 || lost[0].Last != 40 {
		t.Errorf("lost = %+v, want 1 to 40", lost)
	}
	if i := j.Info(); i.ID != id || i.New {
		t.Errorf("journal id = %s, new = %v, want %s as before", i.ID, i.New, id)
	}
	appendAfter(t, j, es)
}

// Without the state record a lost tail is found by the epoch of a cursor.
func TestCursorOfALostEpochProvesALoss(t *testing.T) {
	s := setup{dir: t.TempDir()}
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(t.Context(), numbered(0, 10)); err != nil {
		t.Fatal(err)
	}
	old := copyDir(t, s.dir)
	seen := numbered(10, 10)
	if err := j.Append(t.Context(), seen); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// An old backup is restored, and a sink outside knows more.
	j = setup{dir: old}.must(t)
	for range 3 {
		if err := j.Append(t.Context(), numbered(500, 10)); err != nil {
			t.Fatal(err)
		}
	}
	got, skips := readAll(t, j, bridge.Position{ID: seen[9].ID})
	if len(skips) != 1 || skips[0].OldEpoch != seen[9].ID.Epoch || skips[0].First != 11 || skips[0].Last != 20 || skips[0].Retention {
		t.Errorf("skips = %+v, want 11 to 20 of epoch %s", skips, seen[9].ID.Epoch)
	}
	if len(got) != 30 || got[0] != 500 {
		t.Errorf("read %d events, want the 30 of the new epoch", len(got))
	}
}

func TestUnreadableGroupInTheMiddle(t *testing.T) {
	s := setup{dir: t.TempDir()}
	j := s.must(t)
	es := numbered(0, 10)
	if err := j.Append(t.Context(), es); err != nil {
		t.Fatal(err)
	}
	// A group whose body was damaged on its way; the server's own checksum is right.
	j.turn <- struct{}{}
	h := header{Prev: j.w.prev, Epoch: j.epoch, Writer: j.writerID, First: 11, Number: j.w.number + 1, Time: 1}
	var e encoder
	data := e.encode(&h, numbered(10, 10))
	data[headerSize+50] ^= 1
	seq, err := j.link.append(t.Context(), j.subject, data, j.w.last, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	j.w.last, j.w.next, j.w.prev, j.w.number = seq, 21, h.CRC, j.w.number+1
	j.tail.reset(seq+1, 21)
	j.release()
	if err := j.Append(t.Context(), numbered(20, 10)); err != nil {
		t.Fatal(err)
	}
	got, skips := readAll(t, j, bridge.Position{ID: es[4].ID})
	wantNumbers(t, got, [2]int{5, 10}, [2]int{20, 30})
	if len(skips) != 1 || skips[0].First != 11 || skips[0].Last != 20 || skips[0].Retention || !strings.Contains(skips[0].Cause, "checksum") {
		t.Errorf("skips = %+v, want 11 to 20 by a checksum", skips)
	}
}

func TestCanary(t *testing.T) {
	var broken atomic.Bool
	s := setup{dir: t.TempDir(), change: func(o *Options) {
		o.timing = short()
		o.faults.beforePublish = func(uint64) error {
			if broken.Load() {
				return errInjected
			}
			return nil
		}
	}}
	j := s.must(t)
	if err := j.Append(t.Context(), numbered(0, 3)); err != nil {
		t.Fatal(err)
	}
	before := j.tail.at(0).next
	poll(t, "empty groups", func() bool { return j.tail.at(0).next >= before+3 })
	if i := j.Info(); i.Last != 3 || !i.Healthy {
		t.Errorf("info = %+v, want healthy with last 3: an empty group uses no offset", i)
	}
	broken.Store(true)
	poll(t, "unhealthy", func() bool { return !j.Info().Healthy })
	if p := j.Info().Problem; p == "" {
		t.Error("there is no problem to read")
	}
	broken.Store(false)
	poll(t, "healthy again", func() bool { return j.Info().Healthy })
	if err := j.Append(t.Context(), numbered(3, 3)); err != nil {
		t.Fatal(err)
	}
	got, skips := readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 6})
	if len(skips) > 0 || j.Breaks() > 0 {
		t.Errorf("skips = %v, breaks = %d", skips, j.Breaks())
	}
}

func TestServerRestartUnderAppends(t *testing.T) {
	s := setup{dir: t.TempDir(), change: func(o *Options) { o.timing = short() }}
	j := s.must(t)
	done := make(chan error, 1)
	go func() {
		for g := range 200 {
			if err := j.Append(context.Background(), numbered(g*5, 5)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 3 {
		if err := j.server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got, skips := readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 1000})
	if len(skips) > 0 {
		t.Errorf("skips = %v", skips)
	}
	// The same from the stream.
	j.tail.reset(j.tail.at(0).next, j.tail.at(0).offset)
	got, skips = readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, 1000})
	if len(skips) > 0 || j.Breaks() > 0 {
		t.Errorf("skips = %v, breaks = %d", skips, j.Breaks())
	}
}

func TestSecondProcessOnTheSameDirectory(t *testing.T) {
	s := setup{dir: t.TempDir()}
	s.must(t)
	if _, err := s.open(t.Context()); !errors.Is(err, natsserver.ErrLocked) {
		t.Errorf("Open = %v, want %v", err, natsserver.ErrLocked)
	}
}
