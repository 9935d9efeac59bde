package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
)

const (
	opPublish = "nats publish"
	// flushWait is how long the server's word is waited for when ctx allows more.
	flushWait = 10 * time.Second
)

// Sink publishes core NATS messages. Its methods may be called concurrently,
// and run one after the other.
type Sink struct {
	config Config
	env    bridge.Env
	log    *slog.Logger

	mu     sync.Mutex
	closed bool
	nc     *natsgo.Conn
	breaks atomic.Uint64 // how often the connection broke
	msg    natsconn.Message
}

// Open returns a sink. It does not connect: that is done by the first call
// that needs it, and a server that is down is told then.
func Open(_ context.Context, c Config, env bridge.Env) (bridge.Sink, error) {
	return open(c, env)
}

func open(c Config, env bridge.Env) (*Sink, error) {
	if m := c.Validate(); len(m) > 0 {
		errs := make([]error, len(m))
		for i := range m {
			errs[i] = m[i]
		}
		return nil, &bridge.Error{Op: "open nats sink", Kind: bridge.KindMisconfigured, Err: errors.Join(errs...)}
	}
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Sink{config: c, env: env, log: log}, nil
}

// Close waits for a call that is under way and closes the connection. Publish
// has flushed all that it settled.
func (s *Sink) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.nc != nil {
		s.nc.Close()
		s.nc = nil
	}
	return nil
}

func (s *Sink) connected(ctx context.Context) error {
	if s.closed {
		return &bridge.Error{Op: opPublish, Kind: bridge.KindCanceled, Err: bridge.ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return natsconn.Classify(opPublish, err)
	}
	if s.nc != nil && !s.nc.IsClosed() {
		return natsconn.Problem(opPublish, s.nc)
	}
	nc, err := s.config.Connect(ctx, "cycle-bridge sink "+s.env.Name,
		natsgo.DisconnectErrHandler(func(*natsgo.Conn, error) { s.breaks.Add(1) }))
	if err != nil {
		return err
	}
	s.nc = nc
	s.log.Debug("connected", slog.String("sink", s.env.Name), slog.String("server", nc.ConnectedAddr()))
	return nil
}

// Publish implements bridge.Sink. A batch is settled as a whole by the
// server's answer to one flush, except for messages that it would never take.
func (s *Sink) Publish(ctx context.Context, msgs []bridge.Message, results []error) {
	if len(msgs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.publish(ctx, msgs, results); err != nil {
		for i := range results {
			if results[i] == nil {
				results[i] = err
			}
		}
	}
}

// publish sets the results of messages that are rejected, and returns what
// became of all others.
func (s *Sink) publish(ctx context.Context, msgs []bridge.Message, results []error) error {
	if err := s.connected(ctx); err != nil {
		return err
	}
	breaks, before := s.breaks.Load(), s.nc.LastError()
	sent := 0
	for i := range msgs {
		m := &msgs[i]
		if err := natsconn.CheckSubject(opPublish, m.Destination); err != nil {
			results[i] = err
			continue
		}
		s.msg.Reset(m.Destination, "", m.Payload)
		s.msg.SetHeaders(m.Headers)
		if err := s.nc.PublishMsg(s.msg.Build()); err != nil {
			e := natsconn.Classify(opPublish, err)
			if e.Kind == bridge.KindRejected {
				if errors.Is(err, natsgo.ErrMaxPayload) {
					e.Err = fmt.Errorf("message of %d bytes: the server takes %d", s.msg.Size(), s.nc.MaxPayload())
					e.Hint = "raise max_payload in the server's configuration"
				}
				results[i] = e
				continue
			}
			return e
		}
		sent++
	}
	if sent == 0 {
		return nil
	}
	flushCtx, cancel := context.WithTimeout(ctx, flushWait)
	defer cancel()
	if err := s.nc.FlushWithContext(flushCtx); err != nil {
		if s.breaks.Load() != breaks || !s.nc.IsConnected() {
			err = natsgo.ErrDisconnected
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return natsconn.Classify(opPublish, err)
	}
	if s.breaks.Load() != breaks {
		// The flush was answered by another connection than the one that took
		// the messages.
		return natsconn.Classify(opPublish, natsgo.ErrDisconnected)
	}
	// A refused subject comes without an answer of its own, before that of the
	// flush. It is set anew for each, so an old one is told from this batch's.
	if after := s.nc.LastError(); after != nil && after != before && errors.Is(after, natsgo.ErrPermissionViolation) { //nolint:errorlint // identity is meant
		return natsconn.Classify(opPublish, after)
	}
	return nil
}

// Probe tries the connection of c. It publishes nothing.
func Probe(ctx context.Context, c Config, env bridge.Env) error {
	s, err := open(c, env)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected(ctx)
}

var _ bridge.Sink = (*Sink)(nil)
