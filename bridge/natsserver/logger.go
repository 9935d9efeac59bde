package natsserver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logEvery is how often one kind of line is repeated. A failing disk makes
// the server write the same error for every message.
const logEvery = time.Minute

// logger passes the server's lines to slog. Its notices are of interest only
// when one looks for something, so they go to debug.
type logger struct {
	log *slog.Logger

	mu    sync.Mutex // guards what follows
	seen  map[string]*repeat
	fatal string // the last fatal line: the reason when a start fails
}

type repeat struct {
	last       time.Time
	suppressed int
}

func newLogger(log *slog.Logger) *logger {
	return &logger{log: log, seen: map[string]*repeat{}}
}

// lastFatal returns the last fatal line and forgets it.
func (l *logger) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.fatal
	l.fatal = ""
	return s
}

func (l *logger) write(level slog.Level, format string, v []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	now := time.Now()
	l.mu.Lock()
	r := l.seen[format]
	if r == nil {
		// The formats are constants of the server, so the map is bounded by
		// its source; the limit guards against one that is not.
		if len(l.seen) > 1000 {
			clear(l.seen)
		}
		r = &repeat{}
		l.seen[format] = r
	}
	if level > slog.LevelDebug && now.Sub(r.last) < logEvery {
		r.suppressed++
		l.mu.Unlock()
		return
	}
	n := r.suppressed
	r.last, r.suppressed = now, 0
	l.mu.Unlock()
	attrs := []slog.Attr{slog.String("text", fmt.Sprintf(format, v...))}
	if n > 0 {
		attrs = append(attrs, slog.Int("suppressed", n))
	}
	l.log.LogAttrs(context.Background(), level, "embedded nats server", attrs...)
}

// The methods of server.Logger. Fatalf does not end the process: Start sees
// the line and returns it.
func (l *logger) Noticef(format string, v ...any) { l.write(slog.LevelDebug, format, v) }
func (l *logger) Warnf(format string, v ...any) {
	level := slog.LevelWarn
	if strings.HasPrefix(format, "Plaintext passwords") {
		// They are drawn at every start and stand in no file, or the operator
		// has put them where they stand.
		level = slog.LevelDebug
	}
	l.write(level, format, v)
}
func (l *logger) Errorf(format string, v ...any) { l.write(slog.LevelError, format, v) }
func (l *logger) Debugf(string, ...any)          {}
func (l *logger) Tracef(string, ...any)          {}
func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	l.fatal = fmt.Sprintf(format, v...)
	l.mu.Unlock()
	l.write(slog.LevelError, format, v)
}
