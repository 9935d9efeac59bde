package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks"
	"github.com/cycle-bridge/cycle-bridge/sinks/jetstream"
)

// probeTimeout bounds the probe of one part.
const probeTimeout = 30 * time.Second

func (a *app) checkCommand() *cobra.Command {
	var probe, quiet bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration; --probe also tries hub, journal and every sink",
		Long: `Validate the configuration and print it resolved, secrets redacted. Everything
that is wrong is reported at once.

--probe also tries every part: the hub's token, upgrade, ping and close; the
server of journal.url; every sink. It writes nothing anywhere and takes no id
and no lock, so it can run beside a running bridge.`,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				printMistakes(a.err, err)
				return &silentError{exitUsage}
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintf(a.err, "warning: %s\n", w.String())
			}
			if !quiet {
				if err := cfg.Print(a.out); err != nil {
					return err
				}
			}
			fmt.Fprintf(a.err, "%s: valid\n", configName(cfg))
			if !probe {
				return nil
			}
			return a.probe(c.Context(), cfg)
		},
	}
	c.Flags().BoolVar(&probe, "probe", false, "also try hub, journal and every sink")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "do not print the configuration")
	return c
}

// probe tries every part and reports each; it fails when any does.
func (a *app) probe(ctx context.Context, cfg *config.Config) error {
	p := newPalette(terminalWidth(a.out) > 0)
	failed := 0
	report := func(part, detail string, took time.Duration, err error) {
		if err != nil {
			failed++
			fmt.Fprintf(a.out, "%s  %s: %v\n", p.bad("fail"), part, err)
			return
		}
		fmt.Fprintf(a.out, "%s    %s  %s %s\n", p.good("ok"), part, detail, p.dim(took.Round(time.Millisecond).String()))
	}
	try := func(part string, do func(context.Context) (string, error)) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		begin := time.Now()
		detail, err := do(ctx)
		report(part, detail, time.Since(begin), err)
	}
	for _, h := range cfg.Hubs {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		steps, err := hub.Probe(ctx, h, hub.Options{Version: buildVersion()})
		cancel()
		if err != nil && len(steps) == 0 {
			report("hub "+h.Name, "", 0, err)
		}
		for _, s := range steps {
			report("hub "+h.Name+" "+s.Name, s.Detail, s.Took, s.Err)
		}
	}
	try("journal", func(ctx context.Context) (string, error) { return probeJournal(ctx, cfg) })
	process := &process{cfg: cfg, log: discardLogger()}
	for _, s := range cfg.Sinks {
		try("sink "+s.Name, func(ctx context.Context) (string, error) {
			typ, ok := sinks.ByName(s.Type)
			if !ok {
				return "", fmt.Errorf("unknown type %q", s.Type)
			}
			if usesEmbedded(s) {
				return "the embedded server; it runs with the bridge", nil
			}
			return s.Type, typ.Probe(ctx, s.Config.(sinks.Config), process.env(s.Name))
		})
	}
	if failed > 0 {
		fmt.Fprintf(a.out, "%d failed\n", failed)
		return &silentError{exitFailed}
	}
	return nil
}

// usesEmbedded reports whether a sink writes the embedded server.
func usesEmbedded(s config.Sink) bool {
	js, ok := s.Config.(*jetstream.Config)
	return ok && js.IsEmbedded()
}

// probeJournal tries the server of journal.url, or the data directory.
func probeJournal(ctx context.Context, cfg *config.Config) (string, error) {
	c := cfg.Journal.Config
	if c.URL == "" {
		return probeDir(c.Dir)
	}
	nc, err := c.Config.Connect(ctx, "cycle-bridge check")
	if err != nil {
		return "", err
	}
	defer nc.Close()
	js, err := c.Config.JetStream(nc)
	if err != nil {
		return "", err
	}
	info, err := js.AccountInfo(ctx)
	if err != nil {
		return "", natsconn.Classify("journal account", err)
	}
	return fmt.Sprintf("JetStream of %s, %d streams", nc.ConnectedServerName(), info.Streams), nil
}

// probeDir looks at the data directory and changes nothing.
func probeDir(dir string) (string, error) {
	free, _, err := natsserver.Space(existing(dir))
	if err != nil {
		return "", err
	}
	if err := unix.Access(existing(dir), unix.W_OK|unix.X_OK); err != nil {
		return "", bridge.Errorf(bridge.KindMisconfigured, "journal.dir", "%s cannot be written: %w", existing(dir), err)
	}
	return fmt.Sprintf("%s, %s free", dir, setting.Size(free>>20<<20)), nil
}

// existing returns the nearest directory above dir that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
