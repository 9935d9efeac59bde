package bridge

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is exponential with full jitter: attempt n (from 0) waits a random
// time between 0 and min(Max, Base*2^n). It is a value without state.
// (AWS, "Exponential Backoff And Jitter": full jitter spreads a herd best.)
type Backoff struct {
	Base, Max time.Duration
}

// Delay returns the wait before the attempt after attempt n. rng may be nil.
func (b Backoff) Delay(n int, rng *rand.Rand) time.Duration {
	limit := b.Max
	if n < 62 {
		if d := b.Base << n; d > 0 && d>>n == b.Base && d < limit {
			limit = d
		}
	}
	if limit <= 0 {
		return 0
	}
	if rng == nil {
		return rand.N(limit + 1)
	}
	return time.Duration(rng.Int64N(int64(limit) + 1))
}

// Sleep waits for d or until ctx is done, and then returns its error.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
