package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind classes an error by what must be done about it. Callers act on the
// Kind, never on the text.
type Kind uint8

const (
	// KindUnknown means that nobody classified it. Treated as KindTransient and counted.
	KindUnknown Kind = iota
	// KindCanceled is our own shutdown, not a failure.
	KindCanceled
	// KindTransient says that this attempt failed or its outcome is unknown; the same message may pass.
	KindTransient
	// KindThrottled says that the destination asks to slow down.
	KindThrottled
	// KindUnavailable says that the destination as a whole is unreachable.
	KindUnavailable
	// KindRejected says that this message will never be accepted.
	KindRejected
	// KindMisconfigured says that the settings are wrong, here or there.
	KindMisconfigured
)

var kindNames = [...]string{"unknown", "canceled", "transient", "throttled", "unavailable", "rejected", "misconfigured"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is an error with its class and what the operator can do about it.
type Error struct {
	Op         string // what was being done: "kafka produce"
	Kind       Kind
	Hint       string        // what to check or run; a sentence, or empty
	RetryAfter time.Duration // how long the other side asks to wait; 0 when it does not say
	Err        error
}

func (e *Error) Error() string {
	s := e.Op
	if e.Err != nil {
		if s != "" {
			s += ": "
		}
		s += e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the Kind of the outermost *Error in the chain, else
// KindCanceled for a canceled context, else KindUnknown.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return KindCanceled
	case errors.Is(err, context.DeadlineExceeded):
		return KindTransient
	}
	return KindUnknown
}

// RetryAfterOf returns how long the other side asked to wait; 0 when it did not.
func RetryAfterOf(err error) time.Duration {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

// Errorf makes an *Error of the given class.
func Errorf(kind Kind, op, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Err: fmt.Errorf(format, args...)}
}

var (
	// ErrClosed is returned by everything that was closed.
	ErrClosed = errors.New("closed")
	// ErrFenced is returned by Append when another writer has taken over the journal.
	ErrFenced = errors.New("another writer has taken over the journal")
	// ErrStaleCursor is returned when a cursor would go back, or when another process moved it.
	ErrStaleCursor = errors.New("the stored cursor is further on")
)
