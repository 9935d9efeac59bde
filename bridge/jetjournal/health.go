package jetjournal

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
)

// health is the truth about the journal as appends and canaries tell it.
type health struct {
	bad atomic.Bool // so that a healthy append costs one load

	mu      sync.Mutex // guards what follows
	problem string
	since   time.Time
}

func (h *health) ok(log *slog.Logger) {
	if !h.bad.Load() {
		return
	}
	h.mu.Lock()
	lasted := time.Since(h.since)
	h.problem, h.since = "", time.Now()
	h.bad.Store(false)
	h.mu.Unlock()
	log.LogAttrs(context.Background(), slog.LevelInfo, "journal takes appends again", slog.Duration("after", lasted))
}

func (h *health) fail(log *slog.Logger, problem string) {
	h.mu.Lock()
	first := h.problem == ""
	h.problem = problem
	if first {
		h.since = time.Now()
	}
	h.bad.Store(true)
	h.mu.Unlock()
	if first {
		log.LogAttrs(context.Background(), slog.LevelError, "journal does not take appends", slog.String("problem", problem))
	}
}

func (h *health) get() (healthy bool, problem string, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem == "", h.problem, h.since
}

// minRoom is the free space below which a restart of the embedded server is
// of no use; of a small volume it is a twentieth.
const minRoom = 64 << 20

// roomy reports whether the embedded store's volume has room.
func (j *Journal) roomy() bool {
	if j.server == nil {
		return true
	}
	free, total, err := natsserver.Space(j.server.Dir())
	return err == nil && free >= min(minRoom, total/20)
}

// problem says what is wrong and what to do.
func (j *Journal) problem(err error) string {
	if j.server == nil {
		return fmt.Sprintf("the server does not take appends: %v; look at the server's log and disk, the bridge goes on by itself", err)
	}
	if free, total, serr := natsserver.Space(j.server.Dir()); serr == nil && !j.roomy() {
		return fmt.Sprintf("the disk of %s is full (%d MiB free of %d MiB): free some space, the bridge goes on by itself",
			j.server.Dir(), free>>20, total>>20)
	}
	return fmt.Sprintf("the embedded store does not take appends: %v; look at the disk of %s, the bridge goes on by itself", err, j.server.Dir())
}

// canary writes an empty group when there was no append for a while, so that
// the journal's health is known, and looks at the stream.
func (j *Journal) canary(ctx context.Context) {
	for bridge.Sleep(ctx, j.timing.canary) == nil {
		j.observe(ctx)
		if time.Since(wallTime(j.lastAppend.Load())) < j.timing.canary {
			continue
		}
		select {
		case j.turn <- struct{}{}:
		default:
			continue // an append is under way, and tells as much
		}
		// Errors are in the health already.
		_ = j.commit(ctx, nil)
		j.release()
	}
}
