package bridge

import "time"

// SinkState is what a sink's deliverer is doing.
type SinkState string

// States of a sink.
const (
	SinkStarting   SinkState = "starting"   // preparing or resuming
	SinkIdle       SinkState = "idle"       // all delivered
	SinkDelivering SinkState = "delivering" // events are on their way
	SinkRetrying   SinkState = "retrying"   // the last attempt failed; the same messages again
	SinkPaused     SinkState = "paused"     // unreachable, throttled or misconfigured; probing
	SinkStopped    SinkState = "stopped"
)

// SinkStatus is a snapshot of a sink.
type SinkStatus struct {
	Name         string
	Type         string
	State        SinkState
	Since        time.Time // since when it is in this State
	Problem      string    // why it does not deliver, and what to do; no secrets
	Kind         string    // class of the last error, while there is a Problem
	Position     uint64    // offset up to which everything is settled
	LagEvents    uint64
	LagSeconds   float64 // age of the oldest unsettled event; 0 when idle
	Delivered    uint64  // of this process, as are all that follow
	NotRouted    uint64
	DeadLettered uint64
	Overrun      uint64
	Lost         uint64 // offsets skipped because the journal lost them
	Attempts     uint64 // messages handed to the sink
	Retried      uint64 // messages handed again
	Pauses       uint64
	Bytes        uint64 // payload bytes delivered
	Unclassified uint64 // errors that nobody classified: a bug to fix
	Unaccounted  int64  // must be 0
	LastError    string
	LastErrorAt  time.Time
	LastDelivery time.Time
}

// Up reports whether the sink delivers or is idle.
func (s SinkStatus) Up() bool { return s.State == SinkIdle || s.State == SinkDelivering }

// Status is a snapshot of a bridge.
type Status struct {
	Name     string
	Version  string
	Started  time.Time
	Journal  JournalInfo
	Sources  []SourceStatus
	Sinks    []SinkStatus
	Families []FamilyCount // events by topic family, sorted by name
	// Queue is what waits for the journal now.
	QueueEvents, QueueBytes int
	Draining                bool
}

// FamilyCount is the number of events of a topic family.
type FamilyCount struct {
	Family string
	Events uint64
}
