package jetjournal

import (
	"sync"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Bounds of the memory tail. Events are counted with what they refer to.
const (
	tailBytes  = 32 << 20
	tailGroups = 4096
	eventBytes = 256 // an Event and its parsed view
)

// group is one group as readers see it. It is immutable.
type group struct {
	seq    uint64
	h      header
	events []bridge.Event
	bytes  int
}

// tail is the end of the journal in memory, shared by all readers: who keeps
// up reads no disk and decodes nothing.
type tail struct {
	mu      sync.Mutex // guards what follows
	groups  []group    // a ring of contiguous sequences
	start   int        // of the ring
	n       int
	bytes   int
	limit   int
	next    uint64        // sequence after the newest
	offset  uint64        // offset after the newest
	term    uint64        // counts what made sequences mean something else
	changed chan struct{} // closed and replaced by a group with events
	closed  bool
}

func newTail(limit int) *tail {
	return &tail{groups: make([]group, 64), limit: limit, changed: make(chan struct{})}
}

// reset sets the end of the stream without a group of it, and forgets all.
func (t *tail) reset(next, offset uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.groups)
	t.start, t.n, t.bytes = 0, 0, 0
	t.next, t.offset = next, offset
	t.term++
	t.wake()
}

func (t *tail) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// push adds the newest group. Its sequence is the one after the last.
func (t *tail) push(g group) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == len(t.groups) && t.n < tailGroups {
		bigger := make([]group, min(2*t.n, tailGroups))
		for i := range t.n {
			bigger[i] = t.groups[(t.start+i)%len(t.groups)]
		}
		t.groups, t.start = bigger, 0
	}
	for t.n > 0 && (t.n == len(t.groups) || t.bytes+g.bytes > t.limit) {
		old := &t.groups[t.start]
		t.bytes -= old.bytes
		*old = group{}
		t.start = (t.start + 1) % len(t.groups)
		t.n--
	}
	t.groups[(t.start+t.n)%len(t.groups)] = g
	t.n++
	t.bytes += g.bytes
	t.next, t.offset = g.seq+1, g.h.next()
	if len(g.events) > 0 {
		// Empty groups wake nobody: a reader passes them on its way.
		t.wake()
	}
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		clear(t.groups)
		t.n, t.bytes = 0, 0
		t.wake()
	}
}

// view is what a reader finds at a sequence.
type view struct {
	group   group         // when have is true
	have    bool          // it is in memory
	end     bool          // it does not exist yet
	next    uint64        // sequence after the newest
	offset  uint64        // offset after the newest
	term    uint64        // see tail
	changed chan struct{} // closed at the next group with events
	closed  bool
}

func (t *tail) at(seq uint64) view {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := view{next: t.next, offset: t.offset, term: t.term, changed: t.changed, closed: t.closed}
	switch {
	case seq >= t.next:
		v.end = true
	case t.next-seq <= uint64(t.n): //nolint:gosec // not negative
		v.have = true
		i := t.n - int(t.next-seq) //nolint:gosec // at most n
		v.group = t.groups[(t.start+i)%len(t.groups)]
	}
	return v
}
