package sinktest

import (
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// JournalID is the journal that the suite's messages come from. A sink that
// recognises its own messages must be opened with it; see Env.
const JournalID = "sinktestjournal"

// Epoch is that of all events that Messages makes.
const Epoch = "sinktest00"

// Env returns what a sink is opened with in tests: logs go to the test's own log.
func Env(t testing.TB, name string) bridge.Env {
	return bridge.Env{Name: name, JournalID: JournalID, Version: "test", Log: testLogger(t)}
}

// Harness tells the suite what is tested.
type Harness struct {
	Features Features
	// Start makes a fresh, empty destination. What must be torn down goes
	// into t.Cleanup.
	Start func(t *testing.T) Destination
}

// Features are what a kind of sink promises beyond the contract. Cases
// that need a missing one are skipped by name.
type Features struct {
	Headers bool // Delivered.Headers holds every header of the message
	Keys    bool // Delivered.Key holds the key
	Time    bool // Delivered.Time holds the arrival time, to the millisecond
	// Once: a message whose answer was lost and that is handed again is
	// stored once.
	Once bool
	// MaxBytes: a payload of so many bytes, headers aside, is Rejected; 0
	// when nothing is too large.
	MaxBytes int
	// OneDestination: the sink has just one (a file).
	OneDestination bool
}

// Destination is a running destination of a sink. Funcs may be nil where the
// destination cannot do that; Open and Received may not.
type Destination struct {
	// Open opens the sink. It must work while the destination is down.
	Open func(t *testing.T) bridge.Sink
	// Unauthorized opens it with credentials that the destination refuses.
	Unauthorized func(t *testing.T) bridge.Sink
	// Received reads back everything, in the order of each destination, with
	// a client that is not the sink. It is called while the destination is up.
	Received func(t *testing.T) []Delivered
	// Down makes the destination unreachable, Up brings it back with its data.
	Down, Up func(t *testing.T)
	// LoseAnswers makes the destination take messages without its answers arriving.
	LoseAnswers func(t *testing.T, on bool)
	// Name returns the i-th destination that a message may go to; all of
	// them are there. nil means "test.<i>".
	Name func(i int) string
	// Secrets may show in no error.
	Secrets []string
}

// Delivered is a message as its destination holds it.
type Delivered struct {
	Destination string
	ID          string // event id
	Key         string
	Headers     map[string]string
	Payload     []byte
	Time        time.Time
}

func (d Destination) name(i int) string {
	if d.Name != nil {
		return d.Name(i)
	}
	return "test." + string(rune('a'+i%26))
}

// Run runs every case of the suite, each on a fresh destination.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != nil && !c.needs(h.Features) {
				t.Skipf("the sink does not promise %s", c.name)
			}
			d := h.Start(t)
			if c.has != nil && !c.has(d) {
				t.Skipf("the destination cannot do %s", c.name)
			}
			c.run(&suite{T: t, h: h, d: d})
		})
	}
}

// testCase is one case and what it takes.
type testCase struct {
	name  string
	needs func(Features) bool
	has   func(Destination) bool
	run   func(*suite)
}

var cases = []testCase{
	{name: "one result a message, in order", run: (*suite).results},
	{name: "empty batch", run: (*suite).emptyBatch},
	{name: "order per key", run: (*suite).orderPerKey},
	{name: "content arrives", run: (*suite).content},
	{name: "payload sizes", run: (*suite).sizes},
	{name: "nothing retained or changed", run: (*suite).notRetained},
	{name: "oversize", needs: func(f Features) bool { return f.MaxBytes > 0 }, run: (*suite).oversize},
	{name: "down and back", has: func(d Destination) bool { return d.Down != nil && d.Up != nil }, run: (*suite).down},
	{name: "down at open", has: func(d Destination) bool { return d.Down != nil && d.Up != nil }, run: (*suite).downAtOpen},
	{name: "canceled before", run: (*suite).canceled},
	{name: "canceled in the middle", run: (*suite).canceledMidway},
	{name: "lost answers", has: func(d Destination) bool { return d.LoseAnswers != nil }, run: (*suite).lostAnswers},
	{name: "handed again after a reopen", needs: func(f Features) bool { return f.Once }, run: (*suite).reopen},
	{name: "wrong credentials", has: func(d Destination) bool { return d.Unauthorized != nil }, run: (*suite).unauthorized},
	{name: "close", run: (*suite).close},
	{name: "no goroutine left", run: (*suite).goroutines},
}
