package file

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// recover opens the file and brings it and the position to a state that
// agrees with what the last record says.
func (s *Sink) recover() error {
	if s.lock == nil {
		lock := flock.New(s.config.Path + ".lock")
		ok, err := lock.TryLock()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%s: %w", s.config.Path, errHeld)
		}
		s.lock = lock
	}
	var err error
	if s.slots, s.pos, err = openSlots(s.config.Path + ".position"); err != nil {
		return err
	}
	if s.f, err = os.OpenFile(s.config.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640); err != nil {
		return err
	}
	st, err := s.f.Stat()
	if err != nil {
		return err
	}
	size := st.Size()
	at := s.pos.After
	if !s.pos.Settled && s.pos.Number > 0 {
		whole, err := s.isWhole(size)
		if err != nil {
			return err
		}
		if !whole {
			at = s.pos.Before
			// Only what this record was about to write is ours to remove.
			if size > at.Size && size <= s.pos.After.Size {
				s.log.Warn("a write that was cut short is removed", slog.String("sink", s.env.Name),
					slog.String("path", s.config.Path), slog.Int64("bytes", size-at.Size))
				if err := s.f.Truncate(at.Size); err != nil {
					return err
				}
				size = at.Size
			}
		}
	}
	if size, err = s.endLine(size); err != nil {
		return err
	}
	if s.pos.Journal != s.env.JournalID {
		if s.pos.Journal != "" {
			s.log.Warn("file was written from another journal", slog.String("sink", s.env.Name), slog.String("path", s.config.Path))
		}
		at.Epoch, at.Offset = "", 0
	}
	at.Size = size
	if size == 0 || s.pos.Born == 0 {
		s.pos.Born = s.now().Unix()
	}
	s.pos.Journal, s.pos.Before, s.pos.After, s.pos.CRC, s.pos.Settled = s.env.JournalID, at, at, 0, true
	if err := s.slots.put(&s.pos); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.config.Path))
}

// isWhole reports whether all that the record announces is in the file.
func (s *Sink) isWhole(size int64) (bool, error) {
	if size < s.pos.After.Size {
		return false, nil
	}
	h := crc32.New(castagnoli)
	n := s.pos.After.Size - s.pos.Before.Size
	if _, err := io.Copy(h, io.NewSectionReader(s.f, s.pos.Before.Size, n)); err != nil {
		return false, err
	}
	return h.Sum32() == s.pos.CRC, nil
}

// endLine ends a line that somebody else left open, so that ours is whole.
func (s *Sink) endLine(size int64) (int64, error) {
	if size == 0 {
		return 0, nil
	}
	var last [1]byte
	if _, err := s.f.ReadAt(last[:], size-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return size, nil
	}
	n, err := s.f.Write([]byte("\n"))
	return size + int64(n), err
}

// full reports whether a new file must be begun before n more bytes.
func (s *Sink) full(n int64) bool {
	size := s.pos.After.Size
	if size == 0 {
		return false
	}
	if limit := int64(s.config.MaxSize); limit > 0 && size+n > limit {
		return true
	}
	return s.config.MaxAge > 0 && s.now().Sub(time.Unix(s.pos.Born, 0)) >= s.config.MaxAge
}

// rotatedLayout names old files so that their names sort by age.
const rotatedLayout = "20060102T150405.000000Z"

// rotate moves the file away and begins a new one. The record is settled
// first: a crash between the steps leaves nothing open.
func (s *Sink) rotate() error {
	s.pos.Settled = true
	if err := s.slots.put(&s.pos); err != nil {
		return err
	}
	old := s.config.Path + "." + s.now().UTC().Format(rotatedLayout)
	for i := 1; ; i++ {
		if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
			break
		}
		old = fmt.Sprintf("%s.%s-%d", s.config.Path, s.now().UTC().Format(rotatedLayout), i)
	}
	if err := os.Rename(s.config.Path, old); err != nil {
		return err
	}
	f, err := os.OpenFile(s.config.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	err = s.f.Close()
	s.f = f
	if err != nil {
		return err
	}
	s.pos.After.Size, s.pos.Born = 0, s.now().Unix()
	s.pos.Before = s.pos.After
	if err := syncDir(filepath.Dir(s.config.Path)); err != nil {
		return err
	}
	s.prune()
	return nil
}

// prune removes the oldest files beyond Keep. It is no reason to stop if it fails.
func (s *Sink) prune() {
	if s.config.Keep == 0 {
		return
	}
	old, err := s.rotated()
	if err != nil {
		s.log.Warn("old files cannot be listed", slog.String("sink", s.env.Name), slog.String("error", err.Error()))
		return
	}
	for len(old) > s.config.Keep {
		if err := os.Remove(old[0]); err != nil {
			s.log.Warn("old file cannot be removed", slog.String("sink", s.env.Name), slog.String("error", err.Error()))
		}
		old = old[1:]
	}
}

// rotated returns the old files, oldest first. Only names that rotate made count.
func (s *Sink) rotated() ([]string, error) {
	dir, base := filepath.Split(s.config.Path)
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base+".")
		if !ok {
			continue
		}
		stamp, _, _ := strings.Cut(rest, "-")
		if _, err := time.Parse(rotatedLayout, stamp); err == nil {
			out = append(out, dir+e.Name())
		}
	}
	slices.Sort(out)
	return out, nil
}

// syncDir makes a rename or a new file durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
