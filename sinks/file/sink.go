package file

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/gofrs/flock"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const opPublish = "file write"

// Sink appends lines to one file. Its methods may be called concurrently, and
// run one after the other.
type Sink struct {
	config Config
	env    bridge.Env
	log    *slog.Logger
	stdout io.Writer // set when the path is Stdout
	now    func() time.Time
	// write is what puts bytes into the file; tests make it fail.
	write func(*os.File, []byte) (int, error)

	mu     sync.Mutex
	closed bool
	lock   *flock.Flock
	f      *os.File // nil when it must be opened and recovered
	slots  slots
	pos    position
	buf    []byte
}

// Open returns a sink. The file is opened by the first call that needs it:
// a directory that is not there, or that may not be written, is told then.
func Open(_ context.Context, c Config, env bridge.Env) (bridge.Sink, error) {
	s, err := open(c, env)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func open(c Config, env bridge.Env) (*Sink, error) {
	if m := c.Validate(); len(m) > 0 {
		errs := make([]error, len(m))
		for i := range m {
			errs[i] = m[i]
		}
		return nil, &bridge.Error{Op: "open file sink", Kind: bridge.KindMisconfigured, Err: errors.Join(errs...)}
	}
	s := &Sink{config: c, env: env, log: env.Log, now: time.Now, write: (*os.File).Write}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.Path == Stdout {
		s.stdout = os.Stdout
	}
	return s, nil
}

// Close notes that all is written and releases the file.
func (s *Sink) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.f != nil {
		s.pos.Settled = true
		err = s.slots.put(&s.pos)
	}
	if err = errors.Join(err, s.release()); err != nil {
		return classify("close file sink", err)
	}
	return nil
}

func (s *Sink) release() error {
	var errs []error
	if s.f != nil {
		errs = append(errs, s.f.Close())
	}
	if s.slots.f != nil {
		errs = append(errs, s.slots.f.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	s.f, s.slots, s.lock = nil, slots{}, nil
	return errors.Join(errs...)
}

// Resume implements bridge.Resumer: the last live event of this journal in the file.
func (s *Sink) Resume(ctx context.Context, stored bridge.Position, known bool) (bridge.Position, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdout != nil {
		return stored, false, nil
	}
	if err := s.ready(ctx); err != nil {
		return stored, false, err
	}
	end := s.pos.After.id()
	switch {
	case end.IsZero():
		return stored, false, nil
	case known && end.Offset <= stored.ID.Offset:
		return stored, true, nil
	}
	return bridge.Position{ID: end}, true, nil
}

// ready returns nil when the file can be appended to.
func (s *Sink) ready(ctx context.Context) error {
	if s.closed {
		return &bridge.Error{Op: opPublish, Kind: bridge.KindCanceled, Err: bridge.ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return &bridge.Error{Op: opPublish, Kind: bridge.KindOf(err), Err: err}
	}
	if s.stdout != nil {
		return nil
	}
	if s.f != nil && s.replaced() {
		s.log.Info("file was moved away, a new one is begun", slog.String("sink", s.env.Name), slog.String("path", s.config.Path))
		s.pos.Settled = true
		if err := s.slots.put(&s.pos); err != nil {
			return classify(opPublish, err)
		}
		if err := s.release(); err != nil {
			return classify(opPublish, err)
		}
	}
	if s.f == nil {
		if err := s.recover(); err != nil {
			return errors.Join(classify(opPublish, err), s.release())
		}
	}
	return nil
}

// replaced reports whether the path names another file than the open one.
func (s *Sink) replaced() bool {
	have, err := s.f.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(s.config.Path)
	return err != nil || !os.SameFile(have, there)
}

// Publish implements bridge.Sink. A batch is accepted as a whole.
func (s *Sink) Publish(ctx context.Context, msgs []bridge.Message, results []error) {
	if len(msgs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.ready(ctx)
	if err == nil {
		err = s.append(msgs)
	}
	if err != nil {
		for i := range results {
			results[i] = err
		}
	}
}

func (s *Sink) append(msgs []bridge.Message) error {
	after := s.pos.After
	s.buf = s.buf[:0]
	for i := range msgs {
		e := msgs[i].Event
		live := e.Flags&bridge.FlagReplay == 0
		if live && s.stdout == nil && e.ID.Epoch == s.pos.After.Epoch && e.ID.Offset <= s.pos.After.Offset {
			continue // in the file since before a crash, or a write whose fate was open
		}
		s.buf = appendLine(s.buf, e, msgs[i].Payload)
		if live {
			after.Epoch, after.Offset = e.ID.Epoch, e.ID.Offset
		}
	}
	switch {
	case len(s.buf) == 0:
		return nil
	case s.stdout != nil:
		if _, err := s.stdout.Write(s.buf); err != nil {
			return classify("stdout write", err)
		}
		return nil
	}
	if s.full(int64(len(s.buf))) {
		if err := s.rotate(); err != nil {
			_ = s.release()
			return classify("file rotate", err)
		}
	}
	// s.pos may be of a new file: only the event is carried over.
	before := s.pos.After
	after.Size = before.Size + int64(len(s.buf))
	next := s.pos
	next.Journal, next.Before, next.After, next.Settled = s.env.JournalID, before, after, false
	next.CRC = crc32.Checksum(s.buf, castagnoli)
	if err := s.slots.put(&next); err != nil {
		_ = s.release() // which record stands is read again
		return classify(opPublish, err)
	}
	_, err := s.write(s.f, s.buf)
	if err == nil {
		err = s.f.Sync()
	}
	if err == nil {
		s.pos = next
		return nil
	}
	// Cut off what is there of it, so that whoever follows the file does not
	// wait for the rest of a line. Recovery does it again if this fails.
	if e := s.f.Truncate(before.Size); e != nil {
		err = errors.Join(err, e)
	}
	_ = s.release()
	return classify(opPublish, err)
}

// appendLine appends the payload as one line that is a JSON object.
func appendLine(dst []byte, e *bridge.Event, payload []byte) []byte {
	if !isObject(payload) {
		dst = append(dst, `{"id":"`...)
		dst = e.ID.Append(dst)
		dst = append(dst, `","payload_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, payload)
		return append(dst, `"}`+"\n"...)
	}
	start := len(dst)
	dst = append(dst, payload...)
	for i := start; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' ' // outside strings, where JSON allows it only as white space
		}
	}
	return append(dst, '\n')
}

func isObject(b []byte) bool {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			return json.Valid(b) && utf8.Valid(b)
		}
		return false
	}
	return false
}

// classify says what a system's error means.
func classify(op string, err error) error {
	e := &bridge.Error{Op: op, Kind: bridge.KindUnavailable, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Hint = "the disk is full: make room; nothing is lost meanwhile, the events stay in the journal"
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		e.Kind, e.Hint = bridge.KindMisconfigured, "allow the bridge's user to write the file and its directory"
	case errors.Is(err, os.ErrNotExist):
		e.Kind, e.Hint = bridge.KindMisconfigured, "make the directory"
	case errors.Is(err, errHeld):
		e.Kind, e.Hint = bridge.KindMisconfigured, "give every sink a path of its own"
	case errors.Is(err, syscall.EPIPE):
		e.Hint = "whoever read our output is gone"
	}
	return e
}

var errHeld = errors.New("another process or sink writes this file")

// Probe checks that the file's directory is there and the file may be
// written. It writes nothing.
func Probe(_ context.Context, c Config, env bridge.Env) error {
	const op = "probe file sink"
	s, err := open(c, env)
	if err != nil || s.stdout != nil {
		return err
	}
	f, err := os.OpenFile(c.Path, os.O_WRONLY, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, os.ErrNotExist):
		return nil // it will be made; Validate has seen the directory
	}
	return classify(op, fmt.Errorf("open: %w", err))
}

var (
	_ bridge.Sink    = (*Sink)(nil)
	_ bridge.Resumer = (*Sink)(nil)
)
