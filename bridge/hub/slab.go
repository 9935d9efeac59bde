package hub

import "time"

const (
	slabMin = 16 << 10
	slabMax = 1 << 20
	// slabRoom is the least that is read into at a time: most notifications
	// come in one piece.
	slabRoom = 1 << 10
	// slabBusy is how fast a slab fills for the next one to be larger.
	slabBusy = time.Second
)

// slab is memory that messages are read into, one after the other. Bytes that
// were handed out are never written again: a full slab is left to those who
// refer to it, and to the garbage collector. One goroutine uses it.
type slab struct {
	buf   []byte // the used part
	start int    // of the current message
	made  time.Time
	now   time.Time
}

// begin begins a message.
func (s *slab) begin(now time.Time) {
	s.now = now
	s.start = len(s.buf)
}

// size is how much the message has so far.
func (s *slab) size() int { return len(s.buf) - s.start }

// room returns where the next bytes of the message go, never empty.
func (s *slab) room() []byte {
	if cap(s.buf)-len(s.buf) < slabRoom {
		// What there is of the message moves to a new slab, with room for
		// as much again.
		part := s.buf[s.start:]
		s.renew(2*len(part) + slabRoom)
		s.buf = append(s.buf, part...)
		s.start = 0
	}
	return s.buf[len(s.buf):cap(s.buf)]
}

// commit makes the first n bytes of room part of the message.
func (s *slab) commit(n int) { s.buf = s.buf[:len(s.buf)+n] }

// message returns the current message. Room was asked for before, so that
// an empty one is not nil.
func (s *slab) message() []byte { return s.buf[s.start:len(s.buf):len(s.buf)] }

// abort forgets the current message, of which nobody has seen anything.
func (s *slab) abort() { s.buf = s.buf[:s.start] }

// renew makes a new slab of at least size bytes. Slabs are large only where
// they fill fast: thousands of quiet hubs must not hold a MiB each.
func (s *slab) renew(size int) {
	next := slabMin
	if c := min(cap(s.buf), slabMax); c > 0 {
		next = max(c/2, slabMin)
		if s.now.Sub(s.made) < slabBusy {
			next = min(c*2, slabMax)
		}
	}
	s.buf = make([]byte, 0, max(next, size))
	s.made = s.now
}
