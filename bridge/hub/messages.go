package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"slices"

	"github.com/coder/websocket"
)

// What is kept of a message. Cycle's notifications are under 1 KiB; nothing
// documents a limit.
const (
	maxWhole  = 1 << 20  // kept whole up to here
	keptOfBig = 64 << 10 // of a longer one, this much from its beginning
	maxDrop   = 64 << 20 // a message longer than this ends the connection

	dropPiece = 32 << 10 // what is read at a time of a message that is not kept
)

var errTooLong = errors.New("the hub sent a message of more than 64 MiB")

// message is what was read of one message.
type message struct {
	raw    []byte // capacity equals length; never nil
	length uint64 // of the message; more than len(raw) when it was cut
	sum    []byte // SHA-256 of a message that was cut; nil when it was not read to its end
}

// messages reads whole messages of a connection. One goroutine uses it.
type messages struct {
	ws   *websocket.Conn
	wire *wire
	slab slab
}

// next returns the next message, text or binary alike. With errTooLong there
// is a message, too: its beginning. ctx must have no end: the library would
// set up and take down a watch over it twice for every message. What ends
// the reading is the end of the transport.
func (m *messages) next(ctx context.Context) (message, error) {
	_, r, err := m.ws.Reader(ctx)
	if err != nil {
		return message{}, err
	}
	m.wire.begin()
	s := &m.slab
	s.begin(m.wire.readAt)
	for {
		n, err := r.Read(s.room())
		s.commit(n)
		switch {
		case err == io.EOF:
			m.wire.end()
			raw := s.message()
			return message{raw: raw, length: uint64(len(raw))}, nil
		case err != nil:
			s.abort()
			return message{}, err
		case s.size() > maxWhole:
			c := newCut(s.message())
			s.abort()
			return m.drop(r, c)
		}
	}
}

// drop reads the rest of a message that is not kept.
func (m *messages) drop(r io.Reader, c *cut) (message, error) {
	piece := make([]byte, dropPiece)
	for {
		n, err := r.Read(piece)
		c.add(piece[:n])
		switch {
		case c.length > maxDrop:
			return c.message(nil), errTooLong
		case err == io.EOF:
			m.wire.end()
			return c.message(c.sum.Sum(nil)), nil
		case err != nil:
			return message{}, err
		}
	}
}

// cut keeps the beginning of a message that is too long, and sums up all of it.
type cut struct {
	kept   []byte
	length uint64
	sum    hash.Hash
}

// newCut begins with what there is of the message, which is copied.
func newCut(begun []byte) *cut {
	c := &cut{kept: make([]byte, 0, keptOfBig), sum: sha256.New()}
	c.add(begun)
	return c
}

func (c *cut) add(p []byte) {
	_, _ = c.sum.Write(p) // never fails
	c.length += uint64(len(p))
	c.kept = append(c.kept, p[:min(len(p), keptOfBig-len(c.kept))]...)
}

func (c *cut) message(sum []byte) message {
	return message{raw: slices.Clip(c.kept), length: c.length, sum: sum}
}
