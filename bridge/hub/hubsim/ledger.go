package hubsim

import (
	"encoding/binary"
	"slices"
	"time"
)

// FrameRecord is one message of the stream.
type FrameRecord struct {
	Seq   uint64    // from 1
	At    time.Time // when it was given to the connections
	Frame []byte    // as on the wire, header included; may be several frames of one message
}

// Payload returns the message's content when it was sent in one frame.
func (r FrameRecord) Payload() []byte {
	if len(r.Frame) < 2 {
		return nil
	}
	switch n := int(r.Frame[1] &^ bitMask); n {
	case 126:
		return r.Frame[4:][:binary.BigEndian.Uint16(r.Frame[2:])]
	case 127:
		return r.Frame[10:][:binary.BigEndian.Uint64(r.Frame[2:])]
	default:
		return r.Frame[2:][:n]
	}
}

// WrittenFrame says that a connection's transport has taken a message.
type WrittenFrame struct {
	Seq uint64
	At  time.Time
}

// ConnRecord is what one connection was sent.
type ConnRecord struct {
	ID      uint64 // from 1, in order of the upgrades
	Opened  time.Time
	Closed  time.Time // zero while it is live
	Written []WrittenFrame
}

// Ledger is the truth about a run: what was sent, and who could have got it.
// A message that was written may still not have arrived when the connection
// was reset after it.
type Ledger struct {
	Frames []FrameRecord
	Conns  []ConnRecord // by ID
}

// Ledger returns a copy of the ledger; empty without Options.Ledger.
func (s *Server) Ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opts.Ledger {
		return Ledger{}
	}
	l := Ledger{Frames: slices.Clone(s.frames)}
	all := slices.Clone(s.past)
	for _, c := range s.conns {
		all = append(all, c)
	}
	for _, c := range all {
		c.mu.Lock()
		l.Conns = append(l.Conns, ConnRecord{ID: c.id, Opened: c.opened, Closed: c.ended, Written: slices.Clone(c.written)})
		c.mu.Unlock()
	}
	slices.SortFunc(l.Conns, func(a, b ConnRecord) int { return int(a.ID) - int(b.ID) })
	return l
}
