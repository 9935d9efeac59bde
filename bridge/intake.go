package bridge

import (
	"context"
	"sync"
)

// What may wait for the journal, all sources together. A source that finds
// the intake full waits, and so stops reading its connection: TCP pushes back
// and nothing is dropped in the middle.
const (
	intakeMaxEvents = 100_000
	intakeMaxBytes  = 64 << 20
)

// intake is the bounded queue between the sources and the appender. Every
// source has a lane of its own, and the appender takes from the lanes in
// turn, so that one source's flood does not starve another.
type intake struct {
	mu     sync.Mutex // guards all below
	lanes  []*lane
	next   int // lane that is served first
	events int
	bytes  int
	closed bool
	room   chan struct{} // where sources wait for room; nil while none waits
	// wake holds one token when there is something to take, or the intake is closed.
	wake chan struct{}
}

// lane is the Inlet of one source.
type lane struct {
	in     *intake
	queue  []Event
	head   int
	closed bool
}

func newIntake() *intake {
	return &intake{wake: make(chan struct{}, 1)}
}

// lane adds a lane. close removes it once it is empty.
func (in *intake) lane() *lane {
	in.mu.Lock()
	defer in.mu.Unlock()
	l := &lane{in: in}
	in.lanes = append(in.lanes, l)
	return l
}

func (in *intake) notify() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// Put queues an event, waiting while the intake is full. A single event is
// taken whatever its size, so that a large one cannot wait for ever.
func (l *lane) Put(ctx context.Context, e Event) error {
	in := l.in
	for {
		in.mu.Lock()
		if in.closed || l.closed {
			in.mu.Unlock()
			return ErrClosed
		}
		if in.events == 0 || (in.events < intakeMaxEvents && in.bytes+len(e.Raw) <= intakeMaxBytes) {
			if l.head > 0 && len(l.queue) == cap(l.queue) {
				// Reuse the taken part before growing: the queue's
				// memory stays within twice what waits.
				n := copy(l.queue, l.queue[l.head:])
				clear(l.queue[n:])
				l.queue, l.head = l.queue[:n], 0
			}
			l.queue = append(l.queue, e)
			in.events++
			in.bytes += len(e.Raw)
			first := in.events == 1
			in.mu.Unlock()
			if first {
				in.notify()
			}
			return nil
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends the lane: nothing can be put any more, what waits is still taken.
func (l *lane) close() {
	l.in.mu.Lock()
	l.closed = true
	l.in.mu.Unlock()
}

// close ends the intake; take then empties it and reports done.
func (in *intake) close() {
	in.mu.Lock()
	in.closed = true
	in.makeRoom()
	in.mu.Unlock()
	in.notify()
}

// waiting returns what is queued now.
func (in *intake) waiting() (events, bytes int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.events, in.bytes
}

// take returns the next group, at most maxEvents events and maxBytes bytes
// but at least one event, waiting until there is something. It returns nil
// when the intake is closed and empty, or ctx is done.
func (in *intake) take(ctx context.Context, maxEvents, maxBytes int) []Event {
	for {
		in.mu.Lock()
		if in.events > 0 {
			group := in.takeLocked(maxEvents, maxBytes)
			in.mu.Unlock()
			return group
		}
		closed := in.closed
		in.mu.Unlock()
		if closed {
			return nil
		}
		select {
		case <-in.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

func (in *intake) takeLocked(maxEvents, maxBytes int) []Event {
	group := make([]Event, 0, min(maxEvents, in.events))
	size := 0
	// One turn gives every lane an equal share of the group; turns go on
	// while there is room and something left.
	for size < maxBytes && len(group) < cap(group) {
		busy := 0
		for _, l := range in.lanes {
			if l.head < len(l.queue) {
				busy++
			}
		}
		if busy == 0 {
			break
		}
		share := max(1, (cap(group)-len(group))/busy)
		full := false
		for i := range in.lanes {
			l := in.lanes[(in.next+i)%len(in.lanes)]
			for n := 0; n < share && l.head < len(l.queue) && len(group) < cap(group); n++ {
				e := &l.queue[l.head]
				if len(group) > 0 && size+len(e.Raw) > maxBytes {
					full = true
					break
				}
				group = append(group, *e)
				size += len(e.Raw)
				*e = Event{}
				l.head++
			}
			if l.head == len(l.queue) {
				l.queue, l.head = l.queue[:0], 0
			}
		}
		in.next++
		if full {
			break
		}
	}
	in.events -= len(group)
	in.bytes -= size
	in.dropClosedLanes()
	in.makeRoom()
	return group
}

func (in *intake) makeRoom() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}

func (in *intake) dropClosedLanes() {
	kept := in.lanes[:0]
	for _, l := range in.lanes {
		if !l.closed || l.head < len(l.queue) {
			kept = append(kept, l)
		}
	}
	clear(in.lanes[len(kept):])
	in.lanes = kept
}
