package sinktest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Store is a destination in memory. It outlives the sinks opened on it, and
// may be used concurrently.
type Store struct {
	mu       sync.Mutex
	got      []Delivered
	position bridge.ID
	fault    func(call int, m *bridge.Message) Fault
	calls    int
	changed  chan struct{} // closed and made anew at every change
}

// Fault is what happens to one message.
type Fault struct {
	// Err is the result of the message. Unless it is KindRejected, the call
	// ends there: the messages after it get the same result.
	Err error
	// Applied: the message is stored although the result is Err, as when an
	// answer is lost.
	Applied bool
	// Block: the call waits until ctx is done, and the message is not stored.
	Block bool
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{changed: make(chan struct{})} }

// SetFault installs what happens to each message; nil for no faults. call is
// the number of the Publish, from 1. fault is called with the store locked.
func (s *Store) SetFault(fault func(call int, m *bridge.Message) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// FailNext makes the next n calls of Publish fail as a whole with err.
func (s *Store) FailNext(n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.calls + n
	s.fault = func(call int, _ *bridge.Message) Fault {
		if call <= last {
			return Fault{Err: err}
		}
		return Fault{}
	}
}

// Received returns a copy of what is stored, in order.
func (s *Store) Received() []Delivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// Len returns how many messages are stored.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// Calls returns how often Publish was called with messages.
func (s *Store) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Wait blocks until at least n messages are stored or ctx is done.
func (s *Store) Wait(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		have, changed := len(s.got), s.changed
		s.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Memory is a sink in memory with scriptable faults: the reference that
// passes the suite, and a destination for tests of the bridge.
type Memory struct {
	store *Store
	limit int
	once  bool

	mu     sync.Mutex
	closed bool
}

// NewMemory returns a sink on store. A payload of limit bytes or more is
// rejected; 0 for no limit.
func NewMemory(store *Store, limit int) *Memory { return &Memory{store: store, limit: limit} }

// OnceMemory is a Memory that stores what is handed again only once, and
// tells its position by Resume.
type OnceMemory struct{ *Memory }

// NewOnceMemory returns such a sink.
func NewOnceMemory(store *Store, limit int) OnceMemory {
	return OnceMemory{&Memory{store: store, limit: limit, once: true}}
}

// Resume implements bridge.Resumer.
func (m OnceMemory) Resume(ctx context.Context, stored bridge.Position, known bool) (bridge.Position, bool, error) {
	if err := ctx.Err(); err != nil {
		return stored, false, err
	}
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	end := m.store.position
	switch {
	case end.IsZero():
		return stored, false, nil
	case known && end.Offset <= stored.ID.Offset:
		return stored, true, nil
	}
	return bridge.Position{ID: end}, true, nil
}

// Publish implements bridge.Sink.
func (m *Memory) Publish(ctx context.Context, msgs []bridge.Message, results []error) {
	if len(msgs) == 0 {
		return
	}
	m.mu.Lock()
	closed := m.closed
	m.mu.Unlock()
	if closed {
		fill(results, 0, &bridge.Error{Op: "memory publish", Kind: bridge.KindCanceled, Err: bridge.ErrClosed})
		return
	}
	s := m.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	defer func() {
		close(s.changed)
		s.changed = make(chan struct{})
	}()
	for i := range msgs {
		if err := ctx.Err(); err != nil {
			fill(results, i, &bridge.Error{Op: "memory publish", Kind: bridge.KindOf(err), Err: err})
			return
		}
		if m.limit > 0 && len(msgs[i].Payload) >= m.limit {
			results[i] = bridge.Errorf(bridge.KindRejected, "memory publish", "payload of %d bytes", len(msgs[i].Payload))
			continue
		}
		var f Fault
		if s.fault != nil {
			f = s.fault(s.calls, &msgs[i])
		}
		if f.Block {
			s.mu.Unlock()
			<-ctx.Done()
			s.mu.Lock()
			f.Err = ctx.Err()
		}
		if f.Err == nil || f.Applied && !f.Block {
			m.storeLocked(&msgs[i])
		}
		if f.Err == nil {
			continue
		}
		err := asError(f.Err)
		if err.Kind != bridge.KindRejected {
			fill(results, i, err)
			return
		}
		results[i] = err
	}
}

func asError(err error) *bridge.Error {
	if e, ok := errors.AsType[*bridge.Error](err); ok {
		return e
	}
	kind := bridge.KindOf(err)
	if kind == bridge.KindUnknown {
		kind = bridge.KindTransient
	}
	return &bridge.Error{Op: "memory publish", Kind: kind, Err: err}
}

func (m *Memory) storeLocked(msg *bridge.Message) {
	s := m.store
	replay := msg.Event.Flags&bridge.FlagReplay != 0
	if m.once && !replay {
		id := msg.Event.ID
		if id.Epoch == s.position.Epoch && id.Offset <= s.position.Offset {
			return
		}
		s.position = id
	}
	d := Delivered{
		Destination: msg.Destination, ID: msg.Event.ID.String(), Key: string(msg.Key),
		Payload: bytes.Clone(msg.Payload), Time: msg.Event.Time(), Headers: map[string]string{},
	}
	for _, h := range msg.Headers {
		d.Headers[h.Name] = string(h.Value)
	}
	s.got = append(s.got, d)
}

// Close implements bridge.Sink.
func (m *Memory) Close(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func fill(results []error, from int, err error) {
	for i := from; i < len(results); i++ {
		results[i] = err
	}
}

var (
	_ bridge.Sink    = (*Memory)(nil)
	_ bridge.Resumer = OnceMemory{}
)
