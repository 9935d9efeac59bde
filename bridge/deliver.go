package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// SinkSpec is a sink as configured: its plan, and how to open it.
type SinkSpec struct {
	Name string
	Type string
	Plan Plan
	// Open connects to the destination. It is called again, with backoff,
	// until it succeeds: a sink that is down never keeps a bridge from starting.
	Open func(ctx context.Context) (Sink, error)
}

// How long a deliverer waits between attempts. A transient failure is often
// over at once; a sink that is down is probed at least every
// pauseBackoff.Max, which bounds how long it stays unused after it came back.
var (
	retryBackoff = Backoff{Base: 20 * time.Millisecond, Max: 5 * time.Second}
	pauseBackoff = Backoff{Base: 250 * time.Millisecond, Max: 5 * time.Second}
)

// reporter journals events of the bridge's own.
type reporter interface {
	report(ctx context.Context, topic, object, member string, value any) error
	reportLost(ctx context.Context, s Skip) error
}

// deliverer moves events from the journal to one sink: it reads from the
// sink's own position, routes, encodes, publishes in order and moves the
// cursor. It never skips an event silently: every offset ends as delivered,
// not routed, dead-lettered, overrun, lost, or still waiting.
type deliverer struct {
	spec     SinkSpec
	journal  Journal
	router   *Router
	enc      *Encoder
	known    []string         // topics, for Prepare
	sources  func() []*Source // likewise, as they are now
	log      *slog.Logger
	obs      Observer
	reporter reporter
	state    *sinkState
	cursor   *cursorWriter

	loggedAt       time.Time       // when the present failure was last logged
	drain, waitCtx context.Context // of run: see there
	abort          context.CancelFunc

	sink        Sink
	limits      Limits
	reader      Reader
	pos         Position // everything up to here is settled
	rest        Batch    // read, not yet worked on
	msgs        []Message
	results     []error
	notRouted   uint64 // in the batch under way
	deadLetters uint64
}

// stages are the contexts of a deliverer's end: when drain is done it works
// off what is in the journal and does not wait for more; when enough is done
// it stops after the batch under way, and the rest stays in the journal; when
// now is done it stops at once.
type stages struct{ drain, enough, now context.Context }

// run delivers until the stages end it. It waits for what it started.
func (d *deliverer) run(st stages) {
	ctx, abort := context.WithCancel(st.now)
	defer abort()
	drain := st.drain
	d.abort = abort

	// Waiting for new events ends when the drain begins, working does not.
	waitCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(drain, cancel)()
	d.drain, d.waitCtx = drain, waitCtx

	defer d.state.stop()
	defer d.close(ctx)
	if !d.start(ctx) {
		return
	}
	stopCursor := d.cursor.start(ctx, d.pos)
	defer stopCursor()
	for st.enough.Err() == nil {
		more, err := d.step(ctx)
		switch {
		case err != nil && ctx.Err() == nil && !errors.Is(err, errDrained):
			d.log.Error("sink stopped", "error", err)
			d.state.fail(SinkStopped, err)
			return
		case err != nil, !more:
			return
		}
	}
}

// errDrained ends the work of a sink that does not take anything while the bridge drains.
var errDrained = errors.New("draining")

// start opens the sink, prepares its destinations, finds the position and
// opens the reader. It retries for ever; false means that the time is up.
func (d *deliverer) start(ctx context.Context) bool {
	for _, do := range []func(context.Context) error{d.open, d.prepare, d.resume, d.openReader} {
		for n := 0; ; n++ {
			err := do(ctx)
			if err == nil {
				break
			}
			if d.pause(ctx, n, err) != nil {
				return false
			}
		}
	}
	d.recovered()
	d.state.set(SinkDelivering)
	d.log.Info("sink started", "type", d.spec.Type, "after_offset", d.pos.ID.Offset)
	return true
}

func (d *deliverer) open(ctx context.Context) error {
	sink, err := d.spec.Open(ctx)
	if err != nil {
		return err
	}
	d.sink, d.limits = sink, DefaultLimits
	if l, ok := sink.(Limiter); ok {
		d.limits = l.Limits()
	}
	return nil
}

func (d *deliverer) prepare(ctx context.Context) error {
	p, ok := d.sink.(Preparer)
	if !ok {
		return nil
	}
	return p.Prepare(ctx, d.router.Destinations(d.known, d.sources()))
}

// resume finds where to go on (DESIGN §5): the stored cursor; moved forward
// by what the destination knows; a known sink that has lost its cursor goes
// on from the state record's copy, never from "now"; a new sink starts where
// its configuration says.
func (d *deliverer) resume(ctx context.Context) error {
	pos, stored, err := d.journal.Cursor(ctx, d.spec.Name)
	if err != nil {
		return fmt.Errorf("read cursor: %w", err)
	}
	info := d.journal.Info()
	copied, ran := d.journal.Known()[d.spec.Name]
	switch {
	case stored:
	case ran:
		pos = copied
		d.log.Warn("the sink's cursor is missing, going on from the last known position; events may be delivered again",
			"after_offset", pos.ID.Offset)
	case d.fromStart(info):
		pos = Position{}
	default:
		pos = Position{ID: ID{Epoch: info.Epoch, Offset: info.Last}}
	}
	if r, ok := d.sink.(Resumer); ok {
		end, found, err := r.Resume(ctx, pos, stored)
		if err != nil {
			return err
		}
		if found && end.ID.Offset > pos.ID.Offset {
			d.log.Info("the destination has more than the cursor says, going on after it",
				"cursor_offset", pos.ID.Offset, "destination_offset", end.ID.Offset)
			pos = end
		}
	}
	d.pos = pos
	d.state.begin(pos.ID.Offset)
	// A new sink's cursor is written at once, also at the very beginning: a
	// crash before the first event is settled must not make it new again.
	if !stored {
		return d.journal.SetCursor(ctx, d.spec.Name, pos)
	}
	return nil
}

func (d *deliverer) fromStart(info JournalInfo) bool {
	switch d.spec.Plan.From {
	case "start":
		return true
	case "now":
		return false
	}
	return info.New
}

func (d *deliverer) openReader(ctx context.Context) error {
	r, err := d.journal.NewReader(ctx, d.pos)
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	d.reader = r
	return nil
}

func (d *deliverer) close(ctx context.Context) {
	if d.reader != nil {
		if err := d.reader.Close(); err != nil {
			d.log.Warn("closing the journal's reader failed", "error", err)
		}
		d.reader = nil
	}
	if d.sink == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := d.sink.Close(ctx); err != nil {
		d.log.Warn("closing the sink failed", "error", err)
	}
	d.sink = nil
}

// closeTimeout bounds the closing of one sink, so that one that hangs does
// not eat the time in which the others are closed.
const closeTimeout = 5 * time.Second

// step settles one batch. more is false when the bridge drains and nothing is left.
func (d *deliverer) step(ctx context.Context) (more bool, err error) {
	d.enc.Reset()
	d.msgs = d.msgs[:0]
	next, bytes := d.pos, 0
	for len(d.msgs) < d.limits.Messages && bytes < d.limits.Bytes {
		if len(d.rest.Events) == 0 {
			// Wait only for the first event of a batch.
			batch, err := d.read(ctx, next == d.pos)
			if err != nil {
				return false, err
			}
			if batch.Skipped == nil && len(batch.Events) == 0 {
				break
			}
			d.rest = batch
		}
		if skipped := d.rest.Skipped; skipped != nil {
			// What came before the hole is settled first, so that the
			// record of the hole cannot overtake it.
			if err := d.publish(ctx, next); err != nil {
				return false, err
			}
			if err := d.skip(ctx, *skipped); err != nil {
				return false, err
			}
			d.rest.Skipped = nil
			return true, nil
		}
		e := &d.rest.Events[0]
		d.rest.Events = d.rest.Events[1:]
		if next == d.pos {
			d.state.working(e.ReceivedAt)
		}
		next = Position{ID: e.ID, Seq: d.rest.Seq}
		bytes += d.add(e)
	}
	if next == d.pos {
		return false, nil // only a drain ends a wait without an event
	}
	return true, d.publish(ctx, next)
}

// read gets the next events, waiting for them if it may. While the bridge
// drains it returns what is there, perhaps nothing.
func (d *deliverer) read(ctx context.Context, wait bool) (Batch, error) {
	batch, err := d.reader.Next(ctx, false)
	if !wait || err != nil || len(batch.Events) > 0 || batch.Skipped != nil {
		return batch, err
	}
	d.state.set(SinkIdle)
	for d.waitCtx.Err() == nil {
		batch, err = d.reader.Next(d.waitCtx, true)
		if len(batch.Events) > 0 || batch.Skipped != nil {
			d.state.set(SinkDelivering)
			return batch, nil
		}
		if err != nil && d.waitCtx.Err() == nil {
			return Batch{}, err
		}
	}
	return d.reader.Next(ctx, false)
}

// add routes and encodes one event and returns the size of its payload. An
// event that is not routed is settled with the batch, in its place.
func (d *deliverer) add(e *Event) int {
	n := len(d.msgs)
	if n == cap(d.msgs) {
		d.msgs = append(d.msgs, Message{})
	} else {
		d.msgs = d.msgs[:n+1]
	}
	m := &d.msgs[n]
	*m = Message{}
	format, ok := d.router.Target(e, m)
	if !ok {
		d.msgs = d.msgs[:n]
		d.notRouted++
		return 0
	}
	d.enc.Encode(e, format, m)
	return len(m.Payload)
}
