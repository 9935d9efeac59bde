package bridge

import (
	"context"
	"log/slog"
	"net"
)

// Message is what a sink is handed: an event, encoded and addressed. It and
// all its slices belong to the caller and are reused after Publish returns:
// a sink copies what it keeps.
type Message struct {
	Event       *Event // immutable; id, arrival time, flags
	Destination string // subject, Kafka topic or URL, escaped for its kind
	Key         []byte // what order is kept for; empty means no key
	Headers     []Header
	Payload     []byte
	ContentType string
}

// Header is one name and value that travels beside a payload.
type Header struct {
	Name  string
	Value []byte
}

// Sink publishes messages to one destination system.
//
// Publish is called by one goroutine at a time with messages in journal order.
// It makes one attempt (bounded by ctx) and sets results[i] for every
// msgs[i]: nil means that the destination has accepted responsibility, else
// an error whose Kind says what becomes of the message:
//
//   - KindTransient, KindThrottled, KindUnavailable, KindMisconfigured,
//     KindUnknown, KindCanceled: the message is not settled. The next call
//     begins with all unsettled messages of this call, same bytes, same order,
//     perhaps followed by new ones. This is how a sink whose batches must stay
//     frozen until their fate is known (Kafka) gets them back.
//   - KindRejected: the message will never be taken. It is dead-lettered.
//
// len(results) == len(msgs); results hold nil on entry. Order per key: when a message is not
// settled, no later message with the same destination and key may be accepted
// before it. A sink does not sleep and does not retry on its own beyond what
// finding out the fate of an attempt takes.
type Sink interface {
	Publish(ctx context.Context, msgs []Message, results []error)
	// Close flushes and releases everything. It is idempotent.
	Close(ctx context.Context) error
}

// Limiter is a Sink that wants at most so much in one Publish. Others get
// DefaultLimits.
type Limiter interface{ Limits() Limits }

// Limits bounds one Publish.
type Limits struct {
	Messages int
	Bytes    int // of payloads
}

// DefaultLimits holds for sinks that are not a Limiter.
var DefaultLimits = Limits{Messages: 1000, Bytes: 4 << 20}

// Preparer is a Sink that must know its destinations before the first
// message. Prepare is called once at start and after every change of routes,
// with every destination that the routes can produce from the known topics
// where that can be told. It creates what is missing if it may, else returns
// one KindMisconfigured error that names all that is missing with the
// commands that make it. It is called again, with backoff, until it succeeds.
type Preparer interface {
	Prepare(ctx context.Context, destinations []string) error
}

// Resumer is a Sink that can tell from its destination what it has already
// taken. Resume is called before the first Publish and may move the
// position forward, never back. known is false for a sink without a stored
// cursor; ok is false when the destination does not tell.
type Resumer interface {
	Resume(ctx context.Context, stored Position, known bool) (pos Position, ok bool, err error)
}

// Env is what a sink gets from the bridge besides its configuration.
type Env struct {
	Name      string // the sink's name
	JournalID string
	Version   string
	Log       *slog.Logger
	Embedded  Embedded // the embedded NATS server; nil where there is none
}

// Embedded gives in-process connections to the embedded NATS server. It
// always dials the server that runs now, also after the bridge has restarted it.
type Embedded interface {
	InProcessConn() (net.Conn, error)
	// Publisher returns the user that may write the stream CYCLE.
	Publisher() (user, password string)
}
