package bridge

import (
	"context"
	"time"
)

// Journal is the durable, ordered, append-only log between the sources and
// the sinks. Offsets start at 1 and have no holes.
//
// Append is called by one goroutine at a time; everything else may be called
// concurrently.
type Journal interface {
	// Append stores the events as one group (at most MaxGroupEvents events
	// and about MaxGroupBytes bytes; a single larger event makes a group of
	// its own) and returns when they are on stable storage. It sets the ID of
	// every event. The slice and the Raw bytes belong to the journal from then
	// on: readers share them, and the caller must not touch them again.
	//
	// Append retries by itself, without ever storing an event twice, until
	// the group's fate is known. It returns an error only when ctx is done,
	// when the journal is closed, or when another writer has taken over
	// (ErrFenced). After an error some of the events may be stored.
	Append(ctx context.Context, events []Event) error

	// NewReader returns a reader that begins with the event after the position.
	// The zero Position means the oldest kept event.
	NewReader(ctx context.Context, after Position) (Reader, error)

	// Cursor returns a sink's durable position. ok is false when there is none.
	Cursor(ctx context.Context, sink string) (pos Position, ok bool, err error)
	// SetCursor stores it, and returns when it is durable. Storing a
	// position behind the stored one is an error (ErrStaleCursor).
	SetCursor(ctx context.Context, sink string, pos Position) error

	// PutDeadLetter stores a message that a sink will never take, and
	// returns when it is durable.
	PutDeadLetter(ctx context.Context, dl DeadLetter) error

	// Proof records the last proof of life of a source, for the gap record of
	// the next start. It is stored with the next state record, not at once.
	Proof(source string, at time.Time)

	// Known returns the sinks that ever ran, with their positions as the state
	// record has them: a lower bound that survives a lost cursor.
	Known() map[string]Position
	// Lost returns the stretches that this start found missing at the
	// journal's end. They are for the bridge to record.
	Lost() []Skip

	// Info returns what is known of the journal now. It does no I/O.
	Info() JournalInfo

	// Close waits for what is under way, writes the state record and
	// releases everything. Readers end with ErrClosed. It is idempotent.
	Close(ctx context.Context) error
}

// A group holds what arrived while the last append was under way, up to these
// limits (DESIGN §5, measured there).
const (
	MaxGroupEvents = 1000
	MaxGroupBytes  = 512 << 10
)

// Position is a place in the journal: the event with this ID and all before
// it are done.
type Position struct {
	ID  ID
	Seq uint64 // the journal's own number of the group, a hint; 0 if unknown
}

// Reader reads events in order. It is for one goroutine.
type Reader interface {
	// Next returns the next run of events, oldest first. Where there is
	// none, it waits if wait is true, else it returns an empty Batch. The
	// events are shared with other readers and must not be changed.
	Next(ctx context.Context, wait bool) (Batch, error)
	Close() error
}

// Batch is what one read brings.
type Batch struct {
	// Skipped tells that offsets before Events are not there any more; nil as a rule.
	Skipped *Skip
	Events  []Event
	Seq     uint64 // the journal's own number of the group the events stand in
}

// Skip is a stretch of offsets that a reader could not get.
type Skip struct {
	First, Last uint64
	// Retention is true when age or size limits removed the stretch
	// (an overrun), false when it was lost.
	Retention bool
	Cause     string // for people; for a loss, goes into bridge.journal.lost
	OldEpoch  string // epoch of the lost stretch, where known
}

// JournalInfo is a snapshot of a journal.
type JournalInfo struct {
	ID          string // the journal's own id, random, made once
	Name        string
	Where       string    // directory or server, for people; never with credentials
	New         bool      // made by this run
	Epoch       string    // of this writer's term
	FirstOffset uint64    // of this term: the first offset this writer may use
	Oldest      uint64    // oldest kept offset; next offset when nothing is kept
	Last        uint64    // last appended offset; 0 before the first
	OldestAt    time.Time // time of the oldest kept group
	Bytes       uint64    // stored bytes
	Healthy     bool      // the last append or canary was answered in time
	Problem     string    // what is wrong, and what to do, when not healthy
	Since       time.Time // since when Healthy has its value
}

// DeadLetter is a message that a sink will never take.
type DeadLetter struct {
	Sink        string
	Event       ID
	Destination string
	Key         []byte
	Headers     []Header
	Payload     []byte
	Reason      string // Kind and text of the last error; no secrets
	Attempts    int
	First, Last time.Time // of the attempts
}
