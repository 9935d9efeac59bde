package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

func (a *app) simulateCommand() *cobra.Command {
	var (
		o      hubsim.Options
		listen string
		match  []string
		quiet  bool
		wait   bool
	)
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Serve a hub that speaks Cycle's protocol, with faults on demand",
		Long: fmt.Sprintf(`Serve a hub that speaks Cycle's protocol: a token, then the upgrade, then
notifications. Faults come by request, from this machine only:

  curl -X POST 'http://127.0.0.1:9000%s?kind=drop'
  curl -X POST 'http://127.0.0.1:9000%s?kind=close&code=1012'
  curl -X POST 'http://127.0.0.1:9000%s?kind=token-status&code=429&retry_after=3'
  curl http://127.0.0.1:9000%s            the kinds, and the totals so far

Kinds: %s.`, hubsim.FaultPath, hubsim.FaultPath, hubsim.FaultPath, hubsim.FaultPath, strings.Join(hubsim.FaultKinds(), ", ")),
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := matchTopics(match)
			if err != nil {
				return err
			}
			o.Topics = list
			log, err := newLogger(a.err, config.Log{Level: "info", Format: "auto"}, terminalWidth(a.err) > 0)
			if err != nil {
				return err
			}
			if !quiet {
				o.Log = log
			}
			return a.simulate(c.Context(), o, listen, wait, log)
		},
	}
	f := c.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:9000", "address to listen on")
	f.StringVar(&o.HubID, "hub", hubsim.DefaultHubID, "hub id that clients must name")
	f.StringVar(&o.APIKey, "api-key", "sim-key", "API key that clients must show")
	f.Float64Var(&o.Rate, "rate", 1, "notifications a second; 0: as fast as the clients read")
	f.Uint64Var(&o.Count, "count", 0, "stop sending after so many notifications; 0: never")
	f.IntVar(&o.MinConnections, "wait", 0, "send only while so many clients are connected")
	f.IntVar(&o.Objects, "objects", 500, "number of objects")
	f.StringSliceVar(&match, "topics", nil, "patterns of the topics to send; default a mix of common ones")
	f.Uint64Var(&o.Seed, "seed", 1, "seed: the same seed sends the same notifications")
	f.IntVar(&o.Size, "size", 400, "least size of a notification in bytes")
	f.BoolVar(&o.Numbered, "numbered", false, "number the notifications in their annotations (sim_seq, sim_at)")
	f.BoolVar(&o.WriteEach, "write-each", false, "write every notification with a call of its own, as a server does that sends each when it happens")
	f.DurationVar(&o.TokenTTL, "token-ttl", 15*time.Second, "how long a token may wait for its upgrade")
	f.StringVar(&o.Address, "address", "", "also answer data.address: self, or an address")
	f.BoolVar(&o.StrictUpgrade, "strict-upgrade", false, "refuse an upgrade with the token alone")
	f.Float64Var(&o.FaultRate, "fault-rate", 0, "random faults a second")
	f.StringSliceVar(&o.FaultKinds, "faults", nil, "kinds of random faults; default those that a healthy client survives")
	f.BoolVar(&quiet, "quiet", false, "log nothing but the start")
	f.BoolVar(&wait, "start-on-stdin", false, "begin to send when a line comes on standard input")
	return c
}

// matchTopics lists the known topics that match any of the patterns.
func matchTopics(patterns []string) ([]string, error) {
	var out []string
	for _, p := range patterns {
		m, err := bridge.ParsePattern(p)
		if err != nil {
			return nil, usage(fmt.Errorf("--topics: %w", err))
		}
		before := len(out)
		for _, t := range topics.Names() {
			if m.Match([]byte(t)) && !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
		if len(out) == before {
			return nil, usage(fmt.Errorf("--topics: no known topic matches %q", p))
		}
	}
	return out, nil
}

func (a *app) simulate(ctx context.Context, o hubsim.Options, listen string, wait bool, log *slog.Logger) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	sim := hubsim.New(o)
	log.Info("simulated hub", "url", "http://"+ln.Addr().String(), "try",
		fmt.Sprintf("CYCLE_API_KEY=%s CYCLE_HUB_ID=%s CYCLE_API_URL=http://%s cycle-bridge run", sim.APIKey(), sim.HubID(), ln.Addr()))
	if wait {
		go func() { // ends with the process: a read of standard input cannot be interrupted
			if _, err := bufio.NewReader(a.in).ReadString('\n'); err == nil {
				sim.Start()
			}
		}()
	} else {
		sim.Start()
	}
	err = sim.Serve(ctx, ln)
	n := sim.Counters()
	log.Info("simulated hub stopped", "sent", n.Sent, "connections", n.Opened, "faults", n.Faults)
	return err
}
