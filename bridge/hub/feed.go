package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// dialsPerSecond of a Budget, so that thousands of hubs do not stampede.
const dialsPerSecond = 20

// Budget limits how often all Feeds that share it dial, to 20 a second. It
// may be used concurrently.
type Budget struct{ limiter *rate.Limiter }

// NewBudget returns a full Budget. A process needs one.
func NewBudget() *Budget {
	return &Budget{rate.NewLimiter(dialsPerSecond, dialsPerSecond)}
}

func (b *Budget) wait(ctx context.Context) error { return b.limiter.Wait(ctx) }

// Options are what a Feed gets besides its configuration. The zero value works.
type Options struct {
	Log     *slog.Logger // default none
	Version string       // for the User-Agent; default "dev"
	Budget  *Budget      // shared by all Feeds of a process; default one of its own
	Timings Timings      // zero members get their defaults
	// DialContext replaces the network, for tests.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Budget == nil {
		o.Budget = NewBudget()
	}
	o.Timings = o.Timings.withDefaults()
	return o
}

// Feed is a running source of a hub's notifications. Its methods may be
// called concurrently, Run once.
type Feed struct {
	cfg      Config
	timings  Timings
	source   *bridge.Source
	log      *slog.Logger
	warn     *warner
	budget   *Budget
	dialer   *dialer
	warnings []string
	stats    stats
	numbers  atomic.Uint32 // connection numbers, counting up for the life of the Feed
	running  atomic.Bool
}

var _ bridge.Feed = (*Feed)(nil)

// New returns a Feed that does nothing until Run. It reports everything that
// is wrong with cfg; the Mistakes are in the chain.
func New(cfg Config, o Options) (*Feed, error) {
	var errs []error
	for _, m := range cfg.Validate() {
		errs = append(errs, m)
	}
	o = o.withDefaults()
	var d *dialer
	if errs == nil {
		var err error
		if d, err = newDialer(cfg, o); err != nil {
			errs = append(errs, err)
		}
	}
	if errs != nil {
		return nil, &bridge.Error{Op: fmt.Sprintf("hub %q", cfg.Name), Kind: bridge.KindMisconfigured, Err: errors.Join(errs...)}
	}
	log := o.Log.With("hub", cfg.Name)
	f := &Feed{
		cfg: cfg, timings: o.Timings, log: log, budget: o.Budget, dialer: d,
		source:   &bridge.Source{Origin: bridge.OriginHub, ID: cfg.ID, Name: cfg.Name},
		warn:     newWarner(log, o.Timings.Repeat),
		warnings: cfg.Warnings(),
	}
	f.stats.link.Store(&link{since: time.Now(), problem: "it has not connected yet"})
	return f, nil
}

// Source returns what all events of the Feed refer to.
func (f *Feed) Source() *bridge.Source { return f.source }

// Warnings returns what is allowed and yet probably not meant, as sentences.
func (f *Feed) Warnings() []string { return f.warnings }

// Run connects, reconnects for ever, and hands every message to in. When ctx
// is done it sends a close frame, goes on reading until the hub answers it
// (2 s at most), hands over what it has read, and returns nil. The context of
// Put outlives ctx by up to Timings.HandOver, so that a full inlet does not
// cost the last events. It returns an error only when in fails.
func (f *Feed) Run(ctx context.Context, in bridge.Inlet) error {
	if f.running.Swap(true) {
		return errors.New("the feed was started already")
	}
	for _, w := range f.warnings {
		f.log.Warn("configuration is doubtful", "text", w)
	}
	put, stop := context.WithCancel(context.WithoutCancel(ctx))
	var after sync.WaitGroup
	after.Go(func() {
		select {
		case <-ctx.Done():
			_ = bridge.Sleep(put, f.timings.HandOver) // ends early when Run returns
			stop()
		case <-put.Done():
		}
	})
	defer after.Wait()
	defer stop()
	defer f.dialer.close()
	l := &line{feed: f, backoff: bridge.Backoff{Base: f.timings.RetryBase, Max: f.timings.RetryMax}}
	return l.run(ctx, put, direct{in})
}
