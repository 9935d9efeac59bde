package jetjournal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// window is how many groups one request brings. Two are outstanding, so that
// the server reads while the reader decodes.
const window = 8

// reader reads the journal: from the tail while it keeps up, else from the
// stream. It is for one goroutine.
type reader struct {
	j     *Journal
	seq   uint64 // of the next group
	next  uint64 // offset of the next event; 0: any
	epoch string // of the last event; "" when unknown
	prev  header // of the last group that was read
	known bool   // prev is set, and is of the sequence before seq
	bad   string // why groups before seq could not be read
	term  uint64 // of the tail, see there

	f     *fetcher
	asked uint64 // sequence after what was asked of f
	dec   decoder
	skip  *bridge.Skip // found when the reader was made

	done     chan struct{}
	isClosed atomic.Bool
}

// NewReader implements bridge.Journal.
//
// When the group of the position now is of another epoch, the journal lost
// what the position saw: the first batch then says so, and brings the events
// of that epoch from its first one on.
func (j *Journal) NewReader(ctx context.Context, after bridge.Position) (bridge.Reader, error) {
	select {
	case <-j.closing:
		return nil, bridge.ErrClosed
	default:
	}
	r := &reader{j: j, done: make(chan struct{})}
	if err := r.seek(ctx, after); err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		return nil, bridge.Errorf(bridge.KindUnavailable, "read journal", "%w", err)
	}
	return r, nil
}

// Close implements bridge.Reader. Only the reader's goroutine may call it.
func (r *reader) Close() error {
	if r.isClosed.Swap(true) {
		return nil
	}
	close(r.done)
	if r.f != nil {
		r.f.close()
	}
	return nil
}

// Next implements bridge.Reader.
func (r *reader) Next(ctx context.Context, wait bool) (bridge.Batch, error) {
	for {
		if r.isClosed.Load() {
			return bridge.Batch{}, bridge.ErrClosed
		}
		v := r.j.tail.at(r.seq)
		if v.closed {
			return bridge.Batch{}, bridge.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return bridge.Batch{}, err
		}
		switch {
		case v.term != r.term:
			// Sequences mean something else now.
			if err := r.seek(ctx, bridge.Position{ID: bridge.ID{Offset: r.next - min(r.next, 1)}}); err != nil {
				return bridge.Batch{}, bridge.Errorf(bridge.KindUnavailable, "read journal", "%w", err)
			}
		case v.have:
			r.stopFetching()
			if b, ok := r.accept(ctx, v.group, nil); ok {
				return b, nil
			}
		case v.end && !wait:
			return bridge.Batch{}, nil
		case v.end:
			select {
			case <-v.changed:
			case <-ctx.Done():
				return bridge.Batch{}, ctx.Err()
			case <-r.done:
				return bridge.Batch{}, bridge.ErrClosed
			}
		default:
			b, ok, err := r.fromStream(ctx, v)
			if err != nil {
				r.stopFetching()
				if ctx.Err() != nil {
					return bridge.Batch{}, ctx.Err()
				}
				return bridge.Batch{}, bridge.Errorf(bridge.KindUnavailable, "read journal", "%w", err)
			}
			if ok {
				return b, nil
			}
		}
	}
}

// stopFetching forgets what is on its way from the stream.
func (r *reader) stopFetching() {
	if r.f != nil {
		r.f.close()
		r.f = nil
	}
}

// fromStream reads one group from the stream.
func (r *reader) fromStream(ctx context.Context, v view) (bridge.Batch, bool, error) {
	if r.f == nil {
		f, err := r.j.link.newFetcher()
		if err != nil {
			return bridge.Batch{}, false, err
		}
		r.f, r.asked = f, r.seq
	}
	for r.f.outstanding() < 2 && (r.asked < v.next || r.f.outstanding() == 0) {
		r.asked = max(r.asked, r.seq)
		if err := r.f.request(r.j.cfg.Name, r.asked, window); err != nil {
			return bridge.Batch{}, false, err
		}
		r.asked += window
	}
	tctx, cancel := context.WithTimeout(ctx, r.j.timing.deadline)
	defer cancel()
	first := r.seq
	for {
		seq, data, err := r.f.next(tctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return bridge.Batch{}, false, errNoAnswer
		case err != nil:
			return bridge.Batch{}, false, err
		case seq == 0 && r.f.outstanding() == 0:
			if first == r.seq && r.asked >= v.next {
				return r.nothingLeft(ctx, v)
			}
			return bridge.Batch{}, false, nil
		case seq == 0 || seq < r.seq:
			// The end of one request, or what a request after a hole brings again.
			continue
		}
		h, events, derr := r.dec.decode(data)
		b, ok := r.accept(ctx, group{seq: seq, h: h, events: events}, derr)
		return b, ok, nil
	}
}

// nothingLeft handles a stream that has no group between the reader and the
// end: all that was there has gone.
func (r *reader) nothingLeft(ctx context.Context, v view) (bridge.Batch, bool, error) {
	st, err := r.j.link.state(ctx, r.j.timing.deadline)
	if err != nil {
		return bridge.Batch{}, false, err
	}
	got, _, err := r.j.link.read(ctx, r.j.timing.deadline, getRequest{Seq: r.seq, Next: r.j.subject})
	if err != nil && !errors.Is(err, errNoMessage) {
		return bridge.Batch{}, false, err
	}
	if err == nil && got < v.next {
		// The server that answered before is a follower that is behind.
		return bridge.Batch{}, false, bridge.Sleep(ctx, 50*time.Millisecond)
	}
	from := r.next
	r.stopFetching()
	r.seq, r.known = v.next, false
	bad := r.bad
	r.bad = ""
	if from == 0 || from >= v.offset {
		r.next = v.offset
		return bridge.Batch{}, false, nil
	}
	r.next = v.offset
	s := &bridge.Skip{First: from, Last: v.offset - 1, OldEpoch: r.epoch}
	age := r.j.cfg.MaxAge
	switch {
	case bad != "":
		s.Cause = bad
	case age > 0 && time.Since(st.LastTime) >= age-min(retentionSlack, age/10):
		s.Retention, s.Cause = true, "older than journal.max_age"
	default:
		s.Cause = "groups are missing in the journal"
	}
	r.report(ctx, s)
	return bridge.Batch{Skipped: s, Seq: v.next - 1}, true, nil
}

// accept checks that a group follows from what was read before and turns it
// into a batch. ok is false when it brings nothing.
func (r *reader) accept(ctx context.Context, g group, bad error) (b bridge.Batch, ok bool) {
	hole := g.seq > r.seq
	if bad != nil {
		r.j.breaks.Add(1)
		r.j.log.LogAttrs(ctx, slog.LevelError, "journal group cannot be read", slog.Uint64("sequence", g.seq), slog.Any("error", bad))
		if r.bad == "" {
			r.bad = fmt.Sprintf("group %d: %v", g.seq, bad)
		}
		r.seq, r.known = g.seq+1, false
		return bridge.Batch{}, false
	}
	h := &g.h
	if !hole && r.known && !follows(&r.prev, h) {
		// The offsets below say whether events are missing.
		r.j.breaks.Add(1)
		r.j.log.LogAttrs(ctx, slog.LevelError, "journal group does not follow from the one before it",
			slog.Uint64("sequence", g.seq), slog.String("epoch", h.Epoch))
	}
	if r.next == 0 {
		r.next = h.First
	}
	b.Seq = g.seq
	b.Skipped, r.skip = r.skip, nil
	switch {
	case h.First > r.next:
		s := r.missing(ctx, g.seq, h, hole)
		if b.Skipped != nil {
			// Both, as one: nothing between them can be had.
			s.First = min(s.First, b.Skipped.First)
			s.Retention, s.Cause = false, b.Skipped.Cause
		}
		b.Skipped = s
	case h.First < r.next && r.epoch != "" && h.Epoch != r.epoch && h.next() > h.First:
		// Another epoch gave the same numbers again: what this reader saw under
		// them, and what came after, was lost.
		b.Skipped = &bridge.Skip{
			First: h.First, Last: r.next - 1, OldEpoch: r.epoch,
			Cause: fmt.Sprintf("epoch %s goes on at offset %d", h.Epoch, h.First),
		}
		r.report(ctx, b.Skipped)
		r.next = h.First
	}
	b.Events = g.events
	if d := r.next - min(r.next, h.First); d > 0 {
		b.Events = g.events[min(d, uint64(len(g.events))):]
	}
	r.seq, r.next = g.seq+1, max(r.next, h.next())
	r.prev, r.known, r.bad = *h, true, ""
	if h.Count > 0 {
		r.epoch = h.Epoch
	}
	return b, len(b.Events) > 0 || b.Skipped != nil
}

// missing says what became of the offsets before a group.
func (r *reader) missing(ctx context.Context, seq uint64, h *header, hole bool) *bridge.Skip {
	s := &bridge.Skip{First: r.next, Last: h.First - 1, OldEpoch: r.epoch}
	r.next = h.First
	switch {
	case r.bad != "":
		s.Cause = r.bad
	case !hole:
		// No group is missing in between: the end was lost before this term.
		s.Cause = "the journal had lost its end when epoch " + h.Epoch + " began"
	default:
		s.Cause = fmt.Sprintf("groups %d to %d are missing in the journal", r.seq, seq-1)
		st, err := r.j.link.state(ctx, r.j.timing.deadline)
		if err == nil && st.FirstSeq >= seq {
			// The stream may have moved on since the group was read.
			if why := r.j.explain(st, seq, h, time.Now()); why != "" {
				s.Retention, s.Cause = true, why
			}
		}
	}
	r.report(ctx, s)
	return s
}

func (r *reader) report(ctx context.Context, s *bridge.Skip) {
	if s.Retention {
		return
	}
	r.j.breaks.Add(1)
	r.j.log.LogAttrs(ctx, slog.LevelError, "journal lost events", slog.Uint64("first_offset", s.First),
		slog.Uint64("last_offset", s.Last), slog.String("cause", s.Cause))
}

// follows reports whether b may be the group after a. The first group of a
// writer that could not read its predecessor names none.
func follows(a, b *header) bool {
	if b.Writer == a.Writer {
		return b.Prev == a.CRC && b.Number == a.Number+1
	}
	return b.Prev == a.CRC || b.Prev == 0
}
