package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/admin"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
	"github.com/cycle-bridge/cycle-bridge/bridge/jetjournal"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
	"github.com/cycle-bridge/cycle-bridge/sinks"
)

// process is a wired bridge: the embedded server, the journal, the sources,
// the sinks and the HTTP server of one configuration.
type process struct {
	cfg      *config.Config
	log      *slog.Logger
	server   *natsserver.Server // nil with journal.url
	journal  *jetjournal.Journal
	feeds    []*hub.Feed
	budget   *hub.Budget
	metrics  *admin.Metrics
	bridge   *bridge.Bridge
	http     *admin.Server // nil when it is closed
	maxBytes uint64        // of the journal; 0: unknown
	closings []closing     // last in, first out
}

type closing struct {
	name string
	do   func(context.Context) error
}

// openProcess starts everything but the flow of events. What it started is
// stopped again when it fails.
func openProcess(ctx context.Context, cfg *config.Config, log *slog.Logger) (p *process, err error) {
	p = &process{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			p.close(ctx)
		}
	}()
	if err := p.openJournal(ctx); err != nil {
		return p, err
	}
	if err := p.openFeeds(); err != nil {
		return p, err
	}
	p.metrics = admin.NewMetrics(admin.MetricsOptions{
		Status: func() bridge.Status { return p.bridge.Status() }, Retention: p.retention, Version: buildVersion(),
	})
	p.metrics.SetConfig(cfg.Hash(), true)
	if err := p.openBridge(p.metrics.Observer()); err != nil {
		return p, err
	}
	if cfg.HTTP.Listen == "" {
		return p, nil
	}
	p.http, err = admin.New(ctx, cfg.HTTP, admin.Options{Status: p.bridge.Status, Metrics: p.metrics.Handler(), Log: log})
	if err != nil {
		return p, err
	}
	p.onClose("http", func(context.Context) error { return p.http.Close() })
	return p, nil
}

func (p *process) openJournal(ctx context.Context) error {
	c := p.cfg.Journal.Config
	if c.URL == "" {
		opts, err := p.serverOptions()
		if err != nil {
			return err
		}
		if p.server, err = natsserver.Start(ctx, opts); err != nil {
			return err
		}
		p.onClose("embedded server", p.server.Shutdown)
	}
	j, err := jetjournal.Open(ctx, jetjournal.Options{Config: c, Server: p.server, Log: p.log})
	if err != nil {
		return err
	}
	p.journal = j
	p.onClose("journal", j.Close)
	for _, w := range j.Warnings() {
		p.log.Warn("journal", "warning", w)
	}
	info := j.Info()
	state := "found"
	if info.New {
		state = "new"
	}
	p.log.Info("journal open", "where", info.Where, "journal", state, "journal_id", info.ID,
		"epoch", info.Epoch, "next_offset", info.Last+1)
	return nil
}

// retention is what the journal keeps.
func (p *process) retention() admin.Retention {
	return admin.Retention{MaxAge: p.cfg.Journal.MaxAge, MaxBytes: p.maxBytes}
}

// serverOptions resolves the sizes that are "auto".
func (p *process) serverOptions() (natsserver.Options, error) {
	c := p.cfg
	if err := os.MkdirAll(c.Journal.Dir, 0o700); err != nil {
		return natsserver.Options{}, fmt.Errorf("journal.dir: %w", err)
	}
	if w := diskWarning(c.Journal.Dir); w != "" {
		p.log.Warn("journal", "warning", w, "dir", c.Journal.Dir)
	}
	if err := errors.Join(
		checkRetention(c.Journal.Dir, "journal.max_bytes", c.Journal.MaxBytes),
		checkRetention(c.Journal.Dir, "nats.stream.max_bytes", c.NATS.Stream.MaxBytes),
	); err != nil {
		return natsserver.Options{}, err
	}
	journalMax, err := natsserver.MaxBytes(c.Journal.Dir, c.Journal.MaxBytes)
	if err != nil {
		return natsserver.Options{}, fmt.Errorf("journal.max_bytes: %w", err)
	}
	p.maxBytes = uint64(journalMax)
	streamMax, err := natsserver.MaxBytes(c.Journal.Dir, c.NATS.Stream.MaxBytes)
	if err != nil {
		return natsserver.Options{}, fmt.Errorf("nats.stream.max_bytes: %w", err)
	}
	return natsserver.Options{
		Dir: c.Journal.Dir, Config: c.NATS, EncryptionKey: c.Journal.EncryptionKey,
		JournalMaxBytes: journalMax, CycleMaxBytes: streamMax, Log: p.log,
	}, nil
}

func (p *process) openFeeds() error {
	p.budget = hub.NewBudget()
	var errs []error
	for _, c := range p.cfg.Hubs {
		f, err := hub.New(c, p.hubOptions())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.feeds = append(p.feeds, f)
	}
	return errors.Join(errs...)
}

func (p *process) hubOptions() hub.Options {
	return hub.Options{Log: p.log, Version: buildVersion(), Budget: p.budget}
}

func (p *process) openBridge(obs bridge.Observer) error {
	opts := bridge.Options{
		Name: p.cfg.Journal.StreamName(), Version: buildVersion(), Journal: p.journal, KnownTopics: knownTopics(),
		Log: p.log, Observer: obs, DrainTimeout: p.cfg.ShutdownTimeout,
	}
	for _, f := range p.feeds {
		opts.Feeds = append(opts.Feeds, f)
	}
	for _, s := range p.cfg.Sinks {
		spec, err := p.sinkSpec(s)
		if err != nil {
			return err
		}
		opts.Sinks = append(opts.Sinks, spec)
	}
	var err error
	p.bridge, err = bridge.New(opts)
	return err
}

// knownTopics are all topics that destinations are checked for.
func knownTopics() []string { return append(topics.Names(), bridge.OwnTopics()...) }

func (p *process) sinkSpec(s config.Sink) (bridge.SinkSpec, error) {
	typ, ok := sinks.ByName(s.Type)
	if !ok {
		return bridge.SinkSpec{}, fmt.Errorf("sink %s: unknown type %q", s.Name, s.Type)
	}
	cfg := s.Config.(sinks.Config)
	return bridge.SinkSpec{
		Name: s.Name, Type: s.Type, Plan: cfg.Plan(),
		Open: func(ctx context.Context) (bridge.Sink, error) { return typ.Open(ctx, cfg, p.env(s.Name)) },
	}, nil
}

// env is what a sink gets from this process.
func (p *process) env(sink string) bridge.Env {
	e := bridge.Env{Name: sink, Version: buildVersion(), Log: p.log.With("sink", sink)}
	if p.journal != nil {
		e.JournalID = p.journal.Info().ID
	}
	if p.server != nil {
		e.Embedded = p.server.Cycle()
	}
	return e
}

// run moves events until ctx is done, and drains.
func (p *process) run(ctx context.Context) error {
	if p.http == nil {
		return p.bridge.Run(ctx)
	}
	// The HTTP server lives as long as the drain, so that it can be watched.
	httpCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- p.http.Run(httpCtx) }()
	err := p.bridge.Run(ctx)
	stop()
	return errors.Join(err, <-done)
}

func (p *process) onClose(name string, do func(context.Context) error) {
	p.closings = append(p.closings, closing{name, do})
}

// close stops what was started, the last first.
func (p *process) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.ShutdownTimeout)
	defer cancel()
	for _, v := range slices.Backward(p.closings) {
		if err := v.do(ctx); err != nil {
			p.log.Warn("closing failed", "part", v.name, "error", err)
		}
	}
	p.closings = nil
}

// logWarnings tells what the configuration is odd about.
func logWarnings(log *slog.Logger, cfg *config.Config) {
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "warning", w.String())
	}
}

// discardLogger drops everything.
func discardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
