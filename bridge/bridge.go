package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Bridge is made of. Journal and Log are required.
type Options struct {
	Name        string // for people
	Version     string
	Journal     Journal // stays the caller's: closed by the caller after Run
	Feeds       []Feed
	Sinks       []SinkSpec
	KnownTopics []string // topics to check destinations for
	Log         *slog.Logger
	Observer    Observer
	// DrainTimeout bounds the end of Run; 0 means 30 s.
	DrainTimeout time.Duration
}

const (
	defaultDrainTimeout = 30 * time.Second
	// backlogTime is how long deliverers work off what is in the journal
	// when the bridge ends. What is left is delivered after the next start.
	backlogTime = 5 * time.Second
	// proofInterval is how often the proofs of life are handed to the journal.
	proofInterval = time.Second
)

// Bridge moves events from its sources through the journal to its sinks.
// Sources and sinks can be added and removed while it runs.
type Bridge struct {
	opts     Options
	log      *slog.Logger
	intake   *intake
	own      *lane // events of the bridge itself
	families *families
	started  time.Time
	draining atomic.Bool

	mu       sync.Mutex // guards all below
	feeds    []*feedUnit
	sinks    []*sinkUnit
	running  *running // nil before Run, and from the drain on
	reported map[stretch]bool
}

// New checks the options and compiles the routes. All mistakes are reported
// at once, joined; those of routes are *RouteError.
func New(opts Options) (*Bridge, error) {
	if opts.DrainTimeout <= 0 {
		opts.DrainTimeout = defaultDrainTimeout
	}
	b := &Bridge{
		opts: opts, log: opts.Log, intake: newIntake(), families: newFamilies(),
		started: time.Now(), reported: make(map[stretch]bool),
	}
	b.own = b.intake.lane()
	for _, f := range opts.Feeds {
		b.AddFeed(f)
	}
	var errs []error
	for _, spec := range opts.Sinks {
		errs = append(errs, b.AddSink(spec))
	}
	return b, errors.Join(errs...)
}

// Run works until ctx is done, and then drains: the sources hand over the
// last they received, the open group is stored, the sinks settle what is
// under way and, for a few seconds, the backlog. It returns nil after a drain
// and an error when the journal is lost to it (ErrFenced). It waits for
// everything it started. It is called once.
func (b *Bridge) Run(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	now, hardStop := context.WithCancel(base)
	defer hardStop()
	enough, stopSinks := context.WithCancel(now)
	defer stopSinks()
	drain, beginDrain := context.WithCancel(now)
	defer beginDrain()
	feedCtx, stopFeeds := context.WithCancel(ctx)
	defer stopFeeds()

	var appender, proofs sync.WaitGroup
	var appendErr error
	appender.Go(func() {
		if appendErr = b.append(now); appendErr != nil {
			stopFeeds()
			b.intake.close()
		}
	})
	for _, s := range b.opts.Journal.Lost() {
		if err := b.reportLost(ctx, s); err != nil {
			break // ctx is done, or the appender has failed and says so below
		}
	}
	r := &running{feeds: feedCtx, sinks: stages{drain: drain, enough: enough, now: now}}
	b.begin(r)
	proofs.Go(func() { b.keepProofs(feedCtx) })

	<-feedCtx.Done()
	b.draining.Store(true)
	b.mu.Lock()
	b.running = nil // nothing is added any more
	b.mu.Unlock()
	begin := time.Now()
	b.log.Info("stopping: draining", "limit", b.opts.DrainTimeout)
	defer time.AfterFunc(b.opts.DrainTimeout, hardStop).Stop()
	r.feedsDone.Wait()
	proofs.Wait()
	b.intake.close()
	appender.Wait()
	beginDrain()
	defer time.AfterFunc(backlogTime, stopSinks).Stop()
	r.sinksDone.Wait()
	b.log.Info("stopped", "took", time.Since(begin).Round(time.Millisecond), "left_in_journal", b.backlog())
	if appendErr != nil {
		return fmt.Errorf("append to journal: %w", appendErr)
	}
	if now.Err() != nil {
		return fmt.Errorf("drain did not end within %s", b.opts.DrainTimeout)
	}
	return nil
}

// append is the appender: it stores what arrived while the last append was
// under way as one group, at once when idle, until the intake is closed and empty.
func (b *Bridge) append(ctx context.Context) error {
	for {
		group := b.intake.take(ctx, MaxGroupEvents, MaxGroupBytes)
		if group == nil {
			return ctx.Err()
		}
		b.families.add(group)
		bytes := 0
		for i := range group {
			bytes += len(group[i].Raw)
		}
		events := len(group)
		begin := time.Now()
		if err := b.opts.Journal.Append(ctx, group); err != nil {
			return err
		}
		if f := b.opts.Observer.Appended; f != nil {
			f(time.Since(begin), events, bytes)
		}
	}
}

// keepProofs hands the sources' proofs of life to the journal.
func (b *Bridge) keepProofs(ctx context.Context) {
	tick := time.NewTicker(proofInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, u := range b.feedUnits() {
			if s := u.feed.Status(); !s.LastAlive.IsZero() {
				b.opts.Journal.Proof(s.Name, s.LastAlive)
			}
		}
	}
}

// report journals an event of the bridge's own that concerns no single hub.
func (b *Bridge) report(ctx context.Context, topic, object, member string, value any) error {
	return b.own.Put(ctx, NewBridgeEvent(&Source{Origin: OriginBridge, Name: b.opts.Name}, topic, object, "", member, value, time.Now()))
}

// stretch is a run of offsets.
type stretch struct{ first, last uint64 }

// reportLost logs and journals a loss once, however many sinks run into it.
func (b *Bridge) reportLost(ctx context.Context, s Skip) error {
	at := stretch{s.First, s.Last}
	b.mu.Lock()
	known := b.reported[at]
	b.reported[at] = true
	b.mu.Unlock()
	if known {
		return nil
	}
	b.log.Error("journal lost events", "first_offset", s.First, "last_offset", s.Last,
		"events", s.Last-s.First+1, "cause", s.Cause)
	return b.report(ctx, TopicJournalLost, b.opts.Journal.Info().Name, "lost",
		Lost{First: s.First, Last: s.Last, Cause: s.Cause, OldEpoch: s.OldEpoch})
}

func (b *Bridge) backlog() uint64 {
	last, most := b.opts.Journal.Info().Last, uint64(0)
	for _, u := range b.sinkUnits() {
		most = max(most, u.d.state.status(last).LagEvents)
	}
	return most
}

// Status returns a snapshot. It does no I/O and may be called at any time.
func (b *Bridge) Status() Status {
	info := b.opts.Journal.Info()
	s := Status{
		Name: b.opts.Name, Version: b.opts.Version, Started: b.started, Journal: info,
		Families: b.families.snapshot(), Draining: b.draining.Load(),
	}
	s.QueueEvents, s.QueueBytes = b.intake.waiting()
	for _, u := range b.feedUnits() {
		s.Sources = append(s.Sources, u.feed.Status())
	}
	for _, u := range b.sinkUnits() {
		s.Sinks = append(s.Sinks, u.d.state.status(info.Last))
	}
	return s
}
