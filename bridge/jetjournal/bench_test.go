package jetjournal

import (
	"context"
	"fmt"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

func benchJournal(b *testing.B) *opened {
	b.Helper()
	j, err := setup{dir: b.TempDir(), max: 4 << 30}.open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return j
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			j := benchJournal(b)
			es := padded(n)
			b.ReportAllocs()
			for b.Loop() {
				if err := j.Append(b.Context(), es); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkReadTail reads what is appended at the same time, from memory.
func BenchmarkReadTail(b *testing.B) {
	j := benchJournal(b)
	const n = 1000
	g := group{h: header{First: 1, Count: n}, events: padded(n), bytes: n * (450 + eventBytes)}
	r, err := j.NewReader(b.Context(), bridge.Position{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		v := j.tail.at(0)
		g.seq, g.h.First = v.next, v.offset
		j.tail.push(g)
		got, err := r.Next(b.Context(), true)
		if err != nil || len(got.Events) != n {
			b.Fatal(len(got.Events), err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReadStream reads 200 MB from the stream and decodes and parses them.
func BenchmarkReadStream(b *testing.B) {
	j := benchJournal(b)
	const n, groups = 1000, 450
	es := padded(n)
	for range groups {
		if err := j.Append(b.Context(), es); err != nil {
			b.Fatal(err)
		}
	}
	j.tail.reset(j.w.last+1, j.w.next)
	b.ReportAllocs()
	for b.Loop() {
		r, err := j.NewReader(b.Context(), bridge.Position{})
		if err != nil {
			b.Fatal(err)
		}
		total := 0
		for {
			got, err := r.Next(b.Context(), false)
			if err != nil {
				b.Fatal(err)
			}
			if len(got.Events) == 0 {
				break
			}
			total += len(got.Events)
		}
		if total != n*groups {
			b.Fatalf("read %d events, want %d", total, n*groups)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n*groups)/b.Elapsed().Seconds(), "events/s")
}
