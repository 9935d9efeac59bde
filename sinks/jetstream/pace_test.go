package jetstream

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	tests := []struct {
		name            string
		single, batched time.Duration // what a message takes
		n               int
		want            bool
	}{
		{"few", time.Millisecond, 10 * time.Microsecond, 7, false},
		{"synced, some", 200 * time.Microsecond, 10 * time.Microsecond, 8, false},
		{"synced, more", 200 * time.Microsecond, 10 * time.Microsecond, 16, true},
		{"slow disk", 800 * time.Microsecond, 10 * time.Microsecond, 8, true},
		{"not synced", 12 * time.Microsecond, 10 * time.Microsecond, 1000, false},
		{"busy machine, not synced", 25 * time.Microsecond, 27 * time.Microsecond, 1000, false},
		{"busy machine, synced", 250 * time.Microsecond, 40 * time.Microsecond, 1000, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p pace
			p.tookBatch(1000, batchFixed+1000*tt.batched)
			p.tookChain(100, 100*tt.single)
			if got, chain := p.batch(tt.n); got != tt.want || !got && chain != tt.n {
				t.Errorf("batch(%d): got %v and %d, want %v", tt.n, got, chain, tt.want)
			}
		})
	}
}

func TestPaceMeasuresBothAgain(t *testing.T) {
	var p pace
	if yes, chain := p.batch(1000); yes || chain != tryChain {
		t.Errorf("unknown: got %v and %d, want a chain of %d", yes, chain, tryChain)
	}
	p.tookChain(tryChain, time.Second)
	for range tryAgain {
		if yes, _ := p.batch(1000); !yes {
			t.Fatal("a slow chain is preferred")
		}
		p.tookBatch(1000, 20*time.Millisecond)
	}
	if yes, chain := p.batch(1000); yes || chain != tryChain {
		t.Errorf("after %d batches: got %v and %d, want a chain of %d to measure", tryAgain, yes, chain, tryChain)
	}

	p = pace{}
	p.tookBatch(1000, 50*time.Millisecond)
	for range tryAgain {
		p.tookChain(1000, 20*time.Millisecond)
	}
	if yes, _ := p.batch(1000); !yes {
		t.Errorf("after %d chains no batch is tried, though batches can be faster", tryAgain)
	}
	p.tookBatch(1000, 50*time.Millisecond)
	if yes, _ := p.batch(1000); yes {
		t.Error("a slow batch is preferred after it was measured again")
	}
}
