package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

const (
	demoRate     = 4
	demoCount    = 60
	demoPatience = 5 * time.Second
)

func (a *app) demoCommand() *cobra.Command {
	var (
		count uint64
		rate  float64
		keep  bool
	)
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work: a simulated hub, the bridge and its NATS server in one process",
		Long: `Run a simulated hub, the bridge and the embedded NATS server in one process,
show each event as an independent NATS consumer receives it, and compare at the
end what was sent with what arrived. It needs no account and no file.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if count == 0 || rate < 0 {
				return usage(errors.New("--count must be at least 1, --rate at least 0"))
			}
			return a.demo(c.Context(), count, rate, keep)
		},
	}
	c.Flags().Uint64Var(&count, "count", demoCount, "notifications to send")
	c.Flags().Float64Var(&rate, "rate", demoRate, "notifications a second; 0: as fast as they are taken")
	c.Flags().BoolVar(&keep, "keep", false, "go on serving after the last one, until Ctrl-C, so that you can subscribe")
	return c
}

// demo runs the whole path and reports what was lost: 0, or it fails.
func (a *app) demo(ctx context.Context, count uint64, rate float64, keep bool) error {
	dir, err := os.MkdirTemp("", "cycle-bridge-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	sim := hubsim.New(hubsim.Options{
		Rate: rate, Count: count, MinConnections: 1, Objects: 60, Numbered: true, Seed: uint64(time.Now().UnixNano()),
	})
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	simCtx, stopSim := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- sim.Serve(simCtx, ln) }()
	defer func() { stopSim(); _ = <-served }()

	p, err := openProcess(ctx, demoConfig(dir, sim, ln.Addr().String()), discardLogger())
	if err != nil {
		return err
	}
	defer p.close(ctx)
	// Ctrl-C stops the simulated hub first, so that the account is square.
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- p.run(runCtx) }()

	d := demo{app: a, palette: newPalette(terminalWidth(a.out) > 0), width: terminalWidth(a.out), url: "nats://" + p.server.Addr(), sim: sim, want: count}
	d.intro(filepath.Base(dir))
	sim.Start()
	err = d.watch(ctx)
	d.summary(keep && err == nil)
	if keep && err == nil && ctx.Err() == nil {
		<-ctx.Done()
	}
	stop()
	if err := errors.Join(err, <-ran); err != nil {
		return err
	}
	if d.lost() > 0 {
		return &silentError{exitFailed}
	}
	return nil
}

// demoConfig is a bridge on the simulated hub, with ports that are free.
func demoConfig(dir string, sim *hubsim.Server, addr string) *config.Config {
	cfg := config.Defaults()
	h := hub.Defaults()
	h.Name, h.ID, h.APIKey, h.APIURL = "demo", sim.HubID(), setting.NewSecret(sim.APIKey()), "http://"+addr
	cfg.Hubs = []hub.Config{h}
	cfg.Journal.Dir = dir
	cfg.Journal.MaxBytes, cfg.NATS.Stream.MaxBytes = 256<<20, 256<<20
	cfg.NATS.Listen = "127.0.0.1:4222"
	if !free(cfg.NATS.Listen) {
		cfg.NATS.Listen = "127.0.0.1:0"
	}
	cfg.HTTP.Listen = ""
	cfg.Sinks = []config.Sink{embeddedSink()}
	return &cfg
}

// free reports whether a port can be listened on now.
func free(addr string) bool {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// demo shows what an independent consumer receives.
type demo struct {
	*app
	palette
	width     int
	url       string
	sim       *hubsim.Server
	want      uint64
	received  uint64
	doubled   uint64
	took      time.Duration
	seen      map[string]bool
	lastEvent string
}

func (d *demo) intro(dir string) {
	fmt.Fprintf(d.out, "%s  a simulated hub  →  journal (fsync)  →  NATS stream CYCLE at %s\n", d.bold("cycle-bridge demo"), d.url)
	fmt.Fprintf(d.out, "%s\n\n", d.dim("data in a temporary directory ("+dir+"), removed at the end; Ctrl-C ends it"))
	fmt.Fprintf(d.out, "%s\n", d.dim(pad("FROM THE HUB", topicWidth)+"  "+pad("STATE", stateWidth)+"     SUBJECT A CONSUMER READS"))
}

// watch consumes the stream over TCP, without credentials, as any client
// would, until everything that was sent has arrived or nothing comes any more.
func (d *demo) watch(ctx context.Context) error {
	nc, err := nats.Connect(d.url, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {
		// At its end an ordered consumer asks for its own removal, which a
		// reader without credentials may not do; the server removes it by itself.
	}))
	if err != nil {
		return fmt.Errorf("connect as a consumer: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.OrderedConsumer(context.WithoutCancel(ctx), "CYCLE", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"cycle.>"}})
	if err != nil {
		return fmt.Errorf("consume the stream CYCLE: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("consume the stream CYCLE: %w", err)
	}
	defer messages.Stop()
	d.seen = make(map[string]bool)
	begin := time.Now()
	defer func() { d.took = time.Since(begin) }()
	quiet := time.Now()
	for stopped := false; d.received < d.want; {
		if ctx.Err() != nil && !stopped {
			stopped = true
			d.sim.Stop()
			d.want = d.sim.Counters().Sent
			continue
		}
		m, err := messages.Next(jetstream.NextMaxWait(time.Second))
		switch {
		case err == nil:
			quiet = time.Now()
			d.show(m)
		case !errors.Is(err, nats.ErrTimeout):
			return fmt.Errorf("consume the stream CYCLE: %w", err)
		case d.sim.Counters().Sent >= d.want && time.Since(quiet) > demoPatience:
			return nil // everything was sent, and for a while nothing more has come
		}
	}
	return nil
}

func (d *demo) show(m jetstream.Msg) {
	h := m.Headers()
	topic := h.Get("Cycle-Topic")
	if strings.HasPrefix(topic, "bridge.") {
		return
	}
	id := h.Get("Cycle-Event-Id")
	if d.seen[id] {
		d.doubled++
		return
	}
	d.seen[id] = true
	d.received++
	d.lastEvent = h.Get("Cycle-Object-Id")
	subject := m.Subject()
	if d.width > 0 && topicWidth+stateWidth+7+len(subject) > d.width {
		subject = shortSubject(subject)
	}
	fmt.Fprintf(d.out, "%s  %s  →  %s\n", pad(topic, topicWidth), pad(state(m.Data()), stateWidth), d.good(subject))
}

func (d *demo) lost() uint64 { return d.sim.Counters().Sent - min(d.received, d.sim.Counters().Sent) }

func (d *demo) summary(keeps bool) {
	sent := d.sim.Counters().Sent
	verdict := d.good("lost 0")
	if n := d.lost(); n > 0 {
		verdict = d.bad(fmt.Sprintf("lost %d", n))
	}
	fmt.Fprintf(d.out, "\n%s  sent %d · received %d · doubled %d · %s · in %s\n\n", d.bold("What arrived"), sent, d.received, d.doubled, verdict, d.took.Round(100*time.Millisecond))
	if keeps {
		fmt.Fprintf(d.out, "Still serving, until Ctrl-C. In another terminal:\n")
	} else {
		fmt.Fprintf(d.out, "To subscribe yourself, run it again with --keep, or run the bridge, and in another terminal:\n")
	}
	fmt.Fprintf(d.out, "  nats --server %s sub 'cycle.>'                                everything\n", d.url)
	fmt.Fprintf(d.out, "  nats --server %s sub 'cycle.*.%s.>'  one object\n", d.url, d.lastEvent)
	fmt.Fprintf(d.out, "  nats --server %s sub 'cycle.*.*.container.>'                  one family\n\n", d.url)
	fmt.Fprintf(d.out, "With your own hub:  CYCLE_API_KEY=... CYCLE_HUB_ID=... cycle-bridge run\n")
}

const (
	topicWidth = 34
	stateWidth = 22
)

// shortSubject shortens the ids of hub and object, for a narrow terminal.
func shortSubject(subject string) string {
	tokens := strings.Split(subject, ".")
	for i := range tokens {
		if (i == 1 || i == 2) && len(tokens[i]) > 8 {
			tokens[i] = tokens[i][:2] + "…" + tokens[i][len(tokens[i])-4:]
		}
	}
	return strings.Join(tokens, ".")
}

func pad(s string, n int) string {
	if len(s) > n {
		return s[:n-1] + "…"
	}
	return s + strings.Repeat(" ", n-len(s))
}

// state shows what happened to the object, where the notification says it.
func state(raw []byte) string {
	note, err := bridge.ParseNotification(raw)
	if err != nil {
		return ""
	}
	now, before := string(note.Field(bridge.FieldState)), string(note.Field(bridge.FieldStatePrevious))
	switch {
	case now == "" && len(note.Field(bridge.FieldError)) > 0:
		return "error"
	case before == "":
		return now
	}
	return before + " > " + now
}
