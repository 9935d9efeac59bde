package hubsim

import (
	"context"
	"time"
)

const (
	// batchBytes is how much the generator encodes under one lock.
	batchBytes = 64 << 10
	// singleRate is the rate up to which notifications are sent one at a
	// time; above, what is due goes together.
	singleRate = 2000
)

// batch is a run of encoded frames of the stream.
type batch struct {
	buf   []byte
	ends  []int // of each frame in buf
	metas []meta
	first uint64 // number of the first frame
}

// Start runs the generator until Count, Stop or Close. A second Start while it runs does nothing.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	s.stop, s.gone = cancel, gone
	s.busy.Go(func() {
		defer close(gone)
		faults := make(chan struct{})
		go func() {
			defer close(faults)
			s.runFaults(ctx)
		}()
		s.generate(ctx)
		cancel()
		<-faults
	})
}

// Stop ends the generator and waits for it.
func (s *Server) Stop() {
	s.mu.Lock()
	stop, gone := s.stop, s.gone
	s.stop = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
		<-gone
	}
}

// Wait waits until the generator has sent Count notifications, or was stopped.
func (s *Server) Wait(ctx context.Context) error {
	s.mu.Lock()
	gone := s.gone
	s.mu.Unlock()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) generate(ctx context.Context) {
	var sent uint64
	var b batch
	start := time.Now()
	base := uint64(0) // sent when start was taken
	for s.opts.Count == 0 || sent < s.opts.Count {
		waited, ok := s.waitRoom(ctx)
		if !ok {
			return
		}
		left := ^uint64(0)
		if s.opts.Count > 0 {
			left = s.opts.Count - sent
		}
		if s.opts.Rate <= 0 {
			sent += uint64(s.send(&b, left))
			continue
		}
		if waited {
			// The pace starts anew: what was not sent is not made up for.
			start, base = time.Now(), sent
		}
		now := time.Now()
		next := start.Add(time.Duration(float64(sent-base) / s.opts.Rate * float64(time.Second)))
		if wait := next.Sub(now); wait > 0 {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
			continue
		}
		due := uint64(1)
		if s.opts.Rate > singleRate {
			due += uint64(now.Sub(next).Seconds() * s.opts.Rate)
		}
		sent += uint64(s.send(&b, min(due, left)))
	}
}

// waitRoom waits until enough connections are live and none is full.
func (s *Server) waitRoom(ctx context.Context) (waited, ok bool) {
	for {
		if ctx.Err() != nil {
			return waited, false
		}
		s.mu.Lock()
		ready := s.liveLocked() >= s.opts.MinConnections
		for _, c := range s.conns {
			ready = ready && !c.full()
		}
		changed := s.room
		s.mu.Unlock()
		if ready {
			return waited, true
		}
		waited = true
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Burst sends n generated notifications at once, to whoever is connected.
func (s *Server) Burst(n int) {
	var b batch
	for left := uint64(max(0, n)); left > 0; {
		left -= uint64(s.send(&b, left))
	}
}

// send generates at most n notifications, and not much more than batchBytes,
// and gives them to every connection.
func (s *Server) send(b *batch, n uint64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.buf, b.ends, b.metas = b.buf[:0], b.ends[:0], b.metas[:0]
	b.first = s.seq + 1
	var at int64
	if s.opts.Numbered {
		at = time.Now().UnixNano()
	}
	count := 0
	for uint64(count) < n && len(b.buf) < batchBytes {
		number := uint64(0)
		if s.number++; s.opts.Numbered {
			number = s.number
		}
		start := len(b.buf)
		var m meta
		// Room for the usual header of 4 bytes: notifications have more than 125 bytes.
		b.buf = append(b.buf, 0, 0, 0, 0)
		b.buf, m = s.gen.append(b.buf, number, at)
		if l := len(b.buf) - start - 4; l >= 126 && l < 1<<16 {
			h := b.buf[start : start+4]
			h[0], h[1], h[2], h[3] = bitFin|opText, 126, byte(l>>8), byte(l)
		} else {
			payload := append([]byte(nil), b.buf[start+4:]...)
			b.buf = appendFrame(b.buf[:start], bitFin|opText, payload)
		}
		b.ends = append(b.ends, len(b.buf))
		b.metas = append(b.metas, m)
		count++
	}
	s.publishLocked(b)
	return count
}

// Emit sends raw as one text message to every connection, whatever their
// filters, and returns its number in the stream. raw is copied.
func (s *Server) Emit(raw []byte) uint64 { return s.emit(opText, raw) }

func (s *Server) emit(op byte, raw []byte) uint64 {
	return s.emitFrames(appendFrame(nil, bitFin|op, raw))
}

// emitFrames sends one message that is encoded already.
func (s *Server) emitFrames(encoded []byte) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := batch{buf: encoded, ends: []int{len(encoded)}, first: s.seq + 1}
	s.publishLocked(&b)
	return b.first
}

func (s *Server) publishLocked(b *batch) {
	s.seq += uint64(len(b.ends))
	s.sent.Add(uint64(len(b.ends)))
	var seqs []uint64
	if s.opts.Ledger {
		now := time.Now()
		start := 0
		for i, end := range b.ends {
			seq := b.first + uint64(i)
			seqs = append(seqs, seq)
			s.frames = append(s.frames, FrameRecord{Seq: seq, At: now, Frame: append([]byte(nil), b.buf[start:end]...)})
			start = end
		}
	}
	for _, c := range s.conns {
		if b.metas == nil || c.filter.empty() {
			c.queue(b.buf, seqs)
			continue
		}
		start := 0
		for i, end := range b.ends {
			if c.filter.passes(&b.metas[i]) {
				var seq []uint64
				if seqs != nil {
					seq = seqs[i : i+1]
				}
				c.queue(b.buf[start:end], seq)
			}
			start = end
		}
	}
}
