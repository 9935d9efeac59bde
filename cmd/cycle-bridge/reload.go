package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
)

// unitTimeout bounds the end of one source or sink in a reload.
const unitTimeout = 15 * time.Second

// reloadOnHangup reads the configuration anew at every SIGHUP until ctx is done.
func (p *process) reloadOnHangup(ctx context.Context, load func() (*config.Config, error)) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			p.reload(ctx, load)
		case <-ctx.Done():
			return
		}
	}
}

// reload applies what has changed in hubs, sinks and routes. A configuration
// with a mistake changes nothing.
func (p *process) reload(ctx context.Context, load func() (*config.Config, error)) {
	cfg, err := load()
	if err != nil {
		p.metrics.SetConfig(p.cfg.Hash(), false)
		p.log.Error("configuration not reloaded, nothing has changed", "error", err)
		return
	}
	for _, part := range fixedParts(p.cfg, cfg) {
		p.log.Warn("this part of the configuration has changed and takes effect at the next start", "part", part)
	}
	hubs, sinks := p.reloadHubs(ctx, cfg), p.reloadSinks(ctx, cfg)
	// What needs a restart is still as it was.
	applied := *p.cfg
	applied.Hubs, applied.Sinks = cfg.Hubs, cfg.Sinks
	p.cfg = &applied
	p.metrics.SetConfig(cfg.Hash(), true)
	p.log.Info("configuration reloaded", "hubs_changed", hubs, "sinks_changed", sinks)
}

// fixedParts names what differs and cannot change while the bridge runs.
func fixedParts(old, cfg *config.Config) []string {
	var out []string
	for _, part := range []struct {
		name     string
		old, new any
	}{
		{"journal", old.Journal, cfg.Journal},
		{"nats", old.NATS, cfg.NATS},
		{"http", old.HTTP, cfg.HTTP},
		{"log", old.Log, cfg.Log},
		{"shutdown_timeout", old.ShutdownTimeout, cfg.ShutdownTimeout},
	} {
		if !reflect.DeepEqual(part.old, part.new) {
			out = append(out, part.name)
		}
	}
	return out
}

// reloadHubs ends the sources whose hub has gone or changed and starts those
// that are new or changed. It returns the names, + and - for each.
func (p *process) reloadHubs(ctx context.Context, cfg *config.Config) []string {
	var done []string
	now := byName(cfg.Hubs, func(h hub.Config) string { return h.Name })
	before := byName(p.cfg.Hubs, func(h hub.Config) string { return h.Name })
	for _, h := range p.cfg.Hubs {
		if next, ok := now[h.Name]; !ok || !reflect.DeepEqual(h, next) {
			p.end(ctx, "source", h.Name, p.bridge.RemoveFeed)
			done = append(done, "-"+h.Name)
		}
	}
	for _, h := range cfg.Hubs {
		if old, ok := before[h.Name]; ok && reflect.DeepEqual(h, old) {
			continue
		}
		f, err := hub.New(h, p.hubOptions())
		if err != nil {
			p.log.Error("hub not started", "hub", h.Name, "error", err)
			continue
		}
		p.bridge.AddFeed(f)
		done = append(done, "+"+h.Name)
	}
	return done
}

// reloadSinks does the same for sinks. A sink that has changed goes on from
// its cursor.
func (p *process) reloadSinks(ctx context.Context, cfg *config.Config) []string {
	var done []string
	name := func(s config.Sink) string { return s.Name }
	now, before := byName(cfg.Sinks, name), byName(p.cfg.Sinks, name)
	for _, s := range p.cfg.Sinks {
		next, ok := now[s.Name]
		if ok && reflect.DeepEqual(s, next) {
			continue
		}
		p.end(ctx, "sink", s.Name, p.bridge.RemoveSink)
		if !ok {
			p.metrics.ForgetSink(s.Name)
		}
		done = append(done, "-"+s.Name)
	}
	for _, s := range cfg.Sinks {
		if old, ok := before[s.Name]; ok && reflect.DeepEqual(s, old) {
			continue
		}
		spec, err := p.sinkSpec(s)
		if err == nil {
			err = p.bridge.AddSink(spec)
		}
		if err != nil {
			p.log.Error("sink not started", "sink", s.Name, "error", err)
			continue
		}
		done = append(done, "+"+s.Name)
	}
	return done
}

func (p *process) end(ctx context.Context, kind, name string, remove func(context.Context, string) error) {
	ctx, cancel := context.WithTimeout(ctx, unitTimeout)
	defer cancel()
	if err := remove(ctx, name); err != nil {
		p.log.Error("it did not end in time", "kind", kind, "name", name, "error", fmt.Sprint(err))
	}
}

func byName[T any](list []T, name func(T) string) map[string]T {
	out := make(map[string]T, len(list))
	for _, v := range list {
		out[name(v)] = v
	}
	return out
}
