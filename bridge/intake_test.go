package bridge

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func frame(format string, args ...any) Event {
	return Event{Raw: fmt.Appendf(nil, format, args...)}
}

func TestIntakeKeepsOrderOfALane(t *testing.T) {
	in := newIntake()
	l := in.lane()
	for i := range 2500 {
		if err := l.Put(t.Context(), frame("%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	next := 0
	for _, want := range []int{1000, 1000, 500} {
		group := in.take(t.Context(), 1000, 1<<20)
		if len(group) != want {
			t.Fatalf("got a group of %d, want %d", len(group), want)
		}
		for _, e := range group {
			if got := string(e.Raw); got != fmt.Sprint(next) {
				t.Fatalf("got %s, want %d", got, next)
			}
			next++
		}
	}
	if events, bytes := in.waiting(); events != 0 || bytes != 0 {
		t.Errorf("got %d events, %d bytes waiting, want none", events, bytes)
	}
}

func TestIntakeSharesAGroupBetweenLanes(t *testing.T) {
	in := newIntake()
	flood, quiet := in.lane(), in.lane()
	for range 5000 {
		_ = flood.Put(t.Context(), frame("flood"))
	}
	for range 10 {
		_ = quiet.Put(t.Context(), frame("quiet"))
	}
	group := in.take(t.Context(), 1000, 1<<20)
	got := 0
	for _, e := range group {
		if string(e.Raw) == "quiet" {
			got++
		}
	}
	if got != 10 || len(group) != 1000 {
		t.Errorf("got %d of 10 quiet events in a group of %d, want all in a full group", got, len(group))
	}
}

func TestIntakeBoundsAGroup(t *testing.T) {
	in := newIntake()
	l := in.lane()
	big := Event{Raw: make([]byte, 700)}
	for range 3 {
		_ = l.Put(t.Context(), big)
	}
	for i := range 3 {
		// One event is more than the limit and still comes, alone.
		if got := len(in.take(t.Context(), 1000, 600)); got != 1 {
			t.Fatalf("group %d: got %d events, want 1", i, got)
		}
	}
}

func TestIntakeFullWaitsAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIntake()
		l := in.lane()
		for range intakeMaxEvents {
			_ = l.Put(t.Context(), Event{})
		}
		done := false
		go func() {
			if err := l.Put(t.Context(), frame("last")); err != nil {
				t.Error(err)
			}
			done = true
			in.close()
		}()
		synctest.Wait()
		if done {
			t.Fatal("a full intake took an event")
		}
		n := 0
		var last Event
		for {
			group := in.take(t.Context(), 1000, 1<<20)
			if group == nil {
				break
			}
			n += len(group)
			last = group[len(group)-1]
			synctest.Wait()
		}
		if n != intakeMaxEvents+1 || string(last.Raw) != "last" {
			t.Errorf("got %d events, last %q; want %d, \"last\"", n, last.Raw, intakeMaxEvents+1)
		}
	})
}

func TestIntakePutEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newIntake()
		l := in.lane()
		_ = l.Put(t.Context(), Event{Raw: make([]byte, intakeMaxBytes)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Put(ctx, frame("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestIntakeCloseGivesWhatWaits(t *testing.T) {
	in := newIntake()
	l := in.lane()
	_ = l.Put(t.Context(), frame("a"))
	in.close()
	if err := l.Put(t.Context(), frame("b")); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after close: got %v, want %v", err, ErrClosed)
	}
	if got := in.take(t.Context(), 10, 10); len(got) != 1 {
		t.Errorf("got %d events, want 1", len(got))
	}
	if got := in.take(t.Context(), 10, 10); got != nil {
		t.Errorf("got %v from a closed empty intake, want nil", got)
	}
}

func BenchmarkIntake(b *testing.B) {
	in := newIntake()
	l := in.lane()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for in.take(b.Context(), MaxGroupEvents, MaxGroupBytes) != nil {
		}
	}()
	e := Event{Raw: make([]byte, 400)}
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Put(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	in.close()
	<-done
}
