package jetjournal

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// record is what is kept outside the stream, so that a loss of the stream's
// end is seen. It is written after the acknowledgement, so it is a lower
// bound and raises no false alarm.
type record struct {
	Journal string                     `json:"journal"` // the journal's id
	Epoch   string                     `json:"epoch"`   // of the writer of this record
	Seq     uint64                     `json:"seq"`     // last sequence
	Offset  uint64                     `json:"offset"`  // last offset
	At      time.Time                  `json:"at"`      // of the last group, writer's clock
	Floor   uint64                     `json:"floor"`   // sequences below were removed by the limits
	Oldest  uint64                     `json:"oldest"`  // oldest kept offset
	Alive   map[string]time.Time       `json:"alive,omitempty"`
	Sinks   map[string]bridge.Position `json:"sinks,omitempty"` // that ever ran, with their cursors
}

// store keeps a record.
type store interface {
	// load returns the newest record, ok false when there is none.
	load(ctx context.Context) (record, bool, error)
	// save writes one; with sync it is durable on return.
	save(ctx context.Context, b []byte, sync bool) error
	close() error
}

// keeper writes the record when it has changed: at most every write
// interval, synced at most every sync interval.
type keeper struct {
	store store
	log   *slog.Logger
	write time.Duration
	sync  time.Duration

	mu   sync.Mutex // guards rec
	rec  record
	kick chan struct{} // holds one token when rec is to be written

	failing bool // owned by run
}

func (k *keeper) change(f func(*record)) {
	k.mu.Lock()
	f(&k.rec)
	k.mu.Unlock()
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

func (k *keeper) landed(seq, offset uint64, h *header) {
	k.change(func(r *record) {
		r.Seq, r.Offset, r.Epoch, r.At = seq, max(r.Offset, offset), h.Epoch, wallTime(h.Time)
	})
}

// snapshot returns a copy.
func (k *keeper) snapshot() record {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.rec
	r.Alive, r.Sinks = maps.Clone(r.Alive), maps.Clone(r.Sinks)
	return r
}

func (k *keeper) save(ctx context.Context, sync bool) error {
	k.mu.Lock()
	b, err := json.Marshal(&k.rec)
	k.mu.Unlock()
	if err != nil {
		return err
	}
	return k.store.save(ctx, b, sync)
}

// run writes until ctx is done.
func (k *keeper) run(ctx context.Context) {
	var synced time.Time
	for {
		var dirty bool
		select {
		case <-k.kick:
			dirty = true
		case <-ctx.Done():
			return
		}
		for dirty {
			sync := time.Since(synced) >= k.sync
			err := k.save(ctx, sync)
			if err != nil && ctx.Err() == nil && !k.failing {
				k.log.LogAttrs(ctx, slog.LevelWarn, "state record was not written", slog.Any("error", err))
			}
			k.failing = err != nil
			if sync && err == nil {
				synced = time.Now()
			}
			if bridge.Sleep(ctx, k.write) != nil {
				return
			}
			select {
			case <-k.kick:
			default:
				// Nothing new; what was written without a sync still needs one.
				dirty = !sync || err != nil
				if dirty && bridge.Sleep(ctx, max(k.sync-time.Since(synced), 0)) != nil {
					return
				}
			}
		}
	}
}

// fileStore keeps the record in a file with two slots. Writes go to one slot
// until it was synced; only then the other one may be touched, so that a
// power cut always leaves one whole.
//
// A slot is {magic "CYS1", CRC-32C of what follows, generation u64, length
// u32, JSON}.
type fileStore struct {
	f    *os.File
	gen  uint64
	slot int64 // the one that is written now
}

const (
	slotSize   = 4 << 20 // sparse; 5,000 hubs need 400 kB
	slotHeader = 20
	slotMagic  = "CYS1"
)

func openFileStore(path string) (*fileStore, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &fileStore{f: f}, nil
}

func readSlot(f *os.File, slot int64) (gen uint64, body []byte, err error) {
	var h [slotHeader]byte
	if _, err := f.ReadAt(h[:], slot*slotSize); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(h[16:])
	if string(h[:4]) != slotMagic || n > slotSize-slotHeader {
		return 0, nil, errors.New("not a record")
	}
	b := make([]byte, 12+int(n))
	if _, err := f.ReadAt(b, slot*slotSize+8); err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(h[4:]) {
		return 0, nil, errors.New("the checksum is wrong")
	}
	return binary.LittleEndian.Uint64(h[8:]), b[12:], nil
}

func (s *fileStore) load(context.Context) (rec record, ok bool, err error) {
	for slot := range int64(2) {
		gen, body, err := readSlot(s.f, slot)
		if err != nil || gen < s.gen {
			continue
		}
		var r record
		if json.Unmarshal(body, &r) != nil {
			continue
		}
		rec, ok = r, true
		s.gen, s.slot = gen, 1-slot // the good one stays until the other is synced
	}
	return rec, ok, nil
}

func (s *fileStore) save(_ context.Context, body []byte, sync bool) error {
	if len(body) > slotSize-slotHeader {
		return fmt.Errorf("a state record of %d bytes is over the limit of %d", len(body), slotSize-slotHeader)
	}
	s.gen++
	b := make([]byte, slotHeader, slotHeader+len(body))
	copy(b, slotMagic)
	binary.LittleEndian.PutUint64(b[8:], s.gen)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(body))) //nolint:gosec // checked above
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	if _, err := s.f.WriteAt(b, s.slot*slotSize); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	s.slot = 1 - s.slot
	return nil
}

func (s *fileStore) close() error { return s.f.Close() }

// kvStore keeps the record in the journal's bucket.
type kvStore struct{ kv jetstream.KeyValue }

const stateKey = "state"

func (s kvStore) load(ctx context.Context) (record, bool, error) {
	e, err := s.kv.Get(ctx, stateKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, err
	}
	var r record
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		return record{}, false, fmt.Errorf("state record: %w", err)
	}
	return r, true, nil
}

func (s kvStore) save(ctx context.Context, b []byte, _ bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := s.kv.Put(ctx, stateKey, b)
	return err
}

func (kvStore) close() error { return nil }
