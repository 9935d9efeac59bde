package hub

import (
	"context"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// handler takes the frame streams of connections. Those of one connection
// come in order: opened, then frames, then closed, from one goroutine. Proofs
// of life come between opened and closed from another, so they may be late
// but never early: all frames before the proof have been handed over.
// Different connections call it concurrently.
//
// Today one connection stands alone (direct). The merge of several takes this
// place, and then the journal.
type handler interface {
	// frame takes a message. The event is the caller's again afterwards; its
	// Raw stays. An error ends the connection.
	frame(ctx context.Context, e *bridge.Event) error
	// mark takes everything else.
	mark(ctx context.Context, m mark)
}

// markKind says what a mark is.
type markKind uint8

const (
	opened markKind = iota // the upgrade succeeded
	alive                  // a pong to a ping of ours was read at that time, or a little earlier
	closed                 // the connection has ended; nothing follows
)

// mark is an element of a frame stream that is not a frame.
type mark struct {
	conn uint32
	kind markKind
	at   time.Time
	end  *ending // of closed
}

// ending is how a connection ended.
type ending struct {
	opened time.Time
	proof  time.Time // the last proof of life: what was sent before has been read, nothing after is certain
	code   int       // of the hub's close frame, 1005 if it had none; 1002 and such where we refused; 1006 without either
	reason string    // of the hub's close frame
	err    error     // for people; no secrets
	// overload: the reader was waiting for the journal when it ended, for longer than the pong limit.
	overload bool
	ours     bool // we closed it because we are stopping
}

// direct hands the frames of a single connection to the inlet.
type direct struct{ in bridge.Inlet }

func (d direct) frame(ctx context.Context, e *bridge.Event) error { return d.in.Put(ctx, *e) }

func (d direct) mark(context.Context, mark) {}
