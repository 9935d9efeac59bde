package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/fatih/color"
	"golang.org/x/term"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// liveLine keeps one line at the bottom of a terminal, below the log that is
// written through it.
type liveLine struct {
	mu   sync.Mutex // guards all below
	out  io.Writer
	line string
	cols func() int
}

const clearLine = "\r\x1b[K"

// terminalWidth returns the width of w when it is a terminal, else 0.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	cols, _, err := term.GetSize(int(f.Fd()))
	if err != nil || cols <= 0 {
		return 80
	}
	return cols
}

func newLiveLine(out io.Writer) *liveLine {
	return &liveLine{out: out, cols: func() int { return terminalWidth(out) }}
}

// Write passes log lines through, above the live line.
func (l *liveLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.line == "" {
		return l.out.Write(p)
	}
	var b bytes.Buffer
	b.WriteString(clearLine)
	b.Write(p)
	b.WriteString(l.line)
	if _, err := l.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// set shows a new line; "" removes it.
func (l *liveLine) set(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cols := l.cols(); cols > 1 && len([]rune(line)) > cols-1 {
		line = string([]rune(line)[:cols-2]) + "…"
	}
	if line == l.line {
		return
	}
	l.line = line
	fmt.Fprint(l.out, clearLine, line)
}

// rate tells events a second from a counter, over the last tick.
type rate struct {
	count uint64
	at    time.Time
}

func (r *rate) next(count uint64, now time.Time) float64 {
	defer func() { r.count, r.at = count, now }()
	if r.at.IsZero() || count < r.count {
		return 0
	}
	return float64(count-r.count) / now.Sub(r.at).Seconds()
}

// statusLine says in one line how the bridge is: connected, events a second,
// lag of each sink, age of the last event.
func statusLine(s bridge.Status, perSecond float64, now time.Time) string {
	var parts []string
	live, wanted := 0, 0
	var last time.Time
	for _, src := range s.Sources {
		if src.Connections > 0 {
			live++
		}
		wanted++
		if src.LastEvent.After(last) {
			last = src.LastEvent
		}
	}
	switch {
	case s.Draining:
		parts = append(parts, "draining")
	case live == wanted && wanted == 1:
		parts = append(parts, "connected")
	case wanted == 1:
		parts = append(parts, "not connected")
	default:
		parts = append(parts, fmt.Sprintf("%d of %d hubs connected", live, wanted))
	}
	if !s.Journal.Healthy {
		parts = append(parts, "journal does not take events")
	}
	parts = append(parts, fmt.Sprintf("%s events/s", compact(perSecond)))
	for _, k := range s.Sinks {
		word := fmt.Sprintf("%s lag %s", k.Name, compact(float64(k.LagEvents)))
		if !k.Up() {
			word += " (" + string(k.State) + ")"
		}
		parts = append(parts, word)
	}
	if last.IsZero() {
		parts = append(parts, "no event yet")
	} else {
		parts = append(parts, "last event "+age(now.Sub(last))+" ago")
	}
	return strings.Join(parts, " · ")
}

func compact(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.1fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// palette colours words for a terminal; without one it leaves them alone.
type palette struct{ bold, dim, good, bad func(a ...any) string }

func newPalette(on bool) palette {
	make := func(attrs ...color.Attribute) func(a ...any) string {
		c := color.New(attrs...)
		if on {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c.SprintFunc()
	}
	return palette{
		bold: make(color.Bold), dim: make(color.Faint), good: make(color.FgGreen), bad: make(color.FgRed),
	}
}
