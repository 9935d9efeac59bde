package hub

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	// keeperTick is how often the keeper looks where nothing is due earlier.
	keeperTick = 5 * time.Second
	// writeLimit is for a close frame to find room in the socket. Pings and
	// pongs have the library's limit, 5 s as well.
	writeLimit = 5 * time.Second
	// keeperSlack: a keeper that woke so much too late was not running, and
	// the reader perhaps neither; it gives the reader a moment first.
	keeperSlack = time.Second
)

// ping pings the hub until live is done or the connection is closed. It
// marks the pongs: only the library knows which of them answers a ping of
// ours.
func (c *conn) ping(live, put context.Context) {
	for {
		sent := c.wire.clock()
		c.unanswered.CompareAndSwap(0, sent)
		// The end of this context while it waits for a pong harms nothing;
		// a pong that is later than the next ping is not worth waiting for.
		try, cancel := context.WithTimeout(live, max(c.timings.Ping, c.timings.Pong))
		err := c.ws.Ping(try)
		cancel()
		switch {
		case err == nil:
			// The reader noted the time before Ping heard of the pong. It
			// may be that of a later, unsolicited one, before which
			// everything has been handed over as well.
			c.ponged = time.Unix(0, c.pongAt.Load())
			c.unanswered.Store(0)
			c.stats.alive(c.ponged)
			c.h.mark(put, mark{conn: c.number, kind: alive, at: c.ponged})
		case !errors.Is(err, context.DeadlineExceeded):
			return // closed, or closing: the reader sees it
		}
		if bridge.Sleep(live, c.timings.Ping-time.Duration(c.wire.clock()-sent)) != nil {
			return
		}
	}
}

// watch ends the connection when it is dead, when a message does not end, or
// when ctx is done. It returns when live is done.
func (c *conn) watch(ctx, live context.Context) {
	tick := min(keeperTick, c.timings.Pong/4)
	timer := time.NewTimer(tick)
	defer timer.Stop()
	wakeAt := c.wire.clock() + int64(tick) // when this wake-up is due
	for {
		select {
		case <-live.Done():
			return
		case <-ctx.Done():
			c.goodbye(live)
			return
		case <-timer.C:
		}
		now := c.wire.clock()
		next := now + int64(tick)
		if now-wakeAt > int64(keeperSlack) {
			wakeAt = min(next, now+int64(keeperSlack))
			timer.Reset(time.Duration(wakeAt - now))
			continue
		}
		idle := c.wire.idleSince.Load()
		if asked := c.unanswered.Load(); asked > 0 {
			due := max(asked, idle) + int64(c.timings.Pong)
			switch {
			case idle > 0 && now >= due:
				c.fail(live, 1006, fmt.Errorf("the hub went silent: no pong and no message for %s", c.timings.Pong))
				return
			case idle > 0:
				next = min(next, due)
			case now-asked >= int64(c.timings.Pong):
				c.stalled()
			}
		}
		if since := c.wire.partialSince.Load(); since > 0 {
			due := since + int64(c.timings.Message)
			if now >= due {
				c.fail(live, websocket.StatusPolicyViolation, fmt.Errorf("a message that the hub began did not end within %s", c.timings.Message))
				return
			}
			next = min(next, due)
		}
		wakeAt = next
		timer.Reset(time.Duration(next - now))
	}
}

// stalled notes that pongs are not read because the inlet holds the reader up.
func (c *conn) stalled() {
	c.mu.Lock()
	c.overload = true
	c.mu.Unlock()
	c.warn.log("hub reader is held up", "local overload", "conn", c.number)
}

// fail ends the connection with a cause of ours, and waits for the reader.
func (c *conn) fail(live context.Context, code websocket.StatusCode, cause error) {
	c.mu.Lock()
	c.cause, c.code = cause, code
	c.mu.Unlock()
	if code != 1006 {
		c.sendClose(live, code)
	}
	_ = c.wire.Close() // the reader sees it
	<-live.Done()
}

// goodbye closes from our side: the reader goes on until the hub's answer.
func (c *conn) goodbye(live context.Context) {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	c.sendClose(live, websocket.StatusNormalClosure)
	t := time.NewTimer(c.timings.Goodbye)
	defer t.Stop()
	for end := time.Now().Add(c.timings.HandOver); ; t.Reset(100 * time.Millisecond) {
		select {
		case <-live.Done():
			return
		case <-t.C:
		}
		// A reader that the inlet holds up still has what the hub sent
		// before; it gets the time that the inlet gets.
		if c.wire.idleSince.Load() > 0 || !time.Now().Before(end) {
			break
		}
	}
	_ = c.wire.Close()
	<-live.Done()
}

// opClose is the opcode of a close frame.
const opClose websocket.MessageType = 8

// sendClose sends a close frame and leaves the reading alone. Conn.Close
// would take the reading over and throw away the messages that come before
// the hub's answer. The library passes the message type on as the opcode and
// keeps its books by that; should it ever refuse, the hub is not told.
func (c *conn) sendClose(ctx context.Context, code websocket.StatusCode) {
	c.leaving.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeLimit)
	defer cancel()
	_ = c.ws.Write(ctx, opClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}
