package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
	"github.com/cycle-bridge/cycle-bridge/sinks"
)

// maxRouteInput bounds what route reads.
const maxRouteInput = 1 << 20

func (a *app) routeCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "route [NOTIFICATION|TOPIC|FILE|-]",
		Short: "Tell where a notification would go, and why",
		Long: `Tell for a notification which rule of each sink takes it, the destination, the
key and the headers. The notification is JSON on the command line, a file, or
standard input (-); a bare topic stands for a notification with that topic.

  cycle-bridge route container.state.changed
  cycle-bridge route '{"topic":"container.state.changed","object":{"id":"5f..."}}'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return usage(fmt.Errorf("unknown output %q: want text or json", output))
			}
			raw, err := a.notification(args)
			if err != nil {
				return err
			}
			cfg, err := a.loadForRoute()
			if err != nil {
				return err
			}
			rows, err := explainRoutes(cfg, raw)
			if err != nil {
				return err
			}
			if output == "json" {
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(rows)
			}
			a.printRoutes(rows)
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// loadForRoute loads the configuration; with no file and no CYCLE_* variables
// at all, the routes that zero configuration would have.
func (a *app) loadForRoute() (*config.Config, error) {
	cfg, err := a.load()
	if err == nil {
		return cfg, nil
	}
	invalid, ok := errors.AsType[*config.Invalid](err)
	if !ok || invalid.File != "" {
		return nil, err
	}
	env := append([]string{"CYCLE_API_KEY=none", "CYCLE_HUB_ID=000000000000000000000000"}, a.env...)
	opts := a.configOptions()
	opts.Env = env
	cfg, again := config.Load(opts)
	if again != nil {
		return nil, err
	}
	return cfg, nil
}

// notification returns the bytes of the notification that the argument means.
func (a *app) notification(args []string) ([]byte, error) {
	arg := "-"
	if len(args) > 0 {
		arg = args[0]
	}
	switch {
	case arg == "-":
		raw, err := io.ReadAll(io.LimitReader(a.in, maxRouteInput))
		return bytes.TrimSpace(raw), err
	case strings.HasPrefix(strings.TrimSpace(arg), "{"):
		return []byte(arg), nil
	}
	if f, err := os.Open(arg); err == nil {
		defer f.Close()
		raw, err := io.ReadAll(io.LimitReader(f, maxRouteInput))
		return bytes.TrimSpace(raw), err
	}
	if strings.ContainsAny(arg, "/ \"\n") || !strings.Contains(arg, ".") {
		return nil, usage(fmt.Errorf("%q is neither a notification (JSON), nor a file, nor a topic", arg))
	}
	return json.Marshal(map[string]any{
		"topic":  arg,
		"object": map[string]string{"id": "OBJECT"},
	})
}

// routeRow is where one sink would send a notification.
type routeRow struct {
	Sink        string            `json:"sink"`
	Type        string            `json:"type"`
	Hub         string            `json:"hub"`
	Taken       bool              `json:"taken"`
	Rule        int               `json:"rule"` // index; -1: none
	Why         []string          `json:"why"`
	Destination string            `json:"destination,omitempty"`
	Key         string            `json:"key,omitempty"`
	Format      string            `json:"format,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	headers     []bridge.Header
}

func explainRoutes(cfg *config.Config, raw []byte) ([]routeRow, error) {
	h := cfg.Hubs[0]
	e := bridge.Event{
		ID: bridge.ID{Epoch: "epoch00000", Offset: 1}, Raw: raw, ReceivedAt: time.Now().UnixNano(),
		Source: &bridge.Source{Origin: bridge.OriginHub, ID: h.ID, Name: h.Name},
	}
	note, err := bridge.ParseNotification(raw)
	if err != nil {
		e.Flags |= bridge.FlagUnparsed
	}
	e.Note = note
	if own := strings.HasPrefix(string(note.Topic()), "bridge."); own {
		e.Source = &bridge.Source{Origin: bridge.OriginBridge, ID: h.ID, Name: h.Name}
	}
	rows := []routeRow{}
	for _, s := range cfg.Sinks {
		plan := s.Config.(sinks.Config).Plan()
		router, err := bridge.NewRouter(plan, topics.Names())
		if err != nil {
			return nil, usage(fmt.Errorf("sink %s: %w", s.Name, err))
		}
		x := router.Explain(&e)
		row := routeRow{Sink: s.Name, Type: s.Type, Hub: h.Name, Rule: x.Rule, Taken: x.Rule >= 0, Why: why(x)}
		var m bridge.Message
		if format, ok := router.Target(&e, &m); ok {
			bridge.NewEncoder("journal000").Encode(&e, format, &m)
			row.Destination, row.Key, row.Format, row.headers = m.Destination, string(m.Key), format.String(), m.Headers
			row.Headers = make(map[string]string)
			for _, hd := range m.Headers {
				row.Headers[hd.Name] = string(hd.Value)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// why tells in lines which rule took the event and why the ones before did not.
func why(x bridge.Explanation) []string {
	var out []string
	for _, r := range x.Rejected {
		out = append(out, fmt.Sprintf("route[%d] match %q does not: %s", r.Rule, r.Match, r.Reason))
	}
	switch {
	case x.Rule < 0 && x.Implied:
		out = append(out, "the sink has no routes: every notification is taken, a frame that is none is not")
	case x.Rule < 0:
		out = append(out, "no route takes it")
	case x.Implied:
		out = append(out, "the sink has no routes: everything is taken")
	default:
		out = append(out, fmt.Sprintf("route[%d] match %q takes it", x.Rule, x.Match))
	}
	if x.DestinationTemplate != "" {
		out = append(out, "destination from "+x.DestinationTemplate)
	}
	if x.KeyTemplate != "" {
		out = append(out, "key from "+x.KeyTemplate)
	}
	return out
}

func (a *app) printRoutes(rows []routeRow) {
	p := newPalette(terminalWidth(a.out) > 0)
	for i, r := range rows {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		fmt.Fprintf(a.out, "%s (%s)\n", p.bold("sink "+r.Sink), r.Type)
		for _, w := range r.Why {
			fmt.Fprintf(a.out, "  %s\n", w)
		}
		if !r.Taken {
			fmt.Fprintf(a.out, "  %s\n", p.bad("not for this sink"))
			continue
		}
		if r.Destination != "" {
			fmt.Fprintf(a.out, "  destination  %s\n", p.good(r.Destination))
		}
		key := r.Key
		if key == "" {
			key = "(none)"
		}
		fmt.Fprintf(a.out, "  key          %s\n  format       %s\n  headers\n", key, r.Format)
		for _, h := range r.headers {
			fmt.Fprintf(a.out, "    %s: %s\n", h.Name, h.Value)
		}
	}
}
