package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
)

func (a *app) runCommand() *cobra.Command {
	var data, profiles string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the bridge; Ctrl-C drains, a second one quits",
		Long: `Run the bridge until SIGINT or SIGTERM, then drain: the hub is read to the last
moment, what was received is stored, what is on its way is settled. SIGHUP reads
hubs, sinks and routes anew; a file with a mistake changes nothing.

Without a configuration file the hub comes from CYCLE_API_KEY and CYCLE_HUB_ID
(and CYCLE_API_URL for a custom core), and events go to the embedded NATS
server's stream CYCLE on nats://127.0.0.1:4222.`,
		RunE: func(c *cobra.Command, _ []string) error {
			var flags []config.Flag
			if c.Flags().Changed("data") {
				flags = append(flags, config.Flag{Name: "--data", Key: "journal.dir", Value: data})
			}
			load := func() (*config.Config, error) { return a.load(flags...) }
			if profiles == "" {
				return a.run(c.Context(), load)
			}
			stop, err := profile(profiles)
			if err != nil {
				return err
			}
			return errors.Join(a.run(c.Context(), load), stop())
		},
	}
	c.Flags().StringVar(&data, "data", "", "data directory (journal.dir)")
	c.Flags().StringVar(&profiles, "profile", "", "write a CPU profile and a heap profile into this directory")
	return c
}

func (a *app) run(ctx context.Context, load func() (*config.Config, error)) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	live := newLiveLine(a.err)
	terminal := live.cols() > 0
	log, err := newLogger(live, cfg.Log, terminal)
	if err != nil {
		return usage(err)
	}
	log.Info("cycle-bridge starts", "version", buildVersion(), "config", configName(cfg))
	logWarnings(log, cfg)
	p, err := openProcess(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer p.close(ctx)
	p.logReady(log)

	watchCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	beside.Go(func() {
		w := watcher{process: p, log: log, now: time.Now}
		if terminal {
			w.live = live
		}
		w.run(watchCtx)
	})
	beside.Go(func() { p.reloadOnHangup(watchCtx, load) })
	err = p.run(ctx)
	stop()
	beside.Wait()
	live.set("")
	return err
}

func configName(cfg *config.Config) string {
	if cfg.File == "" {
		return "CYCLE_* environment variables"
	}
	return cfg.File
}

// logReady says where events can be read.
func (p *process) logReady(log *slog.Logger) {
	if p.server != nil && p.server.Addr() != "" {
		log.Info("NATS clients can connect", "url", "nats://"+p.server.Addr(), "stream", "CYCLE",
			"try", "nats --server nats://"+p.server.Addr()+" sub 'cycle.>'")
	}
	if p.http != nil {
		log.Info("status page", "url", "http://"+p.http.Addr().String())
	}
}

const (
	liveInterval = time.Second
	// quietAfter is when a bridge that is connected and has seen nothing says
	// that this is normal. Most first starts are in a hub where nothing happens.
	quietAfter = 60 * time.Second
)

// watcher keeps the live line, and tells once that quiet is normal.
type watcher struct {
	*process
	log   *slog.Logger
	live  *liveLine // nil when there is no terminal
	now   func() time.Time
	rate  rate
	told  bool
	since time.Time // since when every source is connected
}

func (w *watcher) run(ctx context.Context) {
	tick := time.NewTicker(liveInterval)
	defer tick.Stop()
	for {
		w.look(w.bridge.Status(), w.now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) look(s bridge.Status, now time.Time) {
	var events uint64
	connected := len(s.Sources) > 0
	for _, src := range s.Sources {
		events += src.Events
		connected = connected && src.Connections > 0
	}
	if w.live != nil {
		w.live.set(statusLine(s, w.rate.next(events, now), now))
	}
	w.tellQuiet(s, events, connected, now)
}

func (w *watcher) tellQuiet(s bridge.Status, events uint64, connected bool, now time.Time) {
	switch {
	case w.told:
		return
	case events > 0:
		w.told = true
		return
	case !connected:
		w.since = time.Time{}
		return
	case w.since.IsZero():
		w.since = now
		return
	case now.Sub(w.since) < quietAfter:
		return
	}
	w.told = true
	var hubs []string
	for _, src := range s.Sources {
		filter := src.Filter
		if filter == "" {
			filter = "none"
		}
		hubs = append(hubs, fmt.Sprintf("%s (%s, filters: %s)", src.Name, src.ID, filter))
	}
	w.log.Info("connected, and no event yet: a quiet hub is normal",
		"to_see_one", "restart or stop a container of the hub in the Cycle portal", "hubs", strings.Join(hubs, ", "))
}
