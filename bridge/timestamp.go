package bridge

import (
	"fmt"
	"time"
)

// Timestamp is a point in time in nanoseconds since 1970 UTC; 0 is none. In
// JSON and headers it has the form of RFC 3339 in UTC with nine digits behind
// the second, so that it sorts as text: 2026-01-02T15:04:05.000000000Z.
type Timestamp int64

// TimestampOf returns t as a Timestamp, 0 for the zero time.
func TimestampOf(t time.Time) Timestamp {
	if t.IsZero() {
		return 0
	}
	return Timestamp(t.UnixNano())
}

const (
	timestampLayout  = "2006-01-02T15:04:05.000000000Z"
	secondLen        = len("2006-01-02T15:04:05.")
	nanosPerSecond   = int64(time.Second)
	timestampTextLen = len(timestampLayout)
)

// Time returns t in UTC; the zero time for 0.
func (t Timestamp) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t)).UTC()
}

// IsZero reports whether t is none.
func (t Timestamp) IsZero() bool { return t == 0 }

// Append appends the text form.
func (t Timestamp) Append(dst []byte) []byte {
	return time.Unix(0, int64(t)).UTC().AppendFormat(dst, timestampLayout)
}

func (t Timestamp) String() string { return string(t.Append(nil)) }

// MarshalText returns the text form; that of none is empty.
func (t Timestamp) MarshalText() ([]byte, error) {
	if t == 0 {
		return []byte{}, nil
	}
	return t.Append(nil), nil
}

// UnmarshalText reads RFC 3339 with any number of digits behind the second.
func (t *Timestamp) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = 0
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return fmt.Errorf("timestamp: %w", err)
	}
	*t = Timestamp(at.UnixNano())
	return nil
}

// clock makes timestamps of times that lie close together: what stands before
// the fraction of the second is made once a second.
type clock struct {
	second int64
	text   [secondLen]byte
	ready  bool
}

func (c *clock) append(dst []byte, nanos int64) []byte {
	second, fraction := nanos/nanosPerSecond, nanos%nanosPerSecond
	if fraction < 0 {
		second, fraction = second-1, fraction+nanosPerSecond
	}
	if !c.ready || second != c.second {
		time.Unix(second, 0).UTC().AppendFormat(c.text[:0], timestampLayout[:secondLen])
		c.second, c.ready = second, true
	}
	dst = append(dst, c.text[:]...)
	var digits [9]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + fraction%10)
		fraction /= 10
	}
	dst = append(dst, digits[:]...)
	return append(dst, 'Z')
}
