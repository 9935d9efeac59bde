package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	// pongsPerSecond of the hub's pings are answered; pingFlood of them end
	// the connection.
	pongsPerSecond = 100
	pingFlood      = 1000
)

var errFlood = fmt.Errorf("the hub sent more than %d pings in a second", pingFlood)

// conn is one connection. run reads it in the caller's goroutine, and keeps
// it in two others: ping and watch.
type conn struct {
	number  uint32
	timings Timings
	h       handler
	stats   *stats
	warn    *warner
	source  *bridge.Source
	ws      *websocket.Conn
	wire    *wire
	opened  time.Time

	// Of the reader.
	in         messages
	event      bridge.Event // reused
	proof      time.Time    // the last whole message
	delta      deltas       // counts that are not in stats yet
	pings      int          // the hub's, in the second that began at pingSecond
	pingSecond time.Time

	ponged     time.Time    // of ping: when the last pong to a ping of ours was read
	pongAt     atomic.Int64 // when the last pong was read, whoever asked; unix nanoseconds
	unanswered atomic.Int64 // when the first ping went out that has no pong, wire.clock; 0 when none
	leaving    atomic.Bool  // a close frame of ours is out: nothing may follow it

	mu       sync.Mutex // guards cause, code, stopping, overload
	cause    error      // why the keeper gave up
	code     websocket.StatusCode
	stopping bool
	overload bool
}

func newConn(f *Feed, number uint32, h handler) *conn {
	return &conn{number: number, timings: f.timings, h: h, stats: &f.stats, warn: f.warn, source: f.source}
}

// attach gives the connection its socket, once the upgrade has succeeded.
// onPing and onPong were given to the dial.
func (c *conn) attach(ws *websocket.Conn, w *wire) {
	ws.SetReadLimit(-1) // any limit would close the connection; messages counts
	c.ws, c.wire = ws, w
	c.in = messages{ws: ws, wire: w}
	c.opened = time.Now()
	c.proof = c.opened
	w.beforeWait = c.flush
}

// run reads until the connection ends, or until ctx is done and the hub has
// answered our close frame. put is for the handler and outlives ctx. inletErr
// is the handler's error if that was the reason.
func (c *conn) run(ctx, put context.Context) (end *ending, inletErr error) {
	c.h.mark(put, mark{conn: c.number, kind: opened, at: c.opened})
	// Done when the reading has ended, and not before: the library closes
	// the connection when a context ends during a write.
	live, ended := context.WithCancel(context.WithoutCancel(ctx))
	var keepers sync.WaitGroup
	keepers.Go(func() { c.ping(live, put) })
	keepers.Go(func() { c.watch(ctx, live) })

	err, inletErr := c.read(put)
	ended()
	keepers.Wait()
	end = c.finish(put, err, inletErr)
	c.flush()
	c.h.mark(put, mark{conn: c.number, kind: closed, at: time.Now(), end: end})
	return end, inletErr
}

func (c *conn) read(put context.Context) (err, inletErr error) {
	endless := context.WithoutCancel(put)
	for {
		m, err := c.in.next(endless)
		if m.raw != nil {
			if err := c.deliver(put, m); err != nil {
				return nil, err
			}
		}
		if err != nil {
			return err, nil
		}
	}
}

// deliver makes an event of a message and hands it over.
func (c *conn) deliver(put context.Context, m message) error {
	e := &c.event
	e.Source, e.Conn = c.source, c.number
	e.ReceivedAt = c.wire.readAt.UnixNano()
	e.Raw, e.Flags, e.Cut = m.raw, 0, nil
	c.proof = c.wire.readAt
	c.delta.events++
	c.delta.bytes += m.length
	if m.length > uint64(len(m.raw)) {
		e.Flags |= bridge.FlagTruncated
		e.Cut = &bridge.Cut{Length: m.length, SHA256: [32]byte(m.sum)}
		c.delta.truncated++
		c.warn.log("hub message cut", "a message was too long", "length", m.length, "sha256", fmt.Sprintf("%x", m.sum), "kept", len(m.raw))
	}
	var err error
	if e.Note, err = bridge.ParseNotification(m.raw); err != nil {
		e.Flags |= bridge.FlagUnparsed
		c.delta.unparsed++
		if e.Flags&bridge.FlagTruncated == 0 {
			c.warn.log("hub message is not a notification", reason(err), "error", err, "length", m.length)
		}
	} else if id := e.Note.Field(bridge.FieldHub); len(id) > 0 && string(id) != c.source.ID {
		c.delta.foreign++
		c.warn.log("notification of another hub", "foreign hub", "got", oneLine(string(id)), "want", c.source.ID)
	}
	return c.h.frame(put, e)
}

func reason(err error) string {
	if pe, ok := errors.AsType[*bridge.ParseError](err); ok {
		return pe.Reason
	}
	return err.Error()
}

// flush brings the counts to where Status reads them. The reader calls it
// before it waits, not for every message: atomics are not free.
func (c *conn) flush() {
	c.stats.add(&c.delta, c.proof, time.Unix(0, c.event.ReceivedAt))
}

// onPing is called by the reader for a ping of the hub, and says whether to
// answer it. It must not block.
func (c *conn) onPing(context.Context, []byte) bool {
	if now := c.wire.readAt; now.Sub(c.pingSecond) >= time.Second {
		c.pingSecond, c.pings = now, 0
	}
	if c.pings++; c.pings > pingFlood {
		c.wire.stop = errFlood
	}
	return c.pings <= pongsPerSecond && !c.leaving.Load()
}

// onPong is called by the reader for every pong, solicited or not.
func (c *conn) onPong(context.Context, []byte) { c.pongAt.Store(c.wire.readAt.UnixNano()) }

// finish tells how the connection ended, and closes what is still open. It
// comes after the keepers.
func (c *conn) finish(ctx context.Context, err, inletErr error) *ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &ending{opened: c.opened, proof: c.proof, code: 1006, err: err, ours: c.stopping, overload: c.overload}
	if c.ponged.After(e.proof) {
		e.proof = c.ponged
	}
	ce, isClose := errors.AsType[websocket.CloseError](err)
	switch {
	case c.cause != nil:
		e.err, e.code = c.cause, int(c.code)
	case inletErr != nil:
		e.err = inletErr
	case isClose:
		e.code, e.reason = int(ce.Code), oneLine(ce.Reason)
		e.err = errors.New(strings.TrimSpace(fmt.Sprintf("the hub closed the connection with code %d %s", ce.Code, e.reason)))
	case errors.Is(err, errTooLong):
		e.code = int(websocket.StatusMessageTooBig)
		c.sendClose(ctx, websocket.StatusMessageTooBig)
	case errors.Is(err, errFlood):
		e.err, e.code = errFlood, int(websocket.StatusPolicyViolation)
		c.sendClose(ctx, websocket.StatusPolicyViolation)
	case errors.Is(err, errEnded):
		e.err = errEnded
	case c.wire.lost.Load() || errors.Is(err, net.ErrClosed):
		e.err = fmt.Errorf("the connection was lost: %w", scrub(err))
	default:
		// The transport works, so the library objects to what the hub sent.
		// It has told the hub so.
		e.code = int(websocket.StatusProtocolError)
		e.err = fmt.Errorf("the hub broke the WebSocket protocol: %w", scrub(err))
	}
	_ = c.ws.CloseNow() // it may be closed already
	return e
}
