package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/segmentio/kafka-go/compress"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Layout of a record batch, format version 2 (Kafka's documentation, "Record
// Batch"); offsets from the batch's beginning.
const (
	posLength      = 8
	posLeaderEpoch = 12
	posMagic       = 16
	posCRC         = 17
	posAttributes  = 21 // the checksum covers everything from here on
	posLastDelta   = 23
	posFirstTime   = 27
	posMaxTime     = 35
	posProducerID  = 43
	posEpoch       = 51
	posSequence    = 53
	posCount       = 57
	batchHeader    = 61

	// sizePrefix stands before the batch in a produce request.
	sizePrefix = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordBuilder encodes messages into one record batch with the size prefix
// of a produce request. Its buffers are reused after reset.
type recordBuilder struct {
	buf       []byte // prefix, header, records
	packed    []byte // the same with compressed records; unused without compression
	count     int
	firstTime int64 // milliseconds
	maxTime   int64
}

func (b *recordBuilder) reset() {
	if b.buf == nil {
		b.buf = make([]byte, 0, 4<<10)
	}
	b.buf = append(b.buf[:0], zeroHeader[:]...)
	b.count = 0
}

var zeroHeader [sizePrefix + batchHeader]byte

// size is that of the batch before compression, without the prefix.
func (b *recordBuilder) size() int { return len(b.buf) - sizePrefix }

// add appends a message as a record, unless the batch holds one already and
// would become larger than limit; then it returns false.
func (b *recordBuilder) add(m *bridge.Message, limit int) bool {
	at := m.Event.ReceivedAt / 1e6
	if b.count == 0 {
		b.firstTime, b.maxTime = at, at
	}
	deltaTime, deltaOffset := zigzag(at-b.firstTime), zigzag(int64(b.count))
	n := 1 + varintSize(deltaTime) + varintSize(deltaOffset) +
		fieldSize(len(m.Key)) + fieldSize(len(m.Payload)) + varintSize(zigzag(int64(len(m.Headers))))
	for i := range m.Headers {
		h := &m.Headers[i]
		n += fieldSize(len(h.Name)) + fieldSize(len(h.Value))
	}
	total := varintSize(zigzag(int64(n))) + n
	if b.count > 0 && b.size()+total > limit {
		return false
	}
	buf := slices.Grow(b.buf, total)
	buf = appendVarint(buf, int64(n))
	buf = append(buf, 0) // attributes
	buf = binary.AppendUvarint(buf, deltaTime)
	buf = binary.AppendUvarint(buf, deltaOffset)
	if len(m.Key) == 0 {
		buf = append(buf, 1) // null
	} else {
		buf = append(appendVarint(buf, int64(len(m.Key))), m.Key...)
	}
	// Never null: a null value deletes the key in a compacted Kafka topic.
	buf = append(appendVarint(buf, int64(len(m.Payload))), m.Payload...)
	buf = appendVarint(buf, int64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		buf = append(appendVarint(buf, int64(len(h.Name))), h.Name...)
		buf = append(appendVarint(buf, int64(len(h.Value))), h.Value...)
	}
	b.buf = buf
	b.maxTime = max(b.maxTime, at)
	b.count++
	return true
}

// seal compresses the records and completes the header but for the producer.
func (b *recordBuilder) seal(codec compress.Codec) error {
	wire := b.buf
	attributes := uint16(0)
	if codec != nil {
		w := appendWriter{append(b.packed[:0], b.buf[:sizePrefix+batchHeader]...)}
		z := codec.NewWriter(&w)
		_, err := z.Write(b.buf[sizePrefix+batchHeader:])
		if cerr := z.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", codec.Name(), err)
		}
		b.packed = w.buf
		wire, attributes = b.packed, uint16(codec.Code())
	}
	p := wire[sizePrefix:]
	be := binary.BigEndian
	be.PutUint32(wire, uint32(len(p)))
	be.PutUint32(p[posLength:], uint32(len(p)-posLeaderEpoch))
	be.PutUint32(p[posLeaderEpoch:], ^uint32(0))
	p[posMagic] = 2
	be.PutUint16(p[posAttributes:], attributes)
	be.PutUint32(p[posLastDelta:], uint32(b.count-1))
	be.PutUint64(p[posFirstTime:], uint64(b.firstTime))
	be.PutUint64(p[posMaxTime:], uint64(b.maxTime))
	be.PutUint32(p[posCount:], uint32(b.count))
	return nil
}

// stamp writes the producer and the sequence of the first record into a
// sealed batch, and its checksum.
func (b *recordBuilder) stamp(p producerID, sequence int32, compressed bool) {
	p8 := b.wire(compressed)[sizePrefix:]
	be := binary.BigEndian
	be.PutUint64(p8[posProducerID:], uint64(p.id))
	be.PutUint16(p8[posEpoch:], uint16(p.epoch))
	be.PutUint32(p8[posSequence:], uint32(sequence))
	be.PutUint32(p8[posCRC:], crc32.Checksum(p8[posAttributes:], castagnoli))
}

// wire returns the sealed batch as sent, with its size prefix.
func (b *recordBuilder) wire(compressed bool) []byte {
	if compressed {
		return b.packed
	}
	return b.buf
}

// appendWriter appends what is written to it.
type appendWriter struct{ buf []byte }

func (w *appendWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func zigzag(v int64) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func appendVarint(dst []byte, v int64) []byte {
	u := zigzag(v)
	if u < 0x80 {
		return append(dst, byte(u))
	}
	return binary.AppendUvarint(dst, u)
}

func varintSize(u uint64) int { return (bits.Len64(u|1) + 6) / 7 }

// fieldSize is that of n bytes with their length before them. An empty field
// and a null one take the same room.
func fieldSize(n int) int { return varintSize(uint64(n)<<1) + n }

func parseCompression(name string) (compress.Codec, error) {
	if name == "" || name == "none" {
		return nil, nil
	}
	for _, c := range compress.Codecs {
		if c != nil && c.Name() == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%q is not one of none, gzip, snappy, lz4, zstd", name)
}
