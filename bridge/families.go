package bridge

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// maxFamilies bounds the families that are counted apart: a label for each
// would let a misbehaving source grow the metrics without end.
const maxFamilies = 100

// families counts events by topic family (the first segment).
type families struct {
	mu     sync.Mutex
	counts map[string]*uint64
}

const familyOther = "other"

var unparsedFamily = []byte("unparsed")

func newFamilies() *families { return &families{counts: make(map[string]*uint64)} }

// add counts a group of events.
func (f *families) add(events []Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range events {
		e := &events[i]
		if e.Flags&FlagUnparsed != 0 {
			*f.counter(unparsedFamily)++
			continue
		}
		family, _, _ := bytes.Cut(e.Note.Field(FieldTopic), []byte{'.'})
		*f.counter(family)++
	}
}

func (f *families) counter(family []byte) *uint64 {
	if c := f.counts[string(family)]; c != nil { // the conversion does not allocate
		return c
	}
	name := strings.ToValidUTF8(string(family), "?")
	if len(f.counts) >= maxFamilies || len(name) > 64 {
		name = familyOther
	}
	c := f.counts[name]
	if c == nil {
		c = new(uint64)
		f.counts[name] = c
	}
	return c
}

// snapshot returns the counts sorted by name.
func (f *families) snapshot() []FamilyCount {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]FamilyCount, 0, len(f.counts))
	for name, n := range f.counts {
		out = append(out, FamilyCount{Family: name, Events: *n})
	}
	slices.SortFunc(out, func(a, b FamilyCount) int { return strings.Compare(a.Family, b.Family) })
	return out
}
