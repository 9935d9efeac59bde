package jetjournal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const cursorPrefix = "cursor."

// stored is a cursor as it stands in the bucket.
type stored struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
	Seq    uint64 `json:"seq,omitempty"`
}

func (s stored) position() bridge.Position {
	return bridge.Position{ID: bridge.ID{Epoch: s.Epoch, Offset: s.Offset}, Seq: s.Seq}
}

// cursors keeps the sinks' positions in the journal's bucket, each by the
// revision that this process saw last: a second process that moves a cursor is
// found out.
type cursors struct {
	mu    sync.Mutex // guards slots
	slots map[string]*slot
}

// slot is one sink's cursor; turn holds one token while it is worked on.
type slot struct {
	turn  chan struct{}
	known bool // rev and pos are what this process has seen or written
	rev   uint64
	pos   stored
}

func (c *cursors) slot(sink string) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[sink]
	if s == nil {
		s = &slot{turn: make(chan struct{}, 1)}
		c.slots[sink] = s
	}
	return s
}

// cursorKey is the key of a sink's cursor: what a bucket's key cannot hold is
// written as =XX.
func cursorKey(sink string) string {
	var b strings.Builder
	b.WriteString(cursorPrefix)
	for i := range len(sink) {
		c := sink[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

func (j *Journal) enterSlot(ctx context.Context, sink string) (*slot, error) {
	s := j.cursors.slot(sink)
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-j.closing:
		return nil, bridge.ErrClosed
	}
	select {
	case <-j.closing:
		<-s.turn
		return nil, bridge.ErrClosed
	default:
		return s, nil
	}
}

func (j *Journal) readCursor(ctx context.Context, sink string) (pos stored, rev uint64, ok bool, err error) {
	e, err := j.kv.Get(ctx, cursorKey(sink))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return stored{}, 0, false, nil
	}
	if err != nil {
		return stored{}, 0, false, bridge.Errorf(bridge.KindUnavailable, "read cursor", "sink %s: %w", sink, err)
	}
	if err := json.Unmarshal(e.Value(), &pos); err != nil {
		return stored{}, 0, false, bridge.Errorf(bridge.KindUnknown, "read cursor", "sink %s: %w", sink, err)
	}
	return pos, e.Revision(), true, nil
}

// Cursor implements bridge.Journal.
func (j *Journal) Cursor(ctx context.Context, sink string) (bridge.Position, bool, error) {
	s, err := j.enterSlot(ctx, sink)
	if err != nil {
		return bridge.Position{}, false, err
	}
	defer func() { <-s.turn }()
	pos, rev, ok, err := j.readCursor(ctx, sink)
	if err != nil {
		return bridge.Position{}, false, err
	}
	s.known, s.rev, s.pos = true, rev, pos
	return pos.position(), ok, nil
}

// SetCursor implements bridge.Journal. A position at the stored one is no
// error. ErrStaleCursor also means that another process has moved the cursor.
func (j *Journal) SetCursor(ctx context.Context, sink string, pos bridge.Position) error {
	s, err := j.enterSlot(ctx, sink)
	if err != nil {
		return err
	}
	defer func() { <-s.turn }()
	if !s.known {
		old, rev, _, err := j.readCursor(ctx, sink)
		if err != nil {
			return err
		}
		s.known, s.rev, s.pos = true, rev, old
	}
	want := stored{Epoch: pos.ID.Epoch, Offset: pos.ID.Offset, Seq: pos.Seq}
	if want.Offset < s.pos.Offset {
		return fmt.Errorf("set cursor of sink %s to %s behind %s-%d: %w", sink, pos.ID, s.pos.Epoch, s.pos.Offset, bridge.ErrStaleCursor)
	}
	if s.rev != 0 && want == s.pos {
		return nil
	}
	b, err := json.Marshal(want)
	if err != nil {
		return err
	}
	rev, err := j.kv.Update(ctx, cursorKey(sink), b, s.rev)
	if err != nil {
		// The write may have landed although its answer was lost.
		now, nowRev, ok, rerr := j.readCursor(ctx, sink)
		switch {
		case rerr != nil:
			s.known = false
			return bridge.Errorf(bridge.KindUnavailable, "set cursor", "sink %s: %w", sink, errors.Join(err, rerr))
		case ok && now == want:
			rev = nowRev
		case nowRev != s.rev:
			s.known = false
			return fmt.Errorf("set cursor of sink %s: another process moved it to %s-%d: %w", sink, now.Epoch, now.Offset, bridge.ErrStaleCursor)
		default:
			return bridge.Errorf(bridge.KindUnavailable, "set cursor", "sink %s: %w", sink, err)
		}
	}
	s.rev, s.pos = rev, want
	j.state.change(func(r *record) {
		if r.Sinks == nil {
			r.Sinks = map[string]bridge.Position{}
		}
		r.Sinks[sink] = pos
	})
	return nil
}

// furthest returns the highest offset of all cursors in the bucket.
func (j *Journal) furthest(ctx context.Context) (uint64, error) {
	l, err := j.kv.ListKeysFiltered(ctx, cursorPrefix+">")
	if err != nil {
		return 0, err
	}
	var most uint64
	var keys []string
	for k := range l.Keys() {
		keys = append(keys, k)
	}
	for _, k := range keys {
		e, err := j.kv.Get(ctx, k)
		if err != nil {
			return 0, err
		}
		var pos stored
		if json.Unmarshal(e.Value(), &pos) == nil {
			most = max(most, pos.Offset)
		}
	}
	return most, nil
}
