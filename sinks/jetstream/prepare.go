package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
)

// The duplicate window of a stream that this sink makes, and how long it keeps
// events. An exclusive stream needs no window, the expected sequence does its
// work, and the server holds some 100 bytes for every id in it.
const (
	createdWindow   = 2 * time.Minute
	exclusiveWindow = 100 * time.Millisecond // the least there is
	createdAge      = 168 * time.Hour
)

// Prepare implements bridge.Preparer: it checks the stream and that it takes
// the destinations and whatever else the routes' templates can produce. It
// makes a missing stream where create: missing says so. An existing stream
// is never changed.
func (s *Sink) Prepare(ctx context.Context, destinations []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connected(ctx); err != nil {
		return err
	}
	return s.prepare(ctx, destinations)
}

func (s *Sink) prepare(ctx context.Context, destinations []string) error {
	const op = "prepare jetstream sink"
	info, err := s.streamInfo(ctx)
	if err != nil {
		return err
	}
	c := info.Config
	wrong := func(hint, format string, args ...any) error {
		return &bridge.Error{Op: op, Kind: bridge.KindMisconfigured, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case c.Mirror != nil:
		return wrong("publish into its origin", "stream %s is a mirror: nothing can be published into it", s.stream)
	case c.Sealed:
		return wrong("use another stream", "stream %s is sealed", s.stream)
	case c.NoAck:
		return wrong("nats stream edit "+s.stream+" --ack", "stream %s does not acknowledge", s.stream)
	case s.exclusive && len(c.Sources) > 0:
		return wrong("set exclusive: false", "stream %s has sources: it is not ours alone", s.stream)
	}
	missing := s.uncovered(c.Subjects, destinations)
	if len(missing) > 0 {
		all := slices.Concat(c.Subjects, missing)
		slices.Sort(all)
		return wrong(fmt.Sprintf("nats stream edit %s --subjects='%s'", s.stream, strings.Join(slices.Compact(all), ",")),
			"stream %s does not take %s", s.stream, strings.Join(missing, ", "))
	}
	return nil
}

// uncovered returns which subjects the stream does not take. A known
// destination is exact. A template's pattern may be wider than what it
// produces, so it is wrong for certain only where no subject of the stream
// overlaps it; what then still is not taken is told when it is published.
func (s *Sink) uncovered(subjects, destinations []string) []string {
	const most = 20
	var missing []string
	for _, d := range destinations {
		ok := slices.ContainsFunc(subjects, func(a string) bool { return covers(a, d) })
		if !ok && len(missing) < most {
			missing = append(missing, d)
		}
	}
	for _, p := range s.config.patterns() {
		ok := slices.ContainsFunc(subjects, func(a string) bool { return overlaps(a, p) })
		if !ok && len(missing) < most {
			missing = append(missing, p)
		}
	}
	return missing
}

// create makes the stream with the subjects of the routes.
func (s *Sink) create(ctx context.Context) (*jetstream.StreamInfo, error) {
	const op = "create stream"
	replicas := 1
	if s.nc.ConnectedClusterName() != "" && len(s.nc.Servers()) >= 3 {
		replicas = 3
	}
	window := createdWindow
	if s.exclusive {
		window = exclusiveWindow
	}
	st, err := s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: s.stream, Description: "events of Cycle hubs, by cycle-bridge", Subjects: s.config.patterns(),
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardOld, MaxAge: createdAge, Replicas: replicas,
		Duplicates: window, AllowAtomicPublish: true, AllowDirect: true,
	})
	if err != nil {
		e := answer{err: err}.classify(op, s.stream)
		if e.Hint == "" {
			e.Hint = s.addCommand()
		}
		return nil, e
	}
	s.log.Info("stream made", slog.String("sink", s.env.Name), slog.String("stream", s.stream),
		slog.String("subjects", strings.Join(s.config.patterns(), ",")), slog.Int("replicas", replicas))
	return st.CachedInfo(), nil
}

// explain finds out why nobody answers for a subject; other errors it
// returns as they are.
func (p *publication) explain(a answer, e *bridge.Error) error {
	if !errors.Is(a.err, nats.ErrNoResponders) {
		return e
	}
	p.synced = false
	info, err := p.streamInfo(p.ctx)
	if err != nil {
		return err
	}
	subject := p.msgs[min(p.send[0], len(p.msgs)-1)].Destination
	for _, i := range p.send {
		d := p.msgs[i].Destination
		if !slices.ContainsFunc(info.Config.Subjects, func(s string) bool { return covers(s, d) }) {
			return &bridge.Error{
				Op: opPublish, Kind: bridge.KindMisconfigured, Err: fmt.Errorf("stream %s does not take subject %s", p.stream, d),
				Hint: fmt.Sprintf("nats stream edit %s --subjects='%s'", p.stream,
					strings.Join(slices.Concat(info.Config.Subjects, p.config.patterns()), ",")),
			}
		}
	}
	return bridge.Errorf(bridge.KindUnavailable, opPublish, "no answer for subject %s: stream %s is not ready", subject, p.stream)
}

// Probe tries the connection, the account and the stream of c. It writes nothing.
func Probe(ctx context.Context, c Config, env bridge.Env) error {
	c.Create = createNever
	s, err := open(c, env)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connected(ctx); err != nil {
		return err
	}
	if _, err := s.js.AccountInfo(ctx); err != nil {
		e := answer{err: err}.classify("jetstream account info", s.stream)
		if natsconn.Code(err) == 0 && e.Hint == "" {
			e.Hint = "is JetStream enabled, and is domain or api_prefix right?"
		}
		return e
	}
	return s.prepare(ctx, nil)
}
