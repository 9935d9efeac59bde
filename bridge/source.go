package bridge

import (
	"context"
	"time"
)

// Feed is a running source of events.
//
// Run connects, reconnects for ever, and hands everything it receives to the
// inlet in order. It returns when ctx is done, after its connections are
// closed and the last frame that was read has been handed over. Other errors
// are permanent: they name what to change.
type Feed interface {
	Run(ctx context.Context, in Inlet) error
	Source() *Source
	Status() SourceStatus
}

// Inlet takes what a source receives. It is for one goroutine.
type Inlet interface {
	// Put hands over one event (ID not set, Note parsed, Raw never
	// changed again). It blocks while the journal cannot keep up: that is
	// the only backpressure there is.
	Put(ctx context.Context, e Event) error
}

// SourceStatus is a snapshot of a source.
type SourceStatus struct {
	Name        string
	ID          string
	Origin      string
	Connections int       // live now
	Wanted      int       // that there should be
	Since       time.Time // since when it is connected, or disconnected
	LastAlive   time.Time // last proof of life (a pong or a whole message)
	LastEvent   time.Time // arrival of the last event; zero if none yet
	Events      uint64    // frames received by this process
	Bytes       uint64
	Reconnects  uint64
	Unparsed    uint64
	Truncated   uint64
	Problem     string // why it is not connected, and what to do; no secrets
	Filter      string // the filters in force, for people; empty when none
	Server      string // host it is connected to, for people
}
