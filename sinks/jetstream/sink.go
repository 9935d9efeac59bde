package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
)

const (
	// answerWait is how long an answer is waited for when ctx allows more. It
	// exceeds what a server that syncs to a slow disk needs for a batch.
	answerWait = 10 * time.Second
	// maxBatch is the server's limit of an atomic batch.
	maxBatch = 1000
	// minAtomic is from how many messages on an atomic batch may beat a chain
	// of single messages; see pace and BenchmarkPublish.
	minAtomic = 8
	// maxChain is how many single messages are in flight. More, or a window
	// that slides, was slower on two cores: answers then come in smaller
	// portions and everybody is woken more often.
	maxChain = 1000
	// maxReads bounds how often one Publish reads the stream to learn the fate
	// of what it sent.
	maxReads = 4
)

// errBroken is the outcome of what waited for an answer when the connection broke.
var errBroken = &bridge.Error{Op: "jetstream", Kind: bridge.KindUnavailable, Err: errors.New("the connection broke before the answer")}

// Sink publishes into one stream. Its methods may be called concurrently,
// and run one after the other.
type Sink struct {
	config    Config
	env       bridge.Env
	log       *slog.Logger
	stream    string
	exclusive bool

	mu     sync.Mutex
	closed bool
	nc     *nats.Conn
	js     jetstream.JetStream
	sub    *nats.Subscription
	// answers takes every reply. It holds more than can be in flight, so
	// that nats.go never has to drop one.
	answers chan *nats.Msg
	inbox   string        // prefix of reply subjects, with its dot
	lost    chan struct{} // the connection broke
	// requests ends those that wait for an answer of a connection that broke:
	// nats.go lets them wait for their whole time.
	requests breaker
	refused  chan error // the server refused something without a reply
	token    uint64     // of the last reply subject
	timer    *time.Timer

	// What is known of the stream. last is its last sequence as far as this
	// sink knows; synced is false while the fate of something is open.
	synced  bool
	known   bool // last is known
	last    uint64
	info    *jetstream.StreamInfo
	atomic  bool
	limit   int // largest batch, after a server refused a larger one
	window  int // in flight on a shared stream
	pace    pace
	settled map[string]uint64

	batchPrefix string
	batches     uint64
	msg         natsconn.Message
	scratch     []byte
	prev        []byte // id of the message before
	send        []int  // indexes of the messages under way
	replies
}

// Open returns a sink. It does not connect: that is done by the first call
// that needs it, and a server that is down is told then.
func Open(_ context.Context, c Config, env bridge.Env) (bridge.Sink, error) {
	return open(c, env)
}

func open(c Config, env bridge.Env) (*Sink, error) {
	const op = "open jetstream sink"
	if m := c.Validate(); len(m) > 0 {
		errs := make([]error, len(m))
		for i := range m {
			errs[i] = m[i]
		}
		return nil, &bridge.Error{Op: op, Kind: bridge.KindMisconfigured, Err: errors.Join(errs...)}
	}
	if c.IsEmbedded() && env.Embedded == nil {
		return nil, bridge.Errorf(bridge.KindMisconfigured, op, "url is embedded, and there is no embedded server")
	}
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sink{
		config: c, env: env, log: log, stream: c.streamName(), exclusive: c.exclusive(),
		answers: make(chan *nats.Msg, 4*maxChain), lost: make(chan struct{}, 1), refused: make(chan error, 1),
		limit: maxBatch, window: maxChain, settled: map[string]uint64{},
		batchPrefix: strings.ToLower(rand.Text()[:10]),
	}, nil
}

// Limits implements bridge.Limiter.
func (s *Sink) Limits() bridge.Limits { return bridge.Limits{Messages: maxChain, Bytes: 4 << 20} }

// Close waits for a call that is under way and closes the connection. All
// that was accepted is stored: there is nothing to flush.
func (s *Sink) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.disconnect()
	if s.timer != nil {
		s.timer.Stop()
	}
	return nil
}

func (s *Sink) disconnect() {
	if s.nc != nil {
		s.nc.Close()
		s.nc, s.js, s.sub = nil, nil, nil
	}
}

// connected returns nil when the sink can publish now.
func (s *Sink) connected(ctx context.Context) error {
	const op = "jetstream"
	if s.closed {
		return &bridge.Error{Op: op, Kind: bridge.KindCanceled, Err: bridge.ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return natsconn.Classify(op, err)
	}
	if s.nc != nil && s.nc.IsClosed() {
		s.disconnect()
	}
	if s.nc == nil {
		return s.dial(ctx)
	}
	return natsconn.Problem(op, s.nc)
}

func (s *Sink) dial(ctx context.Context) error {
	opts := []nats.Option{
		nats.DisconnectErrHandler(func(*nats.Conn, error) { signal(s.lost, struct{}{}); s.requests.trip() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { signal(s.refused, err) }),
	}
	if s.config.IsEmbedded() {
		opts = append(opts, nats.InProcessServer(s.env.Embedded), nats.UserInfoHandler(s.env.Embedded.Publisher))
	}
	nc, err := s.config.Connect(ctx, "cycle-bridge sink "+s.env.Name, opts...)
	if err != nil {
		return err
	}
	js, err := s.config.JetStream(nc)
	if err != nil {
		nc.Close()
		return err
	}
	inbox := nc.NewInbox() + "."
	sub, err := nc.ChanSubscribe(inbox+"*", s.answers)
	if err != nil {
		nc.Close()
		return natsconn.Classify("jetstream subscribe", err)
	}
	s.nc, s.js, s.sub, s.inbox, s.synced = nc, js, sub, inbox, false
	s.log.Debug("connected", slog.String("sink", s.env.Name), slog.String("server", nc.ConnectedAddr()))
	return nil
}

// breaker cancels a context when the connection breaks.
type breaker struct {
	mu     sync.Mutex
	cancel context.CancelCauseFunc
}

func (b *breaker) guard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancel = cancel
	return ctx, func() { cancel(nil) }
}

func (b *breaker) trip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel(errBroken)
	}
}

// signal tells once; a reader that has not looked yet hears the first.
func signal[T any](ch chan T, v T) {
	select {
	case ch <- v:
	default:
	}
}

// forget empties the signals of an earlier call.
func (s *Sink) forget() {
	for {
		select {
		case <-s.lost:
		case _ = <-s.refused:
		case <-s.answers:
		default:
			return
		}
	}
}

// stored reports whether the stream holds the event as a live one of ours.
func (s *Sink) stored(e *bridge.Event) bool {
	if e.Flags&bridge.FlagReplay != 0 {
		return false
	}
	return s.settled[e.ID.Epoch] >= e.ID.Offset
}

func (s *Sink) markStored(e *bridge.Event) {
	if e.Flags&bridge.FlagReplay == 0 && s.settled[e.ID.Epoch] < e.ID.Offset {
		s.settled[e.ID.Epoch] = e.ID.Offset
	}
}

// build makes the NATS message for m, all but its batch headers.
func (s *Sink) build(m *bridge.Message, reply string) {
	s.msg.Reset(m.Destination, reply, m.Payload)
	s.msg.SetHeaders(m.Headers)
	e := m.Event
	s.scratch = s.scratch[:0]
	// What the sink recognises its own messages by is there in any format.
	if !s.msg.Has(bridge.HeaderEventID) {
		s.setScratch(bridge.HeaderEventID, func(b []byte) []byte { return e.ID.Append(b) })
	}
	if !s.msg.Has(bridge.HeaderJournalID) {
		s.msg.Set(bridge.HeaderJournalID, s.env.JournalID)
	}
	if e.Flags != 0 && !s.msg.Has(bridge.HeaderFlags) {
		s.setScratch(bridge.HeaderFlags, func(b []byte) []byte { return e.Flags.Append(b) })
	}
	if !s.msg.Has(jetstream.MsgIDHeader) {
		s.setScratch(jetstream.MsgIDHeader, func(b []byte) []byte { return s.appendMsgID(b, e) })
	}
}

// setScratch sets a header whose value is appended to the scratch buffer. A
// buffer that grows leaves earlier values where they were.
func (s *Sink) setScratch(name string, add func([]byte) []byte) {
	start := len(s.scratch)
	s.scratch = add(s.scratch)
	s.msg.SetBytes(name, s.scratch[start:len(s.scratch):len(s.scratch)])
}

func (s *Sink) appendMsgID(b []byte, e *bridge.Event) []byte {
	b = e.ID.Append(b)
	switch {
	case e.Flags&bridge.FlagReplay != 0:
		b = append(b, ".r"...) // whoever replays sets an id of his own run
	case s.config.Dedupe == dedupeSink:
		b = append(append(b, '.'), s.env.Name...)
	}
	return b
}

// check returns why the server would never take m, or nil. The message must
// have been built.
func (s *Sink) check(m *bridge.Message) error {
	const op = "jetstream publish"
	if err := natsconn.CheckSubject(op, m.Destination); err != nil {
		return err
	}
	// The batch headers, at most, come on top.
	size := s.msg.Size() + 120
	headers := size - len(m.Payload)
	if limit := s.info.Config.MaxMsgSize; limit > 0 && size > int(limit) {
		return &bridge.Error{
			Op: op, Kind: bridge.KindRejected, Err: fmt.Errorf("message of %d bytes: stream %s takes %d", size, s.stream, limit),
			Hint: fmt.Sprintf("raise it: nats stream edit %s --max-msg-size=%d", s.stream, 2*size),
		}
	}
	if limit := s.nc.MaxPayload(); limit > 0 && int64(size) > limit {
		return &bridge.Error{
			Op: op, Kind: bridge.KindRejected, Err: fmt.Errorf("message of %d bytes: the server takes %d", size, limit),
			Hint: "raise max_payload in the server's configuration",
		}
	}
	if headers > 1<<16-1 {
		return bridge.Errorf(bridge.KindRejected, op, "headers of %d bytes: the server takes 65535", headers)
	}
	return nil
}

var (
	_ bridge.Sink     = (*Sink)(nil)
	_ bridge.Limiter  = (*Sink)(nil)
	_ bridge.Preparer = (*Sink)(nil)
	_ bridge.Resumer  = (*Sink)(nil)
)
