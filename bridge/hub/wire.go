package hub

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

const (
	// wireBufferMin is what coder/websocket asks for at a time. A
	// connection with less traffic than that needs no buffer below it.
	wireBufferMin = 4 << 10
	// wireBufferMax lets one system call take some hundred frames.
	wireBufferMax = 64 << 10
	// wireShrinkAfter small reads the buffer is given up, so that thousands
	// of quiet connections hold little.
	wireShrinkAfter = 64
)

// errEnded stands for io.EOF. The library takes an io.EOF of the transport
// for the end of the message that it is in, and half a message would pass
// for a whole one.
var errEnded = errors.New("the connection ended without a close frame")

// wire is the transport below a websocket.Conn. It reads ahead in large
// pieces, and tells the keeper whether the reader waits for the network.
//
// Everything is for one goroutine, the connection's reader, except Write,
// Close, clock, and the atomics.
type wire struct {
	rwc   io.ReadWriteCloser
	epoch time.Time // what the atomics count from

	buf         []byte
	r, w        int // what is read and not used stands in buf[r:w]
	small       int // reads in a row that filled little of buf
	readAt      time.Time
	inMessage   bool  // between begin and end
	life        bool  // a byte of a message came since the last wait
	idleFrom    int64 // when the wait that has seen no life began
	partialFrom int64 // when the wait for the rest of a message began; 0 for none
	stop        error // what Read returns from now on
	beforeWait  func()

	// idleSince is, while the reader waits for the network, since when it
	// has seen no byte of a message; else 0.
	idleSince atomic.Int64
	// partialSince is, while the reader waits for the rest of a message,
	// since when it does; else 0.
	partialSince atomic.Int64
	// lost says that the transport failed. An error of the library without
	// it is an objection to what the hub sent.
	lost atomic.Bool
}

func newWire(rwc io.ReadWriteCloser) *wire {
	now := time.Now()
	return &wire{rwc: rwc, epoch: now, readAt: now, beforeWait: func() {}}
}

// clock is the monotonic time that the atomics hold. It is never 0.
func (w *wire) clock() int64 { return int64(time.Since(w.epoch)) + 1 }

// begin says that a message has begun, end that it has ended. What comes
// between them is life, and has to end.
func (w *wire) begin() { w.inMessage, w.life = true, true }
func (w *wire) end()   { w.inMessage, w.partialFrom = false, 0 }

// Read reads ahead. It returns bytes or an error, never both.
func (w *wire) Read(p []byte) (int, error) {
	if w.stop != nil {
		return 0, w.stop
	}
	if w.r == w.w {
		if len(w.buf) <= len(p) {
			n, err := w.wait(p)
			w.fit(len(p), n)
			return n, err
		}
		n, err := w.wait(w.buf)
		if err != nil {
			return 0, err
		}
		w.r, w.w = 0, n
	}
	n := copy(p, w.buf[w.r:w.w])
	if w.r += n; w.r == w.w {
		w.fit(len(w.buf), w.w)
	}
	return n, nil
}

// wait reads once from the network.
func (w *wire) wait(p []byte) (int, error) {
	w.beforeWait()
	now := w.clock()
	if w.life || w.idleFrom == 0 {
		w.idleFrom, w.life = now, false
	}
	w.idleSince.Store(w.idleFrom)
	if w.inMessage {
		if w.partialFrom == 0 {
			w.partialFrom = now
		}
		w.partialSince.Store(w.partialFrom)
	}
	n, err := w.rwc.Read(p)
	w.idleSince.Store(0)
	w.partialSince.Store(0)
	w.readAt = time.Now()
	if n > 0 {
		w.life = w.life || w.inMessage
		return n, nil // an error comes again with the next read
	}
	switch {
	case err == nil:
		err = io.ErrNoProgress
	case errors.Is(err, io.EOF):
		err = errEnded
	}
	w.lost.Store(true)
	return 0, err
}

// fit makes the empty buffer fit what comes: the last read brought n bytes
// into a space.
func (w *wire) fit(space, n int) {
	switch {
	case n == space && n >= wireBufferMin:
		if w.small = 0; len(w.buf) < wireBufferMax {
			w.buf = make([]byte, 2*max(len(w.buf), wireBufferMin))
		}
	case n >= len(w.buf)/8:
		w.small = 0
	default:
		if w.small++; w.small >= wireShrinkAfter {
			w.buf, w.small = nil, 0
		}
	}
	w.r, w.w = 0, 0
}

// Write writes to the network.
func (w *wire) Write(p []byte) (int, error) {
	n, err := w.rwc.Write(p)
	if err != nil {
		w.lost.Store(true)
	}
	return n, err
}

// Close closes the transport at once; what was read ahead can still be read.
// It is idempotent.
func (w *wire) Close() error { return w.rwc.Close() }
