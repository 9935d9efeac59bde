package jetjournal

import (
	"context"
	"errors"
	"fmt"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// seek sets the reader to the event after a position.
func (r *reader) seek(ctx context.Context, after bridge.Position) error {
	j := r.j
	r.stopFetching()
	v := j.tail.at(after.Seq)
	r.term = v.term
	r.epoch, r.known, r.bad, r.skip = "", false, "", nil
	if after == (bridge.Position{}) {
		st, err := j.link.state(ctx, j.timing.deadline)
		if err != nil {
			return err
		}
		r.seq, r.next = max(st.FirstSeq, 1), 0
		if r.seq >= v.next {
			r.seq, r.next = v.next, v.offset
		}
		return nil
	}
	id := after.ID
	r.next = id.Offset + 1
	if id.Offset == 0 {
		r.seq = 1 // what is not kept from there on is found missing
		return nil
	}
	if id.Offset+1 >= v.offset {
		// At the end, which is in memory. A position of this term needs no
		// look, nor one just before it (a new sink's "now").
		if id.Offset+1 == v.offset && (id.Epoch == j.epoch || id.Epoch == "") {
			r.seq, r.epoch = v.next, id.Epoch
			return nil
		}
	}
	if v.have && holds(&v.group.h, id) {
		r.seq, r.epoch = after.Seq, v.group.h.Epoch
		return nil
	}
	if after.Seq > 0 && after.Seq < v.next && !v.have {
		seq, h, err := j.headerFrom(ctx, after.Seq)
		if err == nil && seq == after.Seq && holds(&h, id) {
			r.seq, r.epoch = seq, h.Epoch
			return nil
		}
		if err != nil && !errors.Is(err, errNoMessage) {
			return err
		}
	}
	return r.search(ctx, id, v)
}

// holds reports whether a group contains the event.
func holds(h *header, id bridge.ID) bool {
	return h.First <= id.Offset && id.Offset < h.next() && (id.Epoch == "" || h.Epoch == id.Epoch)
}

// search finds the group of an offset by bisection: the last one that begins
// at or before it.
func (r *reader) search(ctx context.Context, id bridge.ID, v view) error {
	j := r.j
	st, err := j.link.state(ctx, j.timing.deadline)
	if err != nil {
		return err
	}
	lo, hi := max(st.FirstSeq, 1), v.next // the answer is in [lo, hi), or there is none
	found := uint64(0)
	var at header
	for lo < hi {
		mid := lo + (hi-lo)/2
		seq, h, err := j.headerFrom(ctx, mid)
		if errors.Is(err, errNoMessage) || (err == nil && seq >= hi) {
			hi = mid
			continue
		}
		if err != nil {
			return err
		}
		if h.First <= id.Offset {
			found, at, lo = seq, h, seq+1
		} else {
			hi = mid
		}
	}
	if found == 0 {
		// Everything that is kept is further on, or nothing is kept.
		r.seq, r.epoch = 1, id.Epoch
		return nil
	}
	if id.Offset >= at.next() {
		// The offset stands in no group: begin with the first one after it.
		r.seq, r.epoch = found+1, id.Epoch
		return nil
	}
	r.seq, r.epoch = found, at.Epoch
	if id.Epoch == "" || at.Epoch == id.Epoch {
		return nil
	}
	if id.Epoch == j.epoch && id.Offset < j.first {
		return nil // "now" at the start of this term
	}
	// The offset is of another epoch now: what the position saw was lost. Go
	// on at the first event of the epoch that holds the offset.
	for seq := found; seq > st.FirstSeq; {
		seq--
		s, h, err := j.headerFrom(ctx, seq)
		if err != nil {
			return err
		}
		if s >= found || h.Epoch != at.Epoch {
			break
		}
		found, at = s, h
	}
	r.seq, r.next, r.epoch = found, at.First, at.Epoch
	r.skip = &bridge.Skip{
		First: at.First, Last: id.Offset, OldEpoch: id.Epoch,
		Cause: fmt.Sprintf("offset %d was of epoch %s and is of epoch %s now", id.Offset, id.Epoch, at.Epoch),
	}
	r.report(ctx, r.skip)
	return nil
}
