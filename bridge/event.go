package bridge

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Origin says who made an event: OriginHub for a notification, OriginBridge
// for a record that the bridge made itself, else the type of the source.
const (
	OriginHub    = "hub"
	OriginBridge = "bridge"
)

// Source identifies where an event came from. It is immutable once an event
// refers to it, and shared by all events of that source.
type Source struct {
	Origin string // OriginHub, OriginBridge, or the source type
	ID     string // hub id (24 hex digits), or the source's name; may be empty for OriginBridge
	Name   string // hub_name or source name, from the configuration
}

// Flags are the marks an event carries. The values are stored in the journal:
// never renumber them.
type Flags uint16

const (
	// FlagPossibleDuplicate marks an event that may repeat an earlier one.
	FlagPossibleDuplicate Flags = 1 << iota
	// FlagLate marks an event whose place in the order is later than its arrival.
	FlagLate
	// FlagReplay marks an event that was sent again on request.
	FlagReplay
	// FlagEnriched marks an event that carries a resource.
	FlagEnriched
	// FlagUnparsed marks a frame that is not a JSON object with a topic.
	FlagUnparsed
	// FlagTruncated marks an event of which only the beginning was kept.
	FlagTruncated
)

// shownFlags are those that a consumer sees, in the order of DESIGN §8.
var shownFlags = []struct {
	flag Flags
	name string
}{
	{FlagPossibleDuplicate, "possible_duplicate"},
	{FlagLate, "late"},
	{FlagReplay, "replay"},
	{FlagEnriched, "enriched"},
	{FlagUnparsed, "unparsed"},
	{FlagTruncated, "truncated"},
}

// Append appends the names of the flags to dst, separated by commas.
func (f Flags) Append(dst []byte) []byte {
	start := len(dst)
	for _, s := range shownFlags {
		if f&s.flag == 0 {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(dst, s.name...)
	}
	return dst
}

func (f Flags) String() string { return string(f.Append(nil)) }

// ID names an event for ever: the epoch of the writer's term and the offset
// in the journal. Its text form is "<epoch>-<offset>".
type ID struct {
	Epoch  string // ten characters of [0-9a-z]
	Offset uint64 // from 1, gapless
}

// Append appends the text form of the id to dst.
func (id ID) Append(dst []byte) []byte {
	dst = append(dst, id.Epoch...)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, id.Offset, 10)
}

func (id ID) String() string { return string(id.Append(nil)) }

// IsZero reports whether id names no event.
func (id ID) IsZero() bool { return id.Offset == 0 && id.Epoch == "" }

// ParseID reads the text form of an id.
func ParseID(s string) (ID, error) {
	epoch, num, ok := strings.Cut(s, "-")
	if !ok || epoch == "" {
		return ID{}, fmt.Errorf("event id %q: want <epoch>-<offset>", s)
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n == 0 {
		return ID{}, fmt.Errorf("event id %q: the offset is not a positive number", s)
	}
	return ID{Epoch: epoch, Offset: n}, nil
}

// Event is a notification, or a record that the bridge made itself, with its
// place in the journal. Once appended it is immutable and shared between all
// readers: nobody may write to Raw.
type Event struct {
	ID         ID    // zero until the journal has assigned it
	ReceivedAt int64 // arrival time, nanoseconds since 1970 UTC
	Source     *Source
	Conn       uint32 // number of the connection that brought it
	Flags      Flags
	Raw        []byte // the notification, byte for byte
	Note       Notification
	Cut        *Cut // what Raw is the beginning of; nil unless FlagTruncated is set
}

// Cut tells of a message that was too long to keep: Raw is its beginning.
type Cut struct {
	Length uint64   // of the whole message
	SHA256 [32]byte // of the whole message
}

// Time returns the arrival time in UTC.
func (e *Event) Time() time.Time { return time.Unix(0, e.ReceivedAt).UTC() }
