package bridge

import (
	"sync"
	"time"
)

// sinkState is what is known of a sink: written by its deliverer, read by
// Status. Everything is counted once a batch, nothing once an event.
type sinkState struct {
	mu      sync.Mutex // guards all below
	s       SinkStatus
	start   uint64 // offset the accounting began after
	started bool
	oldest  int64 // arrival of the oldest unsettled event that was read; 0 when there is none
	made    time.Time
}

func newSinkState(name, typ string) *sinkState {
	now := time.Now()
	return &sinkState{made: now, s: SinkStatus{Name: name, Type: typ, State: SinkStarting, Since: now}}
}

func (st *sinkState) setLocked(state SinkState) bool {
	if st.s.State == state {
		return false
	}
	st.s.State, st.s.Since = state, time.Now()
	return true
}

// set changes the state, unless it is one of trouble that only recovered or
// fail may end: a sink that is being tried again is not "delivering" yet.
func (st *sinkState) set(state SinkState) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s.Problem == "" || st.s.State == SinkStarting {
		st.setLocked(state)
	}
}

// fail notes a failure; changed tells whether it is a new one.
func (st *sinkState) fail(state SinkState, cause error) (changed bool, since time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	changed = st.s.Problem == "" || st.s.Kind != KindOf(cause).String()
	if st.setLocked(state) && state == SinkPaused {
		st.s.Pauses++
	}
	st.s.Problem, st.s.Kind = cause.Error(), KindOf(cause).String()
	st.s.LastError, st.s.LastErrorAt = st.s.Problem, time.Now()
	return changed, st.s.Since
}

// recovered ends a failure and tells how long it lasted.
func (st *sinkState) recovered() (lasted time.Duration, was bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.s.Problem == "" {
		return 0, false
	}
	lasted = time.Since(st.s.Since)
	st.s.Problem, st.s.Kind = "", ""
	st.setLocked(SinkDelivering)
	return lasted, true
}

// stop is the end; a Problem stays to be seen.
func (st *sinkState) stop() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.setLocked(SinkStopped)
}

// begin sets where the accounting begins.
func (st *sinkState) begin(offset uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.start, st.s.Position, st.started = offset, offset, true
}

// working notes the arrival of the first event of a batch.
func (st *sinkState) working(receivedAt int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.oldest = receivedAt
}

// settled moves the position past a batch.
func (st *sinkState) settled(offset, delivered, notRouted, deadLettered uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Position = offset
	st.s.Delivered += delivered
	st.s.NotRouted += notRouted
	st.s.DeadLettered += deadLettered
	st.oldest = 0
	if delivered > 0 {
		st.s.LastDelivery = time.Now()
	}
}

func (st *sinkState) attempted(messages int, again bool, bytes uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Attempts += uint64(messages)
	if again {
		st.s.Retried += uint64(messages)
	}
	st.s.Bytes += bytes
}

func (st *sinkState) lastError(cause error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.LastError, st.s.LastErrorAt = cause.Error(), time.Now()
}

func (st *sinkState) unclassified() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Unclassified++
}

func (st *sinkState) skipped(last, count uint64, retention bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Position = last
	if retention {
		st.s.Overrun += count
	} else {
		st.s.Lost += count
	}
}

// status returns a snapshot. last is the journal's last offset.
func (st *sinkState) status(last uint64) SinkStatus {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.s
	if !st.started {
		return s
	}
	if last > s.Position {
		s.LagEvents = last - s.Position
	}
	switch {
	case st.oldest > 0:
		s.LagSeconds = time.Since(time.Unix(0, st.oldest)).Seconds()
	case s.LagEvents > 0 && !s.Up():
		// Nothing was read yet: it lags at least since it was made.
		s.LagSeconds = time.Since(st.made).Seconds()
	}
	s.Unaccounted = int64(s.Position-st.start) - int64(s.Delivered+s.NotRouted+s.DeadLettered+s.Overrun+s.Lost)
	return s
}
