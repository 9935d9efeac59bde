package jetjournal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// appendBackoff is the wait between attempts (facts/reliability 2.3).
var appendBackoff = bridge.Backoff{Base: 50 * time.Millisecond, Max: 2 * time.Second}

// writer is the state of the one appender. It belongs to whoever holds Journal.turn.
type writer struct {
	enc      encoder
	number   uint64 // of the last group that was encoded
	last     uint64 // the stream's last sequence, as this writer has seen it
	next     uint64 // the next event's offset
	prev     uint32 // CRC of the group at last; 0 when it cannot be read
	prevTime int64
	prevSize uint64
	pending  *pending
}

// pending is a group whose fate is not known. Its bytes are frozen: they may
// still land after we stopped waiting.
type pending struct {
	h      header
	data   []byte
	events []bridge.Event
}

// Append implements bridge.Journal. No events is no operation.
//
// When ctx ends while a group is under way, Append goes on for a grace of
// five seconds to learn the group's fate. If that does not suffice it
// returns ctx's error, and the next Append (or the next start) settles the
// group first: those events are then stored, so a caller that gives them
// again stores them twice.
func (j *Journal) Append(ctx context.Context, events []bridge.Event) error {
	if len(events) == 0 {
		return nil
	}
	if err := j.take(ctx); err != nil {
		return err
	}
	defer j.release()
	ctx, cancel := j.graced(ctx)
	defer cancel()
	for len(events) > 0 {
		n := cut(events)
		if err := j.commit(ctx, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// take gets the appender's turn.
func (j *Journal) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case j.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-j.closing:
		return bridge.ErrClosed
	}
	select {
	case <-j.closing:
		j.release()
		return bridge.ErrClosed
	default:
		return nil
	}
}

func (j *Journal) release() { <-j.turn }

// graced returns a context that ends the grace after ctx has, or when the
// journal is closed by force.
func (j *Journal) graced(ctx context.Context) (context.Context, context.CancelFunc) {
	g, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stopCtx := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(j.timing.grace, func() { cancel(ctx.Err()) })
		context.AfterFunc(g, func() { timer.Stop() })
	})
	stopForce := context.AfterFunc(j.forced, func() { cancel(bridge.ErrClosed) })
	return g, func() {
		stopCtx()
		stopForce()
		cancel(nil)
	}
}

// commit stores one group of events, which may be empty.
func (j *Journal) commit(ctx context.Context, events []bridge.Event) error {
	w := &j.w
	if w.pending != nil {
		if err := j.settle(ctx); err != nil {
			return err
		}
	}
	if j.fenced {
		return bridge.ErrFenced
	}
	for i := range events {
		events[i].ID = bridge.ID{Epoch: j.epoch, Offset: w.next + uint64(i)} //nolint:gosec // an index
	}
	h := header{
		Prev: w.prev, Epoch: j.epoch, Writer: j.writerID, First: w.next, Number: w.number + 1,
		Time: time.Now().UnixNano(), PrevTime: w.prevTime, PrevSize: w.prevSize,
	}
	data := w.enc.encode(&h, events)
	if limit := j.link.nc.MaxPayload(); int64(len(data))+maxHeaders > limit && limit > 0 {
		return &bridge.Error{
			Op: "journal append", Kind: bridge.KindRejected,
			Err:  fmt.Errorf("a group of %d bytes is over the server's max_payload of %d", len(data), limit),
			Hint: "raise max_payload on the journal's server",
		}
	}
	w.number++
	w.pending = &pending{h: h, data: data, events: events}
	return j.settle(ctx)
}

// maxHeaders is room for the NATS headers of an append, which count as payload.
const maxHeaders = 512

// settle finds out the fate of the pending group: it is stored when settle
// returns nil, or another writer has the journal when it returns ErrFenced.
func (j *Journal) settle(ctx context.Context) error {
	w := &j.w
	p := w.pending
	var since time.Time // of the first failure
	for attempt := 0; ; attempt++ {
		seq, err := j.publish(ctx, p)
		if err == nil && seq == w.last+1 {
			j.landed(p, seq)
			return nil
		}
		if err == nil {
			// Not what an answer can say: this one is not believed.
			err = fmt.Errorf("stored as sequence %d after %d", seq, w.last)
		}
		if attempt == 0 {
			since = time.Now()
		}
		done, rerr := j.resolve(ctx, p)
		if done || errors.Is(rerr, bridge.ErrFenced) {
			return rerr
		}
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("journal append: the last group is not settled: %w", cause)
		}
		j.failing(ctx, since, errors.Join(err, rerr))
		if rerr == nil && errors.Is(err, errWrongLast) && attempt == 0 {
			continue // resolve has found the end; nothing to wait for
		}
		if err := bridge.Sleep(ctx, appendBackoff.Delay(attempt, nil)); err != nil {
			return fmt.Errorf("journal append: the last group is not settled: %w", context.Cause(ctx))
		}
	}
}

// publish makes one attempt.
func (j *Journal) publish(ctx context.Context, p *pending) (uint64, error) {
	if j.faults.beforePublish != nil {
		if err := j.faults.beforePublish(p.h.Number); err != nil {
			return 0, err
		}
	}
	seq, err := j.link.append(ctx, j.subject, p.data, j.w.last, j.timing.deadline)
	if err == nil && j.faults.afterPublish != nil {
		err = j.faults.afterPublish(p.h.Number)
	}
	return seq, err
}

// landed books a group that is stored.
func (j *Journal) landed(p *pending, seq uint64) {
	w := &j.w
	w.last, w.next = seq, p.h.next()
	w.prev, w.prevTime, w.prevSize = p.h.CRC, p.h.Time, uint64(len(p.data))
	w.pending = nil
	bytes := 0
	for i := range p.events {
		bytes += len(p.events[i].Raw) + eventBytes
	}
	j.tail.push(group{seq: seq, h: p.h, events: p.events, bytes: bytes})
	j.health.ok(j.log)
	j.state.landed(seq, w.next-1, &p.h)
	j.appended(&p.h, seq, uint64(len(p.data)))
}

// resolve reads on from the last known sequence and looks for the pending
// group. done is true when it is stored. A nil error with done false means
// that it is not stored now, and that w.last is the stream's end.
func (j *Journal) resolve(ctx context.Context, p *pending) (done bool, err error) {
	w := &j.w
	// Whatever comes next, also behind sequences that were lost.
	seq, data, err := j.link.read(ctx, j.timing.deadline, getRequest{Seq: w.last + 1, Next: j.subject})
	if errors.Is(err, errNoMessage) {
		return false, j.checkEnd(ctx)
	}
	if err != nil && !(errors.Is(err, jetstream.ErrStreamNotFound) && j.server != nil) {
		return false, err
	}
	if err != nil {
		return false, j.checkEnd(ctx)
	}
	h, err := decodeHeader(data)
	switch {
	case err != nil:
		return false, j.fence("what is stored after this writer's last group cannot be read: " + err.Error())
	case h.Writer == p.h.Writer && h.Number == p.h.Number && h.CRC == p.h.CRC:
		j.log.LogAttrs(ctx, slog.LevelInfo, "journal group was stored although its acknowledgement was lost",
			slog.Uint64("sequence", seq))
		if seq != w.last+1 {
			j.tail.reset(seq, w.next)
		}
		j.landed(p, seq)
		return true, nil
	default:
		return false, j.fence(fmt.Sprintf("sequence %d is a group of writer %s, epoch %s", seq, h.Writer, h.Epoch))
	}
}

// fence marks that somebody else writes the journal. There is no way back but
// a new Open, which draws a new epoch behind what the other wrote.
func (j *Journal) fence(why string) error {
	j.fenced = true
	j.log.LogAttrs(context.Background(), slog.LevelError, "another writer has taken over the journal", slog.String("why", why))
	j.health.fail(j.log, "another writer has taken over the journal: "+why+"; this process must be restarted")
	return bridge.ErrFenced
}

// checkEnd makes w.last agree with a stream that has nothing after it.
func (j *Journal) checkEnd(ctx context.Context) error {
	w := &j.w
	st, err := j.link.state(ctx, j.timing.deadline)
	if errors.Is(err, jetstream.ErrStreamNotFound) && j.server != nil {
		// Somebody removed the store under us. The numbers go on.
		j.log.LogAttrs(ctx, slog.LevelError, "the journal's stream is gone, making a new one")
		if _, err := j.ensureStream(ctx, w.last+1); err != nil {
			return err
		}
		st, err = j.link.state(ctx, j.timing.deadline)
	}
	if err != nil {
		return err
	}
	if st.LastSeq == w.last {
		return nil
	}
	// The end moved without a readable message after our last one: groups
	// that were acknowledged are gone (the end went back), or what came after
	// them is. Offsets go on, so readers see the hole and say so.
	j.log.LogAttrs(ctx, slog.LevelError, "the end of the journal moved, acknowledged groups may be lost",
		slog.Uint64("was", w.last), slog.Uint64("is", st.LastSeq))
	w.last, w.prev, w.prevTime, w.prevSize = st.LastSeq, 0, 0, 0
	j.tail.reset(w.last+1, w.next)
	return nil
}

// failing tells the world after a second of failures, and restarts an
// embedded server that will not recover by itself.
func (j *Journal) failing(ctx context.Context, since time.Time, err error) {
	if time.Since(since) < j.timing.patience && !errors.Is(err, errNoAnswer) {
		return
	}
	j.health.fail(j.log, j.problem(err))
	// A server that found damage while it ran may go on to expect an end that
	// it does not have (seen with 2.15.2 after a flipped bit): a new one agrees
	// with its store.
	broken := errors.Is(err, errWrongLast) || errors.Is(err, errNoAnswer) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded)
	if j.server == nil || !broken || time.Since(j.restarted) < j.timing.restart || !j.roomy() {
		return
	}
	// A full disk leaves the stream's store with an error that only a new
	// server gets rid of (facts/reliability M10).
	j.restarted = time.Now()
	if err := j.server.Restart(ctx); err != nil {
		j.log.LogAttrs(ctx, slog.LevelError, "embedded nats server did not restart", slog.Any("error", err))
	}
}
