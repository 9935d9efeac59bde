package hub

import (
	"log/slog"
	"sync"
	"time"
)

// warner logs warnings that may come with every frame: one of a sort in an
// interval, with how many were left out. It may be used concurrently.
type warner struct {
	out   *slog.Logger
	every time.Duration

	mu   sync.Mutex // guards last
	last map[string]*repeated
}

type repeated struct {
	at      time.Time
	omitted int
}

// maxSorts bounds the sorts that are told apart.
const maxSorts = 64

func newWarner(out *slog.Logger, every time.Duration) *warner {
	return &warner{out: out, every: every, last: map[string]*repeated{}}
}

// log logs msg with args. sort is one of a few fixed texts.
func (w *warner) log(msg, sort string, args ...any) {
	now := time.Now()
	w.mu.Lock()
	key := msg + "\x00" + sort
	r := w.last[key]
	if r == nil {
		if len(w.last) >= maxSorts {
			clear(w.last)
		}
		r = &repeated{}
		w.last[key] = r
	} else if now.Sub(r.at) < w.every {
		r.omitted++
		w.mu.Unlock()
		return
	}
	omitted := r.omitted
	r.at, r.omitted = now, 0
	w.mu.Unlock()
	args = append(args, "reason", sort)
	if omitted > 0 {
		args = append(args, "omitted", omitted)
	}
	w.out.Warn(msg, args...) //nolint:sloglint // the callers pass constants
}
