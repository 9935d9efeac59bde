package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// A cursor is written at most every cursorInterval, sooner when cursorEvents
// events were settled since the last write (DESIGN §5: each write is an
// fsync, and what was settled since the last one is delivered again after a crash).
const (
	cursorInterval = 100 * time.Millisecond
	cursorEvents   = 1000
)

// cursorWriter stores a sink's position beside the delivery, so that the
// fsync of a cursor never holds up a batch.
type cursorWriter struct {
	journal Journal
	sink    string
	log     *slog.Logger
	stale   func(error) // called when another process has moved the cursor

	mu    sync.Mutex // guards pos
	pos   Position
	saved Position // of the running goroutine
	wake  chan struct{}
}

func newCursorWriter(journal Journal, sink string, log *slog.Logger, stale func(error)) *cursorWriter {
	return &cursorWriter{
		journal: journal, sink: sink, log: log, stale: stale,
		wake: make(chan struct{}, 1),
	}
}

// move notes a new position. It does not block.
func (c *cursorWriter) move(pos Position) {
	c.mu.Lock()
	c.pos = pos
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *cursorWriter) position() Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pos
}

// start begins writing; pos is what is stored now. The returned func ends it
// and writes the last position.
func (c *cursorWriter) start(ctx context.Context, pos Position) (stop func()) {
	c.pos, c.saved = pos, pos
	ctx = context.WithoutCancel(ctx)
	runCtx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.run(runCtx) })
	return func() {
		cancel()
		wg.Wait()
		ctx, cancel := context.WithTimeout(ctx, closeTimeout)
		defer cancel()
		if err := c.write(ctx); err != nil {
			c.log.Warn("storing the cursor failed, some events will be delivered again", "error", err)
		}
	}
}

func (c *cursorWriter) run(ctx context.Context) {
	timer := time.NewTimer(cursorInterval)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		if !c.gather(ctx, timer) {
			return
		}
		err := c.write(ctx)
		if err == nil {
			failures = 0
			continue
		}
		if errors.Is(err, ErrStaleCursor) {
			c.stale(err)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if failures == 0 {
			c.log.Warn("storing the cursor failed, trying again", "error", err)
		}
		if Sleep(ctx, pauseBackoff.Delay(failures, nil)) != nil {
			return
		}
		failures++
		c.move(c.position())
	}
}

// gather lets more be settled before a write, unless that is a lot already.
func (c *cursorWriter) gather(ctx context.Context, timer *time.Timer) bool {
	timer.Reset(cursorInterval)
	for c.position().ID.Offset-c.saved.ID.Offset < cursorEvents {
		select {
		case <-timer.C:
			return true
		case <-c.wake:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// write stores the position if it has moved.
func (c *cursorWriter) write(ctx context.Context) error {
	pos := c.position()
	if pos.ID == c.saved.ID {
		return nil
	}
	if err := c.journal.SetCursor(ctx, c.sink, pos); err != nil {
		return err
	}
	c.saved = pos
	return nil
}
