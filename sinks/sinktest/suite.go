package sinktest

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// patience bounds every wait of the suite.
const patience = 30 * time.Second

// receivedBase is the arrival time of the first event that Messages makes.
var receivedBase = time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC)

var source = &bridge.Source{Origin: bridge.OriginHub, ID: "5a14ddd8b6393d0001976f44", Name: "test"}

// suite is one running case.
type suite struct {
	*testing.T
	h Harness
	d Destination
}

// Messages makes n messages of the events first, first+1, ..., with keys
// k0..k<keys-1> in turn, as the raw format has them.
func Messages(first uint64, n, keys int, destination func(i int) string) []bridge.Message {
	out := make([]bridge.Message, n)
	for i := range out {
		off := first + uint64(i)
		key := "k" + strconv.Itoa(i%keys)
		out[i] = Message(off, destination(i%keys), key, []byte(`{"topic":"container.instance.state.changed","object":{"id":"`+key+`"},"n":`+strconv.FormatUint(off, 10)+`}`))
	}
	return out
}

// Message makes the message of one event.
func Message(offset uint64, destination, key string, payload []byte) bridge.Message {
	at := receivedBase.Add(time.Duration(offset) * time.Millisecond)
	e := &bridge.Event{
		ID: bridge.ID{Epoch: Epoch, Offset: offset}, ReceivedAt: at.UnixNano(), Source: source, Conn: 1,
		Raw: bytes.Clone(payload),
	}
	return bridge.Message{
		Event: e, Destination: destination, Key: []byte(key), Payload: payload, ContentType: "application/json",
		Headers: []bridge.Header{
			{Name: "Cycle-Event-Id", Value: []byte(e.ID.String())},
			{Name: "Cycle-Journal-Id", Value: []byte(JournalID)},
			{Name: "Cycle-Topic", Value: []byte("container.instance.state.changed")},
			{Name: "Cycle-Object-Id", Value: []byte(key)},
			{Name: "Cycle-Received-At", Value: []byte(at.Format(time.RFC3339Nano))},
			{Name: "Cycle-Origin", Value: []byte(bridge.OriginHub)},
		},
	}
}

func (s *suite) messages(first uint64, n, keys int) []bridge.Message {
	if s.h.Features.OneDestination {
		return Messages(first, n, keys, func(int) string { return "" })
	}
	return Messages(first, n, keys, s.d.name)
}

func (s *suite) message(offset uint64, key string, payload []byte) bridge.Message {
	dest := ""
	if !s.h.Features.OneDestination {
		dest = s.d.name(0)
	}
	return Message(offset, dest, key, payload)
}

// open opens the sink and closes it at the end of the test.
func (s *suite) open() bridge.Sink {
	s.Helper()
	sink := s.d.Open(s.T)
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sink.Close(ctx); err != nil {
			s.Errorf("Close: %v", err)
		}
	})
	return sink
}

// publish makes one call and checks what holds for every call.
func (s *suite) publish(ctx context.Context, sink bridge.Sink, msgs []bridge.Message) []error {
	s.Helper()
	results := make([]error, len(msgs))
	sink.Publish(ctx, msgs, results)
	for i, err := range results {
		if err == nil {
			continue
		}
		for _, secret := range s.d.Secrets {
			if strings.Contains(err.Error(), secret) {
				s.Errorf("result %d shows the secret %q: %v", i, secret, err)
			}
		}
		if bridge.KindOf(err) == bridge.KindUnknown {
			s.Errorf("result %d has no Kind: %v", i, err)
		}
	}
	s.checkOrder(msgs, results)
	return results
}

// checkOrder fails when a message was accepted after one of its key was not settled.
func (s *suite) checkOrder(msgs []bridge.Message, results []error) {
	s.Helper()
	waiting := map[string]int{}
	for i := range msgs {
		k := msgs[i].Destination + "\x00" + string(msgs[i].Key)
		if len(msgs[i].Key) == 0 {
			continue
		}
		if j, ok := waiting[k]; ok && results[i] == nil {
			s.Errorf("message %d was accepted although message %d of the same key was not settled: %v", i, j, results[j])
		}
		if results[i] != nil && bridge.KindOf(results[i]) != bridge.KindRejected {
			waiting[k] = i
		}
	}
}

// settle hands messages again, as a deliverer does, until all are settled.
// It returns the results that were final.
func (s *suite) settle(sink bridge.Sink, msgs []bridge.Message) []error {
	s.Helper()
	final := make([]error, len(msgs))
	waiting := make([]int, len(msgs))
	for i := range waiting {
		waiting[i] = i
	}
	deadline := time.Now().Add(patience)
	var last error
	for len(waiting) > 0 {
		if time.Now().After(deadline) {
			s.Fatalf("%d of %d messages not settled within %v: %v", len(waiting), len(msgs), patience, last)
		}
		batch := make([]bridge.Message, len(waiting))
		for i, w := range waiting {
			batch[i] = msgs[w]
		}
		ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
		results := s.publish(ctx, sink, batch)
		cancel()
		var next []int
		for i, err := range results {
			switch {
			case err == nil || bridge.KindOf(err) == bridge.KindRejected:
				final[waiting[i]] = err
			default:
				next = append(next, waiting[i])
				last = err
			}
		}
		if len(next) == len(waiting) {
			time.Sleep(20 * time.Millisecond) // the deliverer's backoff
		}
		waiting = next
	}
	return final
}

// mustSettle is settle where nothing may be rejected.
func (s *suite) mustSettle(sink bridge.Sink, msgs []bridge.Message) {
	s.Helper()
	for i, err := range s.settle(sink, msgs) {
		if err != nil {
			s.Fatalf("message %d: %v", i, err)
		}
	}
}

// received waits until the destination holds the events of msgs, and
// compares order per destination and key, and the number of copies.
func (s *suite) received(msgs []bridge.Message) []Delivered {
	s.Helper()
	want := map[string]bool{}
	for i := range msgs {
		want[msgs[i].Event.ID.String()] = true
	}
	var got []Delivered
	deadline := time.Now().Add(patience)
	for {
		got = s.d.Received(s.T)
		seen := map[string]int{}
		for _, d := range got {
			seen[d.ID]++
		}
		missing := ""
		for id := range want {
			if seen[id] == 0 {
				missing = id
			}
		}
		if missing == "" {
			s.checkDelivered(msgs, got, seen)
			return got
		}
		if time.Now().After(deadline) {
			s.Fatalf("event %s did not arrive; %d of %d did", missing, len(seen), len(want))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *suite) checkDelivered(msgs []bridge.Message, got []Delivered, seen map[string]int) {
	s.Helper()
	of := map[string]*bridge.Message{}
	for i := range msgs {
		of[msgs[i].Event.ID.String()] = &msgs[i]
	}
	last := map[string]uint64{}
	first := map[string]bool{}
	for _, d := range got {
		m := of[d.ID]
		if m == nil {
			s.Errorf("event %s arrived and was not sent", d.ID)
			continue
		}
		if s.h.Features.Once && seen[d.ID] > 1 {
			s.Errorf("event %s arrived %d times, want once", d.ID, seen[d.ID])
			seen[d.ID] = 1
		}
		if first[d.ID] {
			continue // a copy, which at least once allows
		}
		first[d.ID] = true
		k := d.Destination + "\x00" + string(m.Key)
		if m.Event.ID.Offset < last[k] {
			s.Errorf("event %s arrived after %d of the same key %q", d.ID, last[k], m.Key)
		}
		last[k] = m.Event.ID.Offset
	}
}

// testWriter sends a log to the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
