package hubsim

import (
	"bufio"
	"net"
	"sync"
	"time"
)

const (
	// highWater is what may wait for a connection before the generator
	// waits too: a few writes of the size a socket takes at once.
	highWater = 512 << 10
	// dropWater ends a connection that does not take what Emit, Burst or a
	// stall have piled up.
	dropWater = 64 << 20
	// closeWait is how long the client may take to answer a close frame.
	closeWait = 2 * time.Second
)

// conn is one client.
type conn struct {
	srv    *Server
	id     uint64
	nc     net.Conn
	br     *bufio.Reader
	filter filter
	opened time.Time
	done   chan struct{} // closed by kill
	once   sync.Once
	signal chan struct{} // one token: there is something for the writer

	mu      sync.Mutex // guards all below
	pend    []byte     // encoded frames that wait for the writer
	pendSeq []uint64   // their numbers in the stream, with a ledger only
	spare   []byte     // the writer's other buffer
	written []WrittenFrame
	ended   time.Time
	stalled time.Time // nothing is written before
	mute    bool      // half-open: neither reads nor writes, for ever
	noPong  time.Time // pings are not answered before
	closing bool      // a close frame is among what was queued
}

func newConn(s *Server, id uint64, nc net.Conn, br *bufio.Reader, f filter) *conn {
	return &conn{
		srv: s, id: id, nc: nc, br: br, filter: f,
		opened: time.Now(), done: make(chan struct{}), signal: make(chan struct{}, 1),
	}
}

// run serves the connection until it ends.
func (c *conn) run() {
	defer c.srv.busy.Done()
	var writer sync.WaitGroup
	writer.Go(c.write)
	c.read()
	c.kill(false)
	writer.Wait()
	s := c.srv
	s.mu.Lock()
	delete(s.conns, c.id)
	if s.opts.Ledger {
		c.mu.Lock()
		c.ended = time.Now()
		c.mu.Unlock()
		s.past = append(s.past, c)
	}
	s.log.Debug("connection ended", "conn", c.id)
	s.changedLocked()
	s.mu.Unlock()
}

// kill ends the connection at once, with a reset where the transport has one.
func (c *conn) kill(reset bool) {
	c.once.Do(func() {
		if l, ok := c.nc.(interface{ SetLinger(int) error }); ok && reset {
			_ = l.SetLinger(0)
		}
		close(c.done)
		_ = c.nc.Close()
	})
}

// queue appends encoded frames. seqs are their numbers in the stream; nil
// without a ledger and for frames outside the stream.
func (c *conn) queue(frames []byte, seqs []uint64) {
	c.mu.Lock()
	if c.mute || len(c.pend)+len(frames) > dropWater {
		slow := !c.mute
		c.mu.Unlock()
		if slow {
			c.srv.log.Warn("slow client dropped", "conn", c.id)
			c.kill(true)
		}
		return
	}
	c.pend = append(c.pend, frames...)
	c.pendSeq = append(c.pendSeq, seqs...)
	c.mu.Unlock()
	c.wakeWriter()
}

func (c *conn) wakeWriter() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// full reports whether the generator is to wait for this connection.
func (c *conn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.mute && len(c.pend) >= highWater
}

func (c *conn) closeWith(code int, reason string) {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return
	}
	c.closing = true
	c.pend = appendClose(c.pend, code, reason)
	c.mu.Unlock()
	c.wakeWriter()
}

// write is the writer's goroutine: everything that waits goes in one call.
func (c *conn) write() {
	for {
		select {
		case <-c.signal:
		case <-c.done:
			return
		}
		for {
			c.mu.Lock()
			if wait := time.Until(c.stalled); wait > 0 && !c.mute {
				c.mu.Unlock()
				t := time.NewTimer(wait)
				select {
				case <-t.C:
				case <-c.done:
					t.Stop()
					return
				}
				continue
			}
			if c.mute || len(c.pend) == 0 {
				c.mu.Unlock()
				break
			}
			out, seqs, closing := c.pend, c.pendSeq, c.closing
			c.pend, c.pendSeq = c.spare[:0], nil
			c.mu.Unlock()

			err := c.send(out)
			now := time.Now()

			c.mu.Lock()
			if err == nil {
				for _, q := range seqs {
					c.written = append(c.written, WrittenFrame{Seq: q, At: now})
				}
			}
			if cap(out) <= 4*highWater {
				c.spare = out[:0]
			} else {
				c.spare = nil
			}
			c.mu.Unlock()
			if err != nil {
				c.kill(false)
				return
			}
			if closing {
				_ = c.nc.SetReadDeadline(now.Add(closeWait))
			}
			if len(out) >= highWater {
				c.srv.mu.Lock()
				c.srv.changedLocked()
				c.srv.mu.Unlock()
			}
		}
	}
}

// send writes encoded frames: in one call, or with WriteEach one a call.
func (c *conn) send(frames []byte) error {
	for len(frames) > 0 {
		n := len(frames)
		if c.srv.opts.WriteEach {
			n = frameLength(frames)
		}
		if _, err := c.nc.Write(frames[:n]); err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}

// read answers pings and waits for the client's close frame.
func (c *conn) read() {
	var buf []byte
	for {
		f, b, err := readClientFrame(c.br, buf)
		buf = b
		c.mu.Lock()
		mute, noPong, closing := c.mute, time.Now().Before(c.noPong), c.closing
		c.mu.Unlock()
		if err != nil {
			return
		}
		if mute {
			continue // only to notice that the client has gone
		}
		switch f.op {
		case opPing:
			if !noPong && !closing && len(f.payload) <= 125 {
				c.queue(appendFrame(nil, bitFin|opPong, f.payload), nil)
			}
		case opClose:
			if closing {
				return
			}
			code := 0
			if len(f.payload) >= 2 {
				code = int(f.payload[0])<<8 | int(f.payload[1])
			}
			c.closeWith(code, "")
			// The writer sets a read deadline once the answer is out; the
			// client then closes, or the deadline ends the wait.
		}
	}
}
