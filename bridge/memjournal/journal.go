package memjournal

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

var _ bridge.Journal = (*Journal)(nil)

// Options change what a Journal does. The zero value keeps everything and
// never fails.
type Options struct {
	MaxBytes uint64 // kept at most, of raw bytes; 0 is no limit
	// BeforeAppend is called with each group before it is stored. It may wait
	// until ctx ends, to be slow, and its error is Append's: nothing is stored then.
	BeforeAppend func(ctx context.Context, events []bridge.Event) error
	// AfterAppend is called when it is stored; its error is Append's all the
	// same, as when the acknowledgement is lost.
	AfterAppend func(ctx context.Context, events []bridge.Event) error
}

// Journal is an open Store.
type Journal struct {
	store *Store
	opts  Options
	isNew bool
	epoch string
	first uint64
	since time.Time

	changed   chan struct{} // closed and replaced at every append; guarded by store.mu
	closed    chan struct{}
	closeOnce sync.Once

	mu      sync.Mutex // guards problem
	problem string
}

// New returns a journal on a new store.
func New() *Journal { return NewStore().Open(Options{}) }

// Store returns what the journal is stored in.
func (j *Journal) Store() *Store { return j.store }

// Clone returns a store as a crash at this instant would leave it.
func (j *Journal) Clone() *Store { return j.store.Clone() }

// SetProblem makes Info report the journal unhealthy, or healthy again with "".
func (j *Journal) SetProblem(problem string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.problem = problem
	j.since = time.Now()
}

func (j *Journal) isClosed() bool {
	select {
	case <-j.closed:
		return true
	default:
		return false
	}
}

// Append implements bridge.Journal. Groups over the limits are split.
func (j *Journal) Append(ctx context.Context, events []bridge.Event) error {
	for len(events) > 0 {
		n := cut(events)
		if err := j.append(ctx, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func cut(events []bridge.Event) int {
	bytes := 0
	for i := range events {
		bytes += len(events[i].Raw)
		if i == bridge.MaxGroupEvents || (i > 0 && bytes > bridge.MaxGroupBytes) {
			return i
		}
	}
	return len(events)
}

func (j *Journal) append(ctx context.Context, events []bridge.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if j.isClosed() {
		return bridge.ErrClosed
	}
	if f := j.opts.BeforeAppend; f != nil {
		if err := f(ctx, events); err != nil {
			return err
		}
	}
	s := j.store
	s.mu.Lock()
	if s.opened != j {
		s.mu.Unlock()
		return bridge.ErrFenced
	}
	g := group{at: time.Now(), first: s.next}
	for i := range events {
		events[i].ID = bridge.ID{Epoch: j.epoch, Offset: s.next + uint64(i)} //nolint:gosec // an index
		g.bytes += uint64(len(events[i].Raw))
	}
	g.events = slices.Clone(events)
	s.groups = append(s.groups, g)
	s.next += uint64(len(events))
	s.bytes += g.bytes
	s.trim(j.opts.MaxBytes)
	close(j.changed)
	j.changed = make(chan struct{})
	s.mu.Unlock()
	if f := j.opts.AfterAppend; f != nil {
		return f(ctx, events)
	}
	return nil
}

// Cursor implements bridge.Journal.
func (j *Journal) Cursor(ctx context.Context, sink string) (bridge.Position, bool, error) {
	if err := j.usable(ctx); err != nil {
		return bridge.Position{}, false, err
	}
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	pos, ok := j.store.cursors[sink]
	return pos, ok, nil
}

// SetCursor implements bridge.Journal.
func (j *Journal) SetCursor(ctx context.Context, sink string, pos bridge.Position) error {
	if err := j.usable(ctx); err != nil {
		return err
	}
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	old := j.store.cursors[sink]
	if pos.ID.Offset < old.ID.Offset || j.store.opened != j {
		return fmt.Errorf("set cursor of sink %s to %s behind %s: %w", sink, pos.ID, old.ID, bridge.ErrStaleCursor)
	}
	j.store.cursors[sink] = pos
	return nil
}

// PutDeadLetter implements bridge.Journal.
func (j *Journal) PutDeadLetter(ctx context.Context, dl bridge.DeadLetter) error {
	if err := j.usable(ctx); err != nil {
		return err
	}
	dl.Key, dl.Payload = slices.Clone(dl.Key), slices.Clone(dl.Payload)
	dl.Headers = slices.Clone(dl.Headers)
	for i := range dl.Headers {
		dl.Headers[i].Value = slices.Clone(dl.Headers[i].Value)
	}
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	j.store.dead = append(j.store.dead, dl)
	return nil
}

func (j *Journal) usable(ctx context.Context) error {
	if j.isClosed() {
		return bridge.ErrClosed
	}
	return ctx.Err()
}

// Proof implements bridge.Journal.
func (j *Journal) Proof(source string, at time.Time) {
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	if at.After(j.store.proofs[source]) {
		j.store.proofs[source] = at
	}
}

// Info implements bridge.Journal.
func (j *Journal) Info() bridge.JournalInfo {
	j.mu.Lock()
	problem, since := j.problem, j.since
	j.mu.Unlock()
	s := j.store
	s.mu.Lock()
	defer s.mu.Unlock()
	i := bridge.JournalInfo{
		ID: s.id, Name: "memory", Where: "memory", New: j.isNew, Epoch: j.epoch, FirstOffset: j.first,
		Oldest: s.next, Last: s.next - 1, Bytes: s.bytes,
		Healthy: problem == "", Problem: problem, Since: since,
	}
	if len(s.groups) > 0 {
		i.Oldest, i.OldestAt = s.groups[0].first, s.groups[0].at
	}
	return i
}

// Known returns the sinks that ever stored a cursor.
func (j *Journal) Known() map[string]bridge.Position {
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	return maps.Clone(j.store.cursors)
}

// Lost returns nothing: a store in memory loses all or nothing.
func (j *Journal) Lost() []bridge.Skip { return nil }

// Close implements bridge.Journal.
func (j *Journal) Close(context.Context) error {
	j.closeOnce.Do(func() { close(j.closed) })
	return nil
}

// NewReader implements bridge.Journal.
func (j *Journal) NewReader(ctx context.Context, after bridge.Position) (bridge.Reader, error) {
	if err := j.usable(ctx); err != nil {
		return nil, err
	}
	r := &reader{j: j, next: after.ID.Offset + 1, done: make(chan struct{})}
	if after == (bridge.Position{}) {
		r.next = 0
	}
	return r, nil
}

// reader reads by offset alone; what a Position says besides is not needed.
type reader struct {
	j    *Journal
	next uint64 // 0: the oldest
	done chan struct{}
	once sync.Once
}

// Next implements bridge.Reader.
func (r *reader) Next(ctx context.Context, wait bool) (bridge.Batch, error) {
	for {
		select {
		case <-r.done:
			return bridge.Batch{}, bridge.ErrClosed
		default:
		}
		if err := r.j.usable(ctx); err != nil {
			return bridge.Batch{}, err
		}
		b, changed := r.look()
		if len(b.Events) > 0 || !wait {
			return b, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return bridge.Batch{}, ctx.Err()
		case <-r.done:
			return bridge.Batch{}, bridge.ErrClosed
		case <-r.j.closed:
			return bridge.Batch{}, bridge.ErrClosed
		}
	}
}

func (r *reader) look() (b bridge.Batch, changed chan struct{}) {
	s := r.j.store
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.groups, max(r.next, 1), func(g group, next uint64) int {
		if g.first+uint64(len(g.events)) <= next {
			return -1
		}
		return 1
	})
	if i == len(s.groups) {
		return bridge.Batch{}, r.j.changed
	}
	g := &s.groups[i]
	if r.next == 0 {
		r.next = g.first
	}
	if g.first > r.next {
		b.Skipped = &bridge.Skip{First: r.next, Last: g.first - 1, Retention: true, Cause: "over the limit"}
		r.next = g.first
	}
	b.Events = g.events[r.next-g.first:]
	b.Seq = s.first + uint64(i) //nolint:gosec // an index
	r.next = g.first + uint64(len(g.events))
	return b, r.j.changed
}

// Close implements bridge.Reader.
func (r *reader) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}
