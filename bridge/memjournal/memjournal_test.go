package memjournal_test

import (
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/journaltest"
	"github.com/cycle-bridge/cycle-bridge/bridge/memjournal"
)

type storage struct {
	s    *memjournal.Store
	opts memjournal.Options
}

func (s *storage) Open(*testing.T) bridge.Journal { return s.s.Open(s.opts) }
func (s *storage) Crash(*testing.T) journaltest.Storage {
	return &storage{s: s.s.Clone(), opts: s.opts}
}

func (s *storage) DeadLetters(*testing.T, bridge.Journal) []bridge.DeadLetter {
	return s.s.DeadLetters()
}

func TestConformance(t *testing.T) {
	journaltest.Run(t, journaltest.Harness{
		New: func(_ *testing.T, limits journaltest.Limits) journaltest.Storage {
			return &storage{s: memjournal.NewStore(), opts: memjournal.Options{MaxBytes: uint64(limits.MaxBytes)}} //nolint:gosec // positive
		},
	})
}
