package hubsim

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memBuffer is what one direction of an in-memory connection holds before a
// write blocks; about the size of a socket's buffer.
const memBuffer = 256 << 10

// Listener is a net.Listener without a network: Dial hands one end of a
// buffered pipe to Accept. It needs no port, and inside a testing/synctest
// bubble (made and used there) it waits in virtual time.
type Listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Listen returns a Listener. It is ready at once.
func Listen() *Listener {
	return &Listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept waits for a Dial. It returns net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept and Dial fail. Connections stay open. It is idempotent.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr returns an address for people.
func (l *Listener) Addr() net.Addr { return memAddr("memory") }

// DialContext connects to the listener, whatever the address. It fits
// http.Transport.DialContext.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := memPipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: ctx.Err()}
	}
}

type memAddr string

func (a memAddr) Network() string { return "memory" }
func (a memAddr) String() string  { return string(a) }

// half is one direction of a pipe.
type half struct {
	mu       sync.Mutex // guards buf, err, reset
	buf      []byte
	err      error // for the reader, once buf is empty
	reset    bool  // the reader gets ECONNRESET at once, the writer EPIPE
	readable chan struct{}
	writable chan struct{}
}

func newHalf() *half {
	return &half{readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (h *half) end(err error, reset bool) {
	h.mu.Lock()
	if h.err == nil {
		h.err = err
	}
	h.reset = h.reset || reset
	h.mu.Unlock()
	wake(h.readable)
	wake(h.writable)
}

// memConn is one end of a pipe.
type memConn struct {
	in, out  *half
	readMu   sync.Mutex // one reader at a time: the wake tokens have one slot
	writeMu  sync.Mutex
	closed   chan struct{}
	once     sync.Once
	lingerMu sync.Mutex
	linger0  bool
	rd, wd   deadline
}

func memPipe() (client, server net.Conn) {
	a, b := newHalf(), newHalf()
	c := &memConn{in: a, out: b, closed: make(chan struct{}), rd: newDeadline(), wd: newDeadline()}
	s := &memConn{in: b, out: a, closed: make(chan struct{}), rd: newDeadline(), wd: newDeadline()}
	return c, s
}

func (c *memConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for {
		expired := c.rd.wait()
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		case <-expired:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		h := c.in
		h.mu.Lock()
		switch {
		case h.reset:
			h.mu.Unlock()
			return 0, &net.OpError{Op: "read", Net: "memory", Err: syscall.ECONNRESET}
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = h.buf[n:]
			h.mu.Unlock()
			wake(h.writable)
			return n, nil
		case h.err != nil:
			err := h.err
			h.mu.Unlock()
			return 0, err
		}
		h.mu.Unlock()
		select {
		case <-h.readable:
		case <-expired:
		case <-c.closed:
		}
	}
}

func (c *memConn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	total := 0
	for {
		expired := c.wd.wait()
		select {
		case <-c.closed:
			return total, net.ErrClosed
		case <-expired:
			return total, os.ErrDeadlineExceeded
		default:
		}
		h := c.out
		h.mu.Lock()
		if h.reset || h.err != nil {
			h.mu.Unlock()
			return total, &net.OpError{Op: "write", Net: "memory", Err: syscall.EPIPE}
		}
		n := min(len(p), memBuffer-len(h.buf))
		h.buf = append(h.buf, p[:n]...)
		h.mu.Unlock()
		wake(h.readable)
		p = p[n:]
		total += n
		if len(p) == 0 {
			return total, nil
		}
		select {
		case <-h.writable:
		case <-expired:
		case <-c.closed:
		}
	}
}

// SetLinger(0) makes the next Close a reset, as on a TCP connection.
func (c *memConn) SetLinger(sec int) error {
	c.lingerMu.Lock()
	c.linger0 = sec == 0
	c.lingerMu.Unlock()
	return nil
}

func (c *memConn) Close() error {
	c.once.Do(func() {
		c.lingerMu.Lock()
		reset := c.linger0
		c.lingerMu.Unlock()
		c.out.end(io.EOF, reset)
		c.in.end(net.ErrClosed, false)
		close(c.closed)
		c.rd.stop()
		c.wd.stop()
	})
	return nil
}

func (c *memConn) LocalAddr() net.Addr  { return memAddr("127.0.0.1:0") }
func (c *memConn) RemoteAddr() net.Addr { return memAddr("127.0.0.1:0") }

func (c *memConn) SetDeadline(t time.Time) error {
	c.rd.set(t)
	c.wd.set(t)
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.rd.set(t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.wd.set(t)
	return nil
}

// deadline closes a channel when it passes.
type deadline struct{ s *deadlineState }

type deadlineState struct {
	mu    sync.Mutex // guards the rest
	timer *time.Timer
	ch    chan struct{}
}

func newDeadline() deadline { return deadline{&deadlineState{ch: make(chan struct{})}} }

func (d deadline) wait() <-chan struct{} {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return d.s.ch
}

func (d deadline) set(t time.Time) {
	s := d.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	select {
	case <-s.ch:
		s.ch = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	ch := s.ch
	if wait := time.Until(t); wait > 0 {
		s.timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.ch == ch {
				select {
				case <-ch:
				default:
					close(ch)
				}
			}
		})
		return
	}
	close(ch)
}

func (d deadline) stop() { d.set(time.Time{}) }
