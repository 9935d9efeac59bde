package jetjournal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/journaltest"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() (header, []bridge.Event) {
	hub := &bridge.Source{Origin: bridge.OriginHub, ID: "5a14ddd8b6393d0001976f44", Name: "production"}
	own := &bridge.Source{Origin: bridge.OriginBridge, Name: "b"}
	at := int64(1_700_000_000_123_456_789)
	es := []bridge.Event{
		{ReceivedAt: at - 1000, Source: hub, Conn: 1, Raw: []byte(`{"topic":"a.b","object":{"id":"o"}}`)},
		{ReceivedAt: at - 2000, Source: own, Conn: 300, Flags: bridge.FlagLate, Raw: []byte(`{"topic":"bridge.gap"}`)},
		{ReceivedAt: at, Source: hub, Conn: 2, Flags: bridge.FlagUnparsed | bridge.FlagTruncated, Raw: []byte{0xff, 0}},
		{ReceivedAt: at + 5, Source: hub, Flags: bridge.FlagUnparsed},
	}
	return header{
		Prev: 0x01020304, Epoch: "k3v9q0x7m2", Writer: "aaaaaaaaa1", First: 184467, Number: 9,
		Time: at, PrevTime: at - 5_000_000_000, PrevSize: 1234,
	}, es
}

func TestGoldenGroup(t *testing.T) {
	h, es := sample()
	var e encoder
	got := []byte(hex.Dump(e.encode(&h, es)))
	empty := header{Epoch: h.Epoch, Writer: h.Writer, First: 1, Number: 1, Time: 1}
	got = append(got, hex.Dump(e.encode(&empty, nil))...)
	path := filepath.Join("testdata", "group-v1.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the format changed; journals that exist cannot be read any more (-want +got):\n%s", diff)
	}
}

func TestGroupRoundTrip(t *testing.T) {
	h, es := sample()
	var e encoder
	data := e.encode(&h, es)
	var d decoder
	for range 2 { // the second time with a remembered dictionary
		gh, ges, err := d.decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if gh != h {
			t.Errorf("header = %+v, want %+v", gh, h)
		}
		for i := range es {
			g, w := &ges[i], &es[i]
			if g.ID != (bridge.ID{Epoch: h.Epoch, Offset: h.First + uint64(i)}) || g.ReceivedAt != w.ReceivedAt || g.Conn != w.Conn ||
				g.Flags != w.Flags || *g.Source != *w.Source || !bytes.Equal(g.Raw, w.Raw) {
				t.Errorf("event %d = %+v, want %+v", i, g, w)
			}
		}
		if len(ges[0].Raw) > 0 && &ges[0].Raw[0] != &data[bytes.Index(data, es[0].Raw)] {
			t.Error("the raw bytes were copied")
		}
		if cap(ges[0].Raw) != len(ges[0].Raw) {
			t.Error("appending to raw bytes would write into the next event")
		}
	}
}

func TestManySources(t *testing.T) {
	es := numbered(0, 1000)
	for i := range es {
		es[i].Source = &bridge.Source{Origin: bridge.OriginHub, ID: string(rune('a' + i%300)), Name: "n"}
	}
	h, _ := sample()
	var e encoder
	var d decoder
	_, got, err := d.decode(e.encode(&h, es))
	if err != nil {
		t.Fatal(err)
	}
	for i := range es {
		if *got[i].Source != *es[i].Source {
			t.Fatalf("event %d: source %+v, want %+v", i, *got[i].Source, *es[i].Source)
		}
	}
}

// Every single flipped bit and every cut is found.
func TestDamagedGroup(t *testing.T) {
	h, es := sample()
	var e encoder
	data := e.encode(&h, es)
	for i := range data {
		for bit := range 8 {
			b := bytes.Clone(data)
			b[i] ^= 1 << bit
			var d decoder
			if _, _, err := d.decode(b); err == nil {
				t.Fatalf("bit %d of byte %d flipped and not found", bit, i)
			}
		}
	}
	for n := range data {
		var d decoder
		if _, _, err := d.decode(data[:n]); err == nil {
			t.Fatalf("cut at %d and not found", n)
		}
	}
	var d decoder
	if _, _, err := d.decode(append(bytes.Clone(data), 0)); err == nil {
		t.Error("a byte too many was not found")
	}
	newer := bytes.Clone(data)
	newer[3] = 2
	if _, _, err := d.decode(newer); !errors.Is(err, errMagic) {
		t.Errorf("another version: %v, want %v", err, errMagic)
	}
}

func FuzzDecodeGroup(f *testing.F) {
	h, es := sample()
	var e encoder
	f.Add(bytes.Clone(e.encode(&h, es)), false)
	f.Add(bytes.Clone(e.encode(&h, nil)), true)
	f.Add(bytes.Clone(e.encode(&h, numbered(0, 50))), true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= headerSize {
			// Let damage through to the body: what is inside must hold by itself.
			b = bytes.Clone(b)
			seal(b)
		}
		var d decoder
		h, events, err := d.decode(b)
		if err != nil {
			return
		}
		if int(h.Count) != len(events) || len(h.Epoch) != epochSize {
			t.Fatalf("%d events, header says %d", len(events), h.Count)
		}
		// What decodes encodes to something that decodes to the same.
		again := h
		var e encoder
		var d2 decoder
		h2, events2, err := d2.decode(e.encode(&again, events))
		if err != nil {
			t.Fatalf("encoded again: %v", err)
		}
		if h2.First != h.First || len(events2) != len(events) {
			t.Fatalf("encoded again: %+v, want %+v", h2, h)
		}
		for i := range events {
			a, b := &events[i], &events2[i]
			if a.ID != b.ID || a.ReceivedAt != b.ReceivedAt || a.Conn != b.Conn || a.Flags != b.Flags || *a.Source != *b.Source || !bytes.Equal(a.Raw, b.Raw) ||
				(a.Cut == nil) != (b.Cut == nil) || a.Cut != nil && *a.Cut != *b.Cut {
				t.Fatalf("event %d encoded again: %+v, want %+v", i, b, a)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	es := padded(1000)
	h, _ := sample()
	var e encoder
	for b.Loop() {
		g := h
		e.encode(&g, es)
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkDecode(b *testing.B) {
	es := padded(1000)
	h, _ := sample()
	var e encoder
	data := e.encode(&h, es)
	var d decoder
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.decode(data); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}

// padded makes events of about 450 bytes.
func padded(n int) []bridge.Event {
	es := make([]bridge.Event, n)
	for i := range es {
		e := journaltest.Event(i)
		e.Raw = append(e.Raw[:len(e.Raw)-1:len(e.Raw)-1], `,"pad":"`...)
		for len(e.Raw) < 448 {
			e.Raw = append(e.Raw, 'x')
		}
		e.Raw = append(e.Raw, `"}`...)
		var err error
		if e.Note, err = bridge.ParseNotification(e.Raw); err != nil {
			panic(err)
		}
		es[i] = e
	}
	return es
}

// seal makes the checksums of a damaged group right.
func seal(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b[offBodySize:], uint32(len(b)-headerSize)) //nolint:gosec // small
	le.PutUint32(b[offBodyCRC:], crc32.Checksum(b[headerSize:], castagnoli))
	le.PutUint32(b[offHeaderCRC:], crc32.Checksum(b[offBodyCRC:headerSize], castagnoli))
}
