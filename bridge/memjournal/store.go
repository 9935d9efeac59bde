// Package memjournal is a bridge.Journal in memory, for tests. It passes the
// same suite as the real one (journaltest), starts no goroutine, and works
// inside a testing/synctest bubble.
package memjournal

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Store is what survives a crash: groups, cursors and dead letters that were
// acknowledged. It may be opened again and again, by one Journal at a time.
type Store struct {
	mu      sync.Mutex // guards everything below
	id      string
	epochs  int
	groups  []group
	first   uint64 // sequence of groups[0]
	next    uint64 // offset of the next event
	bytes   uint64
	cursors map[string]bridge.Position
	dead    []bridge.DeadLetter
	proofs  map[string]time.Time
	opened  *Journal
}

type group struct {
	at     time.Time
	first  uint64
	events []bridge.Event
	bytes  uint64
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		id: "memjournal", first: 1, next: 1,
		cursors: map[string]bridge.Position{}, proofs: map[string]time.Time{},
	}
}

// Clone returns a copy as a crash at this instant would leave it. Events are
// shared; they never change.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{
		id: s.id, epochs: s.epochs, groups: slices.Clone(s.groups), first: s.first, next: s.next, bytes: s.bytes,
		cursors: maps.Clone(s.cursors), dead: slices.Clone(s.dead), proofs: maps.Clone(s.proofs),
	}
}

// DeadLetters returns what was stored, oldest first.
func (s *Store) DeadLetters() []bridge.DeadLetter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.dead)
}

// Proofs returns the last proof of life of every source.
func (s *Store) Proofs() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.proofs)
}

// Events returns a copy of all kept events, oldest first.
func (s *Store) Events() []bridge.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []bridge.Event
	for _, g := range s.groups {
		out = append(out, g.events...)
	}
	return out
}

// Open opens the store for a new term. A journal that is still open on it is
// fenced by that, as by a takeover.
func (s *Store) Open(o Options) *Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epochs++
	j := &Journal{
		store: s, opts: o, isNew: s.epochs == 1, epoch: fmt.Sprintf("m%09d", s.epochs),
		first: s.next, changed: make(chan struct{}), since: time.Now(), closed: make(chan struct{}),
	}
	s.opened = j
	return j
}

// trim applies the limit. s.mu is held.
func (s *Store) trim(limit uint64) {
	for limit > 0 && len(s.groups) > 1 && s.bytes > limit {
		s.bytes -= s.groups[0].bytes
		s.groups = s.groups[1:]
		s.first++
	}
}
