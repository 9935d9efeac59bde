package jetjournal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// The group format, version 1. See doc.go and adr/0001-journal-format.md; the
// golden test holds the bytes.
const (
	headerSize = 88
	epochSize  = 10 // also the size of a writer id and of a journal id

	offMagic     = 0  // "CYG" and the version
	offHeaderCRC = 4  // CRC-32C of bytes 8 to 88: the group's CRC, which the next one names
	offBodyCRC   = 8  // CRC-32C of the body
	offPrevCRC   = 12 // the previous group's CRC; 0 for the first
	offEpoch     = 16
	offWriter    = 26
	offCount     = 36
	offBodySize  = 40
	offReserved  = 44 // 0
	offFirst     = 48 // offset of the first event, or of the next when empty
	offNumber    = 56 // the writer's number of this group
	offTime      = 64 // writer's clock at encoding, ns since 1970
	offPrevTime  = 72 // the same of the previous group; 0 when unknown
	offPrevSize  = 80 // bytes of the previous group; 0 when unknown
)

const formatVersion = 1

var magic = [4]byte{'C', 'Y', 'G', formatVersion}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of a group that cannot be read.
var (
	errShort   = errors.New("the group is cut short")
	errMagic   = errors.New("not a group of this format")
	errHeader  = errors.New("the header's checksum is wrong")
	errBody    = errors.New("the body's checksum is wrong")
	errContent = errors.New("the body does not hold what the header says")
)

// header is the fixed part of a group.
type header struct {
	CRC      uint32 // of the whole group: the header's, which covers the body's
	Prev     uint32
	BodyCRC  uint32
	Epoch    string
	Writer   string
	Count    uint32
	BodySize uint32
	First    uint64
	Number   uint64
	Time     int64
	PrevTime int64
	PrevSize uint64
}

// next is the offset after the group's last event.
func (h *header) next() uint64 { return h.First + uint64(h.Count) }

// encoder packs groups. It is for one goroutine; a group's bytes are valid
// until the next call.
type encoder struct {
	buf     []byte
	sources []*bridge.Source // the dictionary
	index   []int            // of each event's source
}

// encode packs events, which may be none, behind h. It fills in the count,
// the sizes and the checksums of h.
func (e *encoder) encode(h *header, events []bridge.Event) []byte {
	var zero [headerSize]byte
	b := append(e.buf[:0], zero[:]...) //nolint:gocritic // the buffer is taken back when the group is complete
	if len(events) > 0 {
		b = e.body(b, h.Time, events)
	}
	body := b[headerSize:]
	h.Count = uint32(len(events))  //nolint:gosec // at most MaxGroupEvents
	h.BodySize = uint32(len(body)) //nolint:gosec // at most the server's limit of a payload
	h.BodyCRC = crc32.Checksum(body, castagnoli)
	le := binary.LittleEndian
	copy(b[offMagic:], magic[:])
	le.PutUint32(b[offBodyCRC:], h.BodyCRC)
	le.PutUint32(b[offPrevCRC:], h.Prev)
	copy(b[offEpoch:offEpoch+epochSize], h.Epoch)
	copy(b[offWriter:offWriter+epochSize], h.Writer)
	le.PutUint32(b[offCount:], h.Count)
	le.PutUint32(b[offBodySize:], h.BodySize)
	le.PutUint64(b[offFirst:], h.First)
	le.PutUint64(b[offNumber:], h.Number)
	le.PutUint64(b[offTime:], uint64(h.Time))         //nolint:gosec // bits
	le.PutUint64(b[offPrevTime:], uint64(h.PrevTime)) //nolint:gosec // bits
	le.PutUint64(b[offPrevSize:], h.PrevSize)
	h.CRC = crc32.Checksum(b[offBodyCRC:headerSize], castagnoli)
	le.PutUint32(b[offHeaderCRC:], h.CRC)
	e.buf = b
	return b
}

func (e *encoder) body(b []byte, at int64, events []bridge.Event) []byte {
	// Groups have few sources, and neighbours mostly the same one: a scan of a
	// short list is cheaper than a map.
	e.sources, e.index = e.sources[:0], e.index[:0]
	last := -1
	for i := range events {
		if s := events[i].Source; last < 0 || e.sources[last] != s {
			last = e.find(s)
		}
		e.index = append(e.index, last)
	}
	b = binary.AppendUvarint(b, uint64(len(e.sources)))
	for _, s := range e.sources {
		if s == nil {
			s = &bridge.Source{}
		}
		b = appendString(b, s.Origin)
		b = appendString(b, s.ID)
		b = appendString(b, s.Name)
	}
	for i := range events {
		ev := &events[i]
		b = binary.AppendUvarint(b, uint64(e.index[i])) //nolint:gosec // an index
		b = binary.AppendUvarint(b, uint64(ev.Conn))
		b = binary.AppendVarint(b, ev.ReceivedAt-at)
		at = ev.ReceivedAt
		b = binary.AppendUvarint(b, uint64(ev.Flags))
		if ev.Flags&bridge.FlagTruncated != 0 {
			var c bridge.Cut
			if ev.Cut != nil {
				c = *ev.Cut
			}
			b = binary.AppendUvarint(b, c.Length)
			b = append(b, c.SHA256[:]...)
		}
		b = binary.AppendUvarint(b, uint64(len(ev.Raw)))
		b = append(b, ev.Raw...)
	}
	return b
}

// manySources is where a scan begins to cost more than what it saves: sources
// after it may stand in the dictionary more than once, which is allowed.
const manySources = 64

func (e *encoder) find(s *bridge.Source) int {
	for i := max(0, len(e.sources)-manySources); i < len(e.sources); i++ {
		if e.sources[i] == s {
			return i
		}
	}
	e.sources = append(e.sources, s)
	return len(e.sources) - 1
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decodeHeader reads the fixed part and checks its checksum, not the body's.
func decodeHeader(b []byte) (header, error) {
	if len(b) < headerSize {
		return header{}, fmt.Errorf("%w: %d bytes", errShort, len(b))
	}
	if [4]byte(b[offMagic:]) != magic {
		if string(b[:3]) == "CYG" {
			return header{}, fmt.Errorf("%w: version %d, this program reads %d", errMagic, b[3], formatVersion)
		}
		return header{}, errMagic
	}
	le := binary.LittleEndian
	h := header{
		CRC:      le.Uint32(b[offHeaderCRC:]),
		BodyCRC:  le.Uint32(b[offBodyCRC:]),
		Prev:     le.Uint32(b[offPrevCRC:]),
		Epoch:    string(b[offEpoch : offEpoch+epochSize]),
		Writer:   string(b[offWriter : offWriter+epochSize]),
		Count:    le.Uint32(b[offCount:]),
		BodySize: le.Uint32(b[offBodySize:]),
		First:    le.Uint64(b[offFirst:]),
		Number:   le.Uint64(b[offNumber:]),
		Time:     int64(le.Uint64(b[offTime:])),     //nolint:gosec // bits
		PrevTime: int64(le.Uint64(b[offPrevTime:])), //nolint:gosec // bits
		PrevSize: le.Uint64(b[offPrevSize:]),
	}
	if crc32.Checksum(b[offBodyCRC:headerSize], castagnoli) != h.CRC {
		return header{}, errHeader
	}
	if h.First == 0 || le.Uint32(b[offReserved:]) != 0 || h.next() < h.First {
		return header{}, errContent
	}
	return h, nil
}

// decoder unpacks groups. It remembers the last dictionary and epoch, which
// hardly ever change, so that events of many groups share them. It is for one
// goroutine.
type decoder struct {
	dict    []byte
	sources []*bridge.Source
	epoch   string
}

// decode unpacks a group. The events refer to b, which must not change any
// more. Each is parsed unless its flags say that it cannot be.
func (d *decoder) decode(b []byte) (header, []bridge.Event, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return h, nil, err
	}
	body := b[headerSize:]
	if uint64(len(body)) != uint64(h.BodySize) {
		return h, nil, fmt.Errorf("%w: %d bytes of %d", errShort, len(body), h.BodySize)
	}
	if crc32.Checksum(body, castagnoli) != h.BodyCRC {
		return h, nil, errBody
	}
	if h.Epoch == d.epoch {
		h.Epoch = d.epoch
	} else {
		d.epoch = h.Epoch
	}
	if h.Count == 0 {
		if len(body) != 0 {
			return h, nil, errContent
		}
		return h, nil, nil
	}
	body, ok := d.dictionary(body)
	// An event takes five bytes at least, so a lying count cannot make us
	// allocate more than a multiple of what is there.
	if !ok || uint64(h.Count) > uint64(len(body))/5 {
		return h, nil, errContent
	}
	events := make([]bridge.Event, h.Count)
	r := cursor{b: body}
	at := h.Time
	for i := range events {
		ev := &events[i]
		source := r.uvarint()
		conn := r.uvarint()
		at += r.varint()
		flags := r.uvarint()
		if bridge.Flags(flags)&bridge.FlagTruncated != 0 { //nolint:gosec // checked below
			ev.Cut = &bridge.Cut{Length: r.uvarint()}
			copy(ev.Cut.SHA256[:], r.take(uint64(len(ev.Cut.SHA256))))
		}
		raw := r.take(r.uvarint())
		if r.bad || source >= uint64(len(d.sources)) || conn > 1<<32-1 || flags > 1<<16-1 {
			return h, nil, errContent
		}
		ev.ID = bridge.ID{Epoch: h.Epoch, Offset: h.First + uint64(i)} //nolint:gosec // an index
		ev.Source = d.sources[source]
		ev.Conn = uint32(conn)
		ev.ReceivedAt = at
		ev.Flags = bridge.Flags(flags)
		ev.Raw = raw
		if ev.Flags&bridge.FlagUnparsed == 0 {
			// What could be parsed once can be parsed again; if a newer parser
			// disagrees, the event is one without fields, as its zero Note says.
			ev.Note, _ = bridge.ParseNotification(raw)
		}
	}
	if len(r.b) != 0 {
		return h, nil, errContent
	}
	return h, events, nil
}

// dictionary reads the sources and returns what follows.
func (d *decoder) dictionary(body []byte) ([]byte, bool) {
	if n := len(d.dict); n > 0 && len(body) >= n && string(body[:n]) == string(d.dict) {
		return body[n:], true
	}
	r := cursor{b: body}
	n := r.uvarint()
	if n == 0 || n > uint64(len(body))/3 {
		return nil, false
	}
	sources := make([]*bridge.Source, n)
	for i := range sources {
		s := &bridge.Source{}
		s.Origin = string(r.take(r.uvarint()))
		s.ID = string(r.take(r.uvarint()))
		s.Name = string(r.take(r.uvarint()))
		sources[i] = s
	}
	if r.bad {
		return nil, false
	}
	d.sources = sources
	// A copy: the remembered bytes must not keep a whole group alive.
	d.dict = append(d.dict[:0], body[:len(body)-len(r.b)]...)
	return r.b, true
}

// cursor reads from a slice; after the end everything is zero and bad is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// size estimates what an event adds to a group.
func size(e *bridge.Event) int { return len(e.Raw) + 16 }

// cut returns how many of the events make the next group.
func cut(events []bridge.Event) int {
	bytes := 0
	for i := range events {
		bytes += size(&events[i])
		if i == bridge.MaxGroupEvents || (i > 0 && bytes > bridge.MaxGroupBytes) {
			return i
		}
	}
	return len(events)
}

func wallTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
