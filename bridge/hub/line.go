package hub

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	// shortLife: a connection that ended earlier counts as a failed attempt.
	shortLife = 5 * time.Second
	// policyLimit closes for reasons of policy in a row make the retry slow.
	policyLimit = 3
)

// line keeps one connection open for ever: it dials, runs it, and dials again.
type line struct {
	feed    *Feed
	backoff bridge.Backoff
	attempt int  // failed attempts and short lives in a row
	full    bool // the upgrade sends the headers of the older documentation
	refused int  // upgrades refused in a row
	policy  int  // closes with 1008 or 44xx in a row

	connected bool // was, ever
	down      bool // told the log that there is no connection
	problem   string
	loggedAt  time.Time
}

// run works until ctx is done (nil), or until the inlet fails.
//
//nolint:nilerr // what a connection ended with while it is being stopped is no error
func (l *line) run(ctx, put context.Context, h handler) error {
	for {
		if l.feed.budget.wait(ctx) != nil {
			return nil // ctx is done
		}
		c, err := l.dial(ctx, h)
		var wait time.Duration
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			wait = l.failed(err)
		} else {
			l.up(c)
			end, inletErr := c.run(ctx, put)
			if ctx.Err() != nil {
				l.feed.stats.down("it is being stopped")
				l.feed.log.Info("hub connection closed", "conn", c.number, "code", end.code)
				return nil
			}
			if inletErr != nil {
				l.feed.stats.down("events cannot be stored any more")
				return bridge.Errorf(bridge.KindOf(inletErr), "hand over", "%w", inletErr)
			}
			wait = l.lost(c, end)
		}
		if bridge.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// dial gets a fresh token and uses it at once.
func (l *line) dial(ctx context.Context, h handler) (*conn, error) {
	f := l.feed
	g, key, err := f.dialer.grant(ctx)
	if err != nil {
		return nil, err
	}
	c := newConn(f, f.numbers.Add(1), h)
	ws, w, err := f.dialer.connect(ctx, g, key, l.full, c)
	if err != nil {
		if _, ok := errors.AsType[refused](err); ok {
			// The token may have expired, or this API may want the older
			// headers: the next try differs in both.
			f.stats.refused.Add(1)
			l.full = !l.full
			l.refused++
		}
		return nil, err
	}
	l.refused = 0
	c.attach(ws, w)
	return c, nil
}

// failed says how long to wait after a dial that failed.
func (l *line) failed(err error) time.Duration {
	wait := l.backoff.Delay(l.attempt, nil)
	l.attempt++
	_, upgrade := errors.AsType[refused](err)
	switch {
	case bridge.RetryAfterOf(err) > 0:
		// Spread over the first moments after it: we are not the only client.
		wait += bridge.RetryAfterOf(err)
	case bridge.KindOf(err) == bridge.KindMisconfigured && (!upgrade || l.refused >= 2):
		wait = l.slow()
	}
	l.report(err, wait)
	return wait
}

// slow is the wait while it takes an operator to change something.
func (l *line) slow() time.Duration {
	d := l.feed.timings.Slow
	return d - d/5 + rand.N(2*d/5+1)
}

func (l *line) up(c *conn) {
	f := l.feed
	f.stats.up(f.dialer.ep.host())
	args := []any{"server", f.dialer.ep.host(), "conn", c.number}
	if l.connected {
		f.stats.reconnects.Add(1)
		f.log.Info("hub reconnected", args...)
	} else {
		if f.source.Name != f.source.ID { // by default the id is the name
			args = append(args, "hub_id", f.source.ID)
		}
		f.log.Info("hub connected", args...)
	}
	l.connected, l.down, l.problem = true, false, ""
}

// lost says how long to wait after a connection that ended.
func (l *line) lost(c *conn, end *ending) time.Duration {
	life := time.Since(end.opened)
	switch {
	case life >= l.feed.timings.Settled:
		l.attempt, l.policy = 0, 0
	case life < shortLife:
		l.attempt++
	}
	wait := l.backoff.Delay(l.attempt, nil)
	err := &bridge.Error{Op: "hub connection", Kind: bridge.KindTransient, Err: end.err}
	level := slog.LevelWarn
	switch {
	case end.code == 1008 || end.code >= 4400 && end.code < 4500:
		if l.policy++; l.policy >= policyLimit {
			wait = l.slow()
			err.Kind = bridge.KindMisconfigured
			err.Hint = answer{}.hint(0)
		}
	default:
		l.policy = 0
	}
	if end.code == 1002 || end.code == 1007 || end.code == 1009 {
		// Neither side should ever see these: somebody has to look.
		level = slog.LevelError
	}
	l.feed.stats.down(problemText(err))
	l.down, l.problem, l.loggedAt = true, err.Error(), time.Now()
	l.feed.log.Log(context.Background(), level, "hub connection lost",
		"conn", c.number, "code", end.code, "error", err, "lived", life.Round(time.Millisecond),
		"last_proof", end.proof, "overload", end.overload, "retry_in", wait.Round(time.Millisecond))
	return wait
}

// report tells of a dial that failed: when the trouble changes, and at
// intervals while it lasts.
func (l *line) report(err error, wait time.Duration) {
	l.feed.stats.down(problemText(err))
	text := err.Error()
	if l.down && text == l.problem && time.Since(l.loggedAt) < l.feed.timings.Repeat {
		return
	}
	l.down, l.problem, l.loggedAt = true, text, time.Now()
	level := slog.LevelWarn
	if bridge.KindOf(err) == bridge.KindMisconfigured {
		level = slog.LevelError
	}
	l.feed.log.Log(context.Background(), level, "hub not reachable",
		"error", err, "attempt", l.attempt, "retry_in", wait.Round(time.Millisecond))
}

// problemText is a sentence for Status: what is wrong, and what to do.
func problemText(err error) string {
	e, ok := errors.AsType[*bridge.Error](err)
	if !ok || e.Hint != "" {
		return err.Error()
	}
	switch e.Kind {
	case bridge.KindMisconfigured:
		return err.Error() + " (check the hub's id, api_key and api_url)"
	case bridge.KindThrottled:
		return err.Error() + " (nothing to do: it is tried again when the API allows it)"
	}
	return err.Error() + " (nothing to do if it passes: it is tried again for ever; else check the network and api_url)"
}
