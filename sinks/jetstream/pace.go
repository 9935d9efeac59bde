package jetstream

import "time"

// pace decides between an atomic batch and a chain of single messages, by
// what they took. Neither is always better: a batch costs the server some
// milliseconds whatever its size and writes everything twice; a single message
// costs it less, but a whole fsync where it syncs each write. Which it does, no
// client can ask, so both are measured, and measured again now and then.
type pace struct {
	always  bool          // tests: a batch whenever one is possible
	single  time.Duration // a message in a chain; 0 while unknown
	batched time.Duration // a message in a large batch, beside batchFixed; 0 while unknown
	batches int           // since the last chain
	chains  int           // since the last batch
}

const (
	// batchFixed is what a batch costs beside its messages (measured: 2 to 3 ms).
	batchFixed = 2500 * time.Microsecond
	// batchedGuess holds until a batch was measured (measured: 10 us at its
	// best; 25 us where the server shares two cores with everybody else).
	batchedGuess = 10 * time.Microsecond
	// largeBatch is from how many messages on a batch tells what one costs.
	largeBatch = 100
	// tryChain is how many messages a chain has that is sent to measure it:
	// on a slow disk that syncs each, not more than some tens of milliseconds.
	tryChain = 32
	// tryAgain is after how many of one kind the other is measured again.
	tryAgain = 500
)

// batch reports whether n messages go as an atomic batch, and if not, how
// many at most go as a chain now.
func (p *pace) batch(n int) (yes bool, chain int) {
	switch {
	case n < minAtomic:
		return false, n
	case p.always:
		return true, 0
	case p.single == 0 || p.batches >= tryAgain:
		return false, min(n, tryChain)
	}
	each := p.batched
	if each == 0 || p.chains >= tryAgain && n >= largeBatch {
		each = batchedGuess
	}
	if time.Duration(n)*p.single > batchFixed+time.Duration(n)*each {
		return true, 0
	}
	return false, n
}

// tookChain notes that n messages took d as a chain.
func (p *pace) tookChain(n int, d time.Duration) {
	if n < minAtomic {
		return // a round trip says little about many in flight
	}
	p.single = smooth(p.single, d/time.Duration(n))
	p.batches = 0
	p.chains++
}

// tookBatch notes that n messages took d as a batch.
func (p *pace) tookBatch(n int, d time.Duration) {
	if n >= largeBatch {
		p.batched = smooth(p.batched, (d-batchFixed)/time.Duration(n))
	}
	p.batches++
	p.chains = 0
}

func smooth(old, d time.Duration) time.Duration {
	if old == 0 {
		return max(d, 1)
	}
	return max((3*old+d)/4, 1)
}
