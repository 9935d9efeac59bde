package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// running is what a running bridge starts new sources and sinks with.
type running struct {
	feeds     context.Context // ends the sources
	sinks     stages          // end the sinks
	feedsDone sync.WaitGroup
	sinksDone sync.WaitGroup
}

// feedUnit is a source and what ends it.
type feedUnit struct {
	feed Feed
	stop context.CancelFunc // nil until it is started
	done chan struct{}      // closed when it has ended; nil until it is started
}

// sinkUnit is a sink's deliverer and what ends it.
type sinkUnit struct {
	d    *deliverer
	stop context.CancelFunc // as of feedUnit
	done chan struct{}
}

// begin starts everything that was added before Run.
func (b *Bridge) begin(r *running) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = r
	for _, u := range b.sinks {
		b.startSink(u)
	}
	for _, u := range b.feeds {
		b.startFeed(u)
	}
}

// startFeed needs b.mu and b.running.
func (b *Bridge) startFeed(u *feedUnit) {
	var ctx context.Context
	ctx, u.stop = context.WithCancel(b.running.feeds)
	u.done = make(chan struct{})
	lane := b.intake.lane()
	b.running.feedsDone.Go(func() {
		defer close(u.done)
		defer u.stop()
		defer lane.close()
		if err := u.feed.Run(ctx, lane); err != nil && ctx.Err() == nil {
			b.log.Error("source stopped", "source", u.feed.Source().Name, "error", err)
		}
	})
}

// startSink needs b.mu and b.running.
func (b *Bridge) startSink(u *sinkUnit) {
	if !u.d.router.Matches(TopicGap) {
		u.d.log.Warn("no route of this sink takes bridge.gap: its consumers will not learn when events may have been missed",
			"hint", `add a route with match: "bridge.>"`)
	}
	st := b.running.sinks
	var stopDrain, stopEnough context.CancelFunc
	st.drain, stopDrain = context.WithCancel(st.drain)
	st.enough, stopEnough = context.WithCancel(st.enough)
	// A sink that is removed settles the batch under way, and no more.
	u.stop = func() { stopEnough(); stopDrain() }
	u.done = make(chan struct{})
	b.running.sinksDone.Go(func() {
		defer close(u.done)
		defer u.stop()
		u.d.run(st)
	})
}

// AddFeed adds a source; when the bridge runs, it is started.
func (b *Bridge) AddFeed(f Feed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := &feedUnit{feed: f}
	b.feeds = append(b.feeds, u)
	if b.running != nil {
		b.startFeed(u)
	}
}

// AddSink adds a sink; when the bridge runs, it is started, and goes on from
// its cursor if it had one. Mistakes in its routes are *RouteError.
func (b *Bridge) AddSink(spec SinkSpec) error {
	router, err := NewRouter(spec.Plan, b.opts.KnownTopics)
	if err != nil {
		return fmt.Errorf("sink %s: %w", spec.Name, err)
	}
	log := b.opts.Log.With("sink", spec.Name)
	d := &deliverer{
		spec: spec, journal: b.opts.Journal, router: router, enc: NewEncoder(b.opts.Journal.Info().ID),
		known: b.opts.KnownTopics, sources: b.sources, log: log, obs: b.opts.Observer, reporter: b,
		state: newSinkState(spec.Name, spec.Type),
	}
	d.cursor = newCursorWriter(b.opts.Journal, spec.Name, log, d.staleCursor)
	b.mu.Lock()
	defer b.mu.Unlock()
	u := &sinkUnit{d: d}
	b.sinks = append(b.sinks, u)
	if b.running != nil {
		b.startSink(u)
	}
	return nil
}

// RemoveFeed ends a source and waits until what it received is handed over,
// or ctx is done.
func (b *Bridge) RemoveFeed(ctx context.Context, name string) error {
	b.mu.Lock()
	i := slices.IndexFunc(b.feeds, func(u *feedUnit) bool { return u.feed.Source().Name == name })
	if i < 0 {
		b.mu.Unlock()
		return fmt.Errorf("there is no source %q", name)
	}
	u := b.feeds[i]
	b.feeds = slices.Delete(b.feeds, i, i+1)
	b.mu.Unlock()
	return ended(ctx, u.stop, u.done)
}

// RemoveSink ends a sink and waits until the batch under way is settled and
// its cursor written, or ctx is done. The cursor stays: a sink of that name
// that is added later goes on there.
func (b *Bridge) RemoveSink(ctx context.Context, name string) error {
	b.mu.Lock()
	i := slices.IndexFunc(b.sinks, func(u *sinkUnit) bool { return u.d.spec.Name == name })
	if i < 0 {
		b.mu.Unlock()
		return fmt.Errorf("there is no sink %q", name)
	}
	u := b.sinks[i]
	b.sinks = slices.Delete(b.sinks, i, i+1)
	b.mu.Unlock()
	return ended(ctx, u.stop, u.done)
}

func ended(ctx context.Context, stop context.CancelFunc, done <-chan struct{}) error {
	if stop == nil {
		return nil // it was never started
	}
	stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Bridge) feedUnits() []*feedUnit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.feeds)
}

func (b *Bridge) sinkUnits() []*sinkUnit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.sinks)
}

// sources returns what the sources are now.
func (b *Bridge) sources() []*Source {
	var out []*Source
	for _, u := range b.feedUnits() {
		out = append(out, u.feed.Source())
	}
	return out
}
