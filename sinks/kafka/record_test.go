package kafka

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	segment "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// encoded returns messages as one batch as sent.
func encoded(t testing.TB, compression string, p producerID, sequence int32, msgs ...bridge.Message) []byte {
	t.Helper()
	codec, err := parseCompression(compression)
	if err != nil {
		t.Fatal(err)
	}
	var b recordBuilder
	b.reset()
	for i := range msgs {
		if !b.add(&msgs[i], math.MaxInt) {
			t.Fatal("no room")
		}
	}
	if err := b.seal(codec); err != nil {
		t.Fatal(err)
	}
	b.stamp(p, sequence, codec != nil)
	return b.wire(codec != nil)
}

// TestEncodeGolden pins the bytes of a batch; they were stored by Kafka 4.1.1.
func TestEncodeGolden(t *testing.T) {
	m := bridge.Message{
		Event: &bridge.Event{ReceivedAt: 1_790_000_000_123_456_789}, Key: []byte("k"), Payload: []byte("{}"),
		Headers: []bridge.Header{{Name: "H", Value: []byte("v")}, {Name: "E"}},
	}
	late := m
	late.Event, late.Key, late.Payload, late.Headers = &bridge.Event{ReceivedAt: 1_790_000_000_100_000_000}, nil, nil, nil
	got := hex.EncodeToString(encoded(t, "none", producerID{id: 0x0102030405060708, epoch: 0x0a0b, valid: true}, 0x0c0d0e0f, m, late))
	want := "00000055" + // size of the record set
		"0000000000000000" + "00000049" + "ffffffff" + "02" + // base offset, length, leader epoch, magic
		"94417183" + "0000" + "00000001" + // checksum, attributes, last offset delta
		"000001a0c4506c7b" + "000001a0c4506c7b" + // first and largest time
		"0102030405060708" + "0a0b" + "0c0d0e0f" + "00000002" + // producer, epoch, sequence, count
		"20" + "00" + "00" + "00" + "026b" + "047b7d" + "04" + "02480276" + "024500" + // first record
		"0c" + "00" + "2d" + "02" + "01" + "00" + "00" // second: 23 ms earlier, null key, empty value
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestEncodeReadBack has kafka-go's reader decode what was encoded.
func TestEncodeReadBack(t *testing.T) {
	msgs := messages("t", 1, 300, 7)
	msgs[5].Key, msgs[6].Payload, msgs[7].Headers = nil, nil, nil
	msgs[8].Payload = []byte{0, 0xff, 0xfe}
	msgs[9].Event = &bridge.Event{ReceivedAt: 1_600_000_000_000e6}
	msgs[10].Payload = bytes.Repeat([]byte("p"), 70_000)
	for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			wire := encoded(t, compression, producerID{id: 77, epoch: 3, valid: true}, 1234, msgs...)
			checkDecode(t, wire, 77, 3, 1234, msgs)
		})
	}
}

func checkDecode(t testing.TB, wire []byte, id int64, epoch int16, sequence int32, msgs []bridge.Message) {
	t.Helper()
	if n := binary.BigEndian.Uint32(wire); int(n) != len(wire)-sizePrefix {
		t.Fatalf("size %d, want %d", n, len(wire)-sizePrefix)
	}
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bytes.NewReader(wire)); err != nil {
		t.Fatal(err)
	}
	batch := set.Records.(*protocol.RecordStream).Records[0].(*protocol.RecordBatch)
	if batch.ProducerID != id || batch.ProducerEpoch != epoch || batch.BaseSequence != sequence {
		t.Errorf("producer %d epoch %d sequence %d, want %d %d %d", batch.ProducerID, batch.ProducerEpoch, batch.BaseSequence, id, epoch, sequence)
	}
	for i := range msgs {
		r, err := batch.ReadRecord()
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		key, _ := protocol.ReadAll(r.Key)
		value, _ := protocol.ReadAll(r.Value)
		if (r.Key == nil) != (len(msgs[i].Key) == 0) || !bytes.Equal(key, msgs[i].Key) || r.Value == nil || !bytes.Equal(value, msgs[i].Payload) {
			t.Fatalf("record %d: key %q value %.40q", i, key, value)
		}
		if got, want := r.Time.UnixMilli(), msgs[i].Event.ReceivedAt/1e6; got != want || r.Offset != int64(i) {
			t.Fatalf("record %d: time %d offset %d, want %d %d", i, got, r.Offset, want, i)
		}
		if len(r.Headers) != len(msgs[i].Headers) {
			t.Fatalf("record %d: %d headers, want %d", i, len(r.Headers), len(msgs[i].Headers))
		}
		for j, h := range r.Headers {
			if h.Key != msgs[i].Headers[j].Name || !bytes.Equal(h.Value, msgs[i].Headers[j].Value) {
				t.Fatalf("record %d header %d: %q %q", i, j, h.Key, h.Value)
			}
		}
	}
	if _, err := batch.ReadRecord(); !errors.Is(err, io.EOF) {
		t.Errorf("more records than messages: %v", err)
	}
}

func FuzzEncode(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), "Name", []byte("header"), int64(1_790_000_000_000_000_000), int64(-5))
	f.Add([]byte{}, []byte{}, "", []byte{}, int64(0), int64(1<<50))
	f.Fuzz(func(t *testing.T, key, payload []byte, name string, value []byte, at, later int64) {
		a := bridge.Message{
			Event: &bridge.Event{ReceivedAt: at & math.MaxInt64}, Key: key, Payload: payload,
			Headers: []bridge.Header{{Name: name, Value: value}},
		}
		b := a
		b.Event = &bridge.Event{ReceivedAt: later & math.MaxInt64}
		msgs := []bridge.Message{a, b}
		checkDecode(t, encoded(t, "none", producerID{id: 1, valid: true}, 0, msgs...), 1, 0, 0, msgs)
	})
}

func TestBatchLimit(t *testing.T) {
	var b recordBuilder
	b.reset()
	m := message("t", 1, 1)
	if !b.add(&m, 10) {
		t.Fatal("the first record must always fit: the broker decides on it")
	}
	size := b.size()
	if b.add(&m, size+20) {
		t.Error("a second record went beyond the limit")
	}
	if b.size() != size || b.count != 1 {
		t.Errorf("a refused record left %d bytes, %d records", b.size(), b.count)
	}
	if !b.add(&m, 2*size) {
		t.Error("a second record had room")
	}
}

// TestMurmur2 has the vectors of Kafka's own UtilsTest.
func TestMurmur2(t *testing.T) {
	for in, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2([]byte(in))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", in, got, want)
		}
	}
	balancer := segment.Murmur2Balancer{Consistent: true}
	for _, key := range []string{"a", "5a14ddd8b6393d0001976f44", "äöü", strings.Repeat("z", 100)} {
		for n := 1; n < 20; n++ {
			all := make([]int, n)
			for i := range all {
				all[i] = i
			}
			if got, want := partitionOf([]byte(key), n), balancer.Balance(segment.Message{Key: []byte(key)}, all...); got != want {
				t.Errorf("partition of %q among %d: %d, want %d", key, n, got, want)
			}
		}
	}
}

func TestNextSequence(t *testing.T) {
	for _, tt := range []struct {
		s    int32
		n    int
		want int32
	}{{0, 1, 1}, {41, 1000, 1041}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 3, 1}} {
		if got := nextSequence(tt.s, tt.n); got != tt.want {
			t.Errorf("nextSequence(%d, %d) = %d, want %d", tt.s, tt.n, got, tt.want)
		}
	}
}
