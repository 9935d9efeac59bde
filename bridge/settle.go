package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// publish hands the batch to the sink until every message is settled, and
// then moves the position to next. The same messages are handed again in the
// same order (the contract of Sink).
func (d *deliverer) publish(ctx context.Context, next Position) error {
	if next == d.pos {
		return nil
	}
	pending := d.msgs
	for attempt := 0; len(pending) > 0; attempt++ {
		rest, worst, err := d.attempt(ctx, pending, attempt)
		if err != nil {
			return err
		}
		if len(rest) == 0 {
			break
		}
		if len(rest) < len(pending) {
			attempt = 0 // progress: the trouble is not of the sink as a whole
		}
		pending = rest
		if err := d.pause(ctx, attempt, worst); err != nil {
			return err
		}
	}
	d.pos = next
	d.state.settled(next.ID.Offset, uint64(len(d.msgs))-d.deadLetters, d.notRouted, d.deadLetters)
	d.notRouted, d.deadLetters = 0, 0
	d.cursor.move(next)
	return nil
}

// attempt publishes once and returns the messages that are not settled, in
// order, with the error that decides how to go on. Rejected messages are
// dead-lettered before they count as settled.
func (d *deliverer) attempt(ctx context.Context, msgs []Message, n int) (rest []Message, worst, err error) {
	d.results = slices.Grow(d.results[:0], len(msgs))[:len(msgs)]
	clear(d.results)
	oldest := msgs[0].Event.ReceivedAt
	begin := time.Now()
	d.sink.Publish(ctx, msgs, d.results)
	took := time.Since(begin)

	var bytes uint64
	rest = msgs[:0]
	failed := 0
	for i, result := range d.results {
		switch {
		case result == nil:
			bytes += uint64(len(msgs[i].Payload))
			continue
		case KindOf(result) == KindRejected:
			if err := d.deadLetter(ctx, &msgs[i], result, n+1, begin); err != nil {
				return nil, nil, err
			}
			failed++
			continue
		}
		failed++
		if worst == nil || severity(result) > severity(worst) {
			worst = result
		}
		rest = append(rest, msgs[i])
	}
	d.state.attempted(len(d.results), n > 0, bytes)
	if f := d.obs.Published; f != nil {
		f(d.spec.Name, took, len(d.results), KindOf(worst), failed)
	}
	if len(rest) == 0 {
		d.recovered()
		if f := d.obs.Delivered; f != nil {
			f(d.spec.Name, time.Since(time.Unix(0, oldest)))
		}
	}
	return rest, worst, ctx.Err()
}

// severity orders errors by how long they hold up the sink.
func severity(err error) int {
	switch KindOf(err) {
	case KindMisconfigured:
		return 4
	case KindUnavailable:
		return 3
	case KindThrottled:
		return 2
	}
	return 1
}

// pause records why the sink does not deliver and waits before the next try.
// It returns an error when the time is up: ctx is done, or the bridge drains
// and the sink as a whole does not take anything.
func (d *deliverer) pause(ctx context.Context, attempt int, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	backoff, state := retryBackoff, SinkRetrying
	switch KindOf(cause) {
	case KindUnknown:
		d.state.unclassified()
	case KindUnavailable, KindMisconfigured, KindThrottled:
		backoff, state = pauseBackoff, SinkPaused
	}
	delay := max(backoff.Delay(attempt, nil), RetryAfterOf(cause))
	d.failed(state, cause)
	if state == SinkPaused {
		if d.drain.Err() != nil {
			return errDrained
		}
		if err := Sleep(d.waitCtx, delay); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errDrained
		}
		return nil
	}
	return Sleep(ctx, delay)
}

// repeatLog is how often an error that goes on is logged again.
const repeatLog = time.Minute

// failed logs the change to a failing state, and then once a minute while it lasts.
func (d *deliverer) failed(state SinkState, cause error) {
	changed, since := d.state.fail(state, cause)
	if changed {
		d.log.Warn("sink does not take messages, trying again", "state", string(state),
			"kind", KindOf(cause).String(), "error", cause)
		d.loggedAt = time.Now()
		return
	}
	if time.Since(d.loggedAt) >= repeatLog {
		d.loggedAt = time.Now()
		d.log.Warn("sink still does not take messages", "state", string(state),
			"kind", KindOf(cause).String(), "since", since, "error", cause)
	}
}

func (d *deliverer) recovered() {
	if lasted, was := d.state.recovered(); was {
		d.log.Info("sink takes messages again", "after", lasted.Round(time.Millisecond))
	}
}

// deadLetter stores a message that the sink will never take. It retries until
// it is stored: the cursor must not pass before.
func (d *deliverer) deadLetter(ctx context.Context, m *Message, cause error, attempts int, first time.Time) error {
	now := time.Now()
	dl := DeadLetter{
		Sink: d.spec.Name, Event: m.Event.ID, Destination: m.Destination, Key: slices.Clone(m.Key),
		Payload: slices.Clone(m.Payload), Reason: cause.Error(), Attempts: attempts, First: first, Last: now,
	}
	for _, h := range m.Headers {
		dl.Headers = append(dl.Headers, Header{Name: h.Name, Value: slices.Clone(h.Value)})
	}
	for n := 0; ; n++ {
		err := d.journal.PutDeadLetter(ctx, dl)
		if err == nil {
			break
		}
		if err := d.pause(ctx, n, fmt.Errorf("store dead letter: %w", err)); err != nil {
			return err
		}
	}
	d.deadLetters++
	d.state.lastError(cause)
	d.log.Error("message dead-lettered: the sink will never take it",
		"event_id", m.Event.ID.String(), "destination", m.Destination, "error", cause)
	return nil
}

// skip passes a stretch of offsets that the journal does not have any more,
// and journals that it did.
func (d *deliverer) skip(ctx context.Context, s Skip) error {
	count := s.Last - s.First + 1
	var err error
	if s.Retention {
		d.log.Error("sink overrun: the journal's retention removed events before the sink took them",
			"first_offset", s.First, "last_offset", s.Last, "events", count)
		err = d.reporter.report(ctx, TopicSinkOverrun, d.spec.Name, "overrun", Overrun{First: s.First, Last: s.Last, Count: count})
	} else {
		err = d.reporter.reportLost(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("record skipped offsets %d-%d: %w", s.First, s.Last, err)
	}
	d.pos = Position{ID: ID{Epoch: d.pos.ID.Epoch, Offset: s.Last}}
	d.state.skipped(s.Last, count, s.Retention)
	d.cursor.move(d.pos)
	return nil
}

// staleCursor ends the sink: another process has moved its cursor, so both
// deliver the same events.
func (d *deliverer) staleCursor(err error) {
	d.log.Error("another process moves this sink's cursor; this one stops delivering to it", "error", err)
	d.state.fail(SinkStopped, &Error{
		Op: "store cursor", Kind: KindMisconfigured, Err: err,
		Hint: "two bridges deliver to the sink " + d.spec.Name + " from one journal: stop one of them and restart the other",
	})
	d.abort()
}
