package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/config"
)

// newLogger returns the process's logger: text for people, JSON for
// programs; repeats of the same line are held back.
func newLogger(w io.Writer, cfg config.Log, terminal bool) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	var h slog.Handler
	switch format := cfg.Format; {
	case format == "json", format == "auto" && !terminal:
		h = slog.NewJSONHandler(w, opts)
	case format == "text", format == "auto":
		if terminal {
			opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr { return readable(groups, shortTime(groups, a)) }
		}
		h = slog.NewTextHandler(w, opts)
	default:
		return nil, fmt.Errorf("log.format: %q is not a format: want auto, text or json", format)
	}
	return slog.New(newRepeats(h)), nil
}

// readable writes durations as 1.5s: the JSON handler has them in nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// shortTime leaves the date out on a terminal.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

// A line with the same level, message and logger is written at most
// repeatBurst times in repeatWindow; the next one after that says how many
// were held back. A broken broker must not fill a disk with its complaint.
const (
	repeatBurst  = 5
	repeatWindow = 10 * time.Second
	repeatKeys   = 1000
)

type repeats struct {
	slog.Handler
	scope  string
	shared *repeatState
}

type repeatState struct {
	mu    sync.Mutex // guards lines
	lines map[string]*repeatLine
}

type repeatLine struct {
	began time.Time
	count int
}

func newRepeats(h slog.Handler) *repeats {
	return &repeats{Handler: h, shared: &repeatState{lines: make(map[string]*repeatLine)}}
}

// Handle writes the record unless it repeats too often.
func (r *repeats) Handle(ctx context.Context, rec slog.Record) error {
	held, pass := r.shared.seen(rec.Level.String()+"\x00"+r.scope+"\x00"+rec.Message, rec.Time)
	if !pass {
		return nil
	}
	if held > 0 {
		rec = rec.Clone()
		rec.AddAttrs(slog.Int("repeats_held_back", held))
	}
	return r.Handler.Handle(ctx, rec)
}

func (s *repeatState) seen(key string, now time.Time) (held int, pass bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[key]
	if l == nil {
		if len(s.lines) >= repeatKeys {
			clear(s.lines)
		}
		l = &repeatLine{began: now}
		s.lines[key] = l
	}
	if now.Sub(l.began) > repeatWindow {
		held = max(0, l.count-repeatBurst)
		l.began, l.count = now, 0
	}
	l.count++
	return held, l.count <= repeatBurst
}

// WithAttrs and WithGroup keep the state shared, and tell loggers apart.
func (r *repeats) WithAttrs(attrs []slog.Attr) slog.Handler {
	scope := fmt.Sprint(r.scope, attrs)
	return &repeats{Handler: r.Handler.WithAttrs(attrs), scope: scope, shared: r.shared}
}

// WithGroup opens a group.
func (r *repeats) WithGroup(name string) slog.Handler {
	return &repeats{Handler: r.Handler.WithGroup(name), scope: r.scope + name + ".", shared: r.shared}
}
