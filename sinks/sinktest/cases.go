package sinktest

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

func (s *suite) results() {
	sink := s.open()
	var all []bridge.Message
	for _, n := range []int{1, 2, 7, 8, 9, 100, 1000} {
		msgs := s.messages(uint64(len(all)+1), n, 5)
		s.mustSettle(sink, msgs)
		all = append(all, msgs...)
	}
	if got := s.received(all); len(got) != len(all) {
		s.Errorf("%d messages arrived, want %d", len(got), len(all))
	}
}

func (s *suite) emptyBatch() {
	sink := s.open()
	sink.Publish(s.Context(), nil, nil)
	sink.Publish(s.Context(), []bridge.Message{}, []error{})
	msgs := s.messages(1, 1, 1)
	s.mustSettle(sink, msgs)
	s.received(msgs)
}

func (s *suite) orderPerKey() {
	sink := s.open()
	all := s.messages(1, 600, 7)
	for i, size := 0, 1; i < len(all); size = size%90 + 13 {
		end := min(i+size, len(all))
		s.mustSettle(sink, all[i:end])
		i = end
	}
	s.received(all)
}

func (s *suite) content() {
	sink := s.open()
	payloads := [][]byte{
		[]byte(`{"topic":"a","object":{"id":"x"}}`),
		[]byte("{\n  \"pretty\": true,\r\n  \"text\": \"a\\nb\"\n}"),
		{0xff, 0xfe, 0x00, '\r', '\n', 0x80, 'x'},
		[]byte("plain text, no JSON"),
		[]byte(`{"huge":18446744073709551617,"float":1e400,"nul":"\u0000","lone":"\ud800"}`),
	}
	var msgs []bridge.Message
	for i, p := range payloads {
		msgs = append(msgs, s.message(uint64(i+1), "key", p))
	}
	msgs = append(msgs, s.message(uint64(len(msgs)+1), "", []byte(`{"no":"key"}`)))
	s.mustSettle(sink, msgs)
	got := map[string]Delivered{}
	for _, d := range s.received(msgs) {
		got[d.ID] = d
	}
	for i := range msgs {
		m, d := &msgs[i], got[msgs[i].Event.ID.String()]
		if !s.samePayload(m.Payload, d.Payload) {
			s.Errorf("message %d: payload %q, want %q", i, d.Payload, m.Payload)
		}
		if !s.h.Features.OneDestination && d.Destination != m.Destination {
			s.Errorf("message %d: destination %q, want %q", i, d.Destination, m.Destination)
		}
		if s.h.Features.Keys && d.Key != string(m.Key) {
			s.Errorf("message %d: key %q, want %q", i, d.Key, m.Key)
		}
		if s.h.Features.Time && d.Time.UnixMilli() != m.Event.Time().UnixMilli() {
			s.Errorf("message %d: time %v, want %v", i, d.Time, m.Event.Time())
		}
		if s.h.Features.Headers {
			want, have := map[string]string{}, map[string]string{}
			for _, h := range m.Headers {
				want[h.Name] = string(h.Value)
				if v, ok := d.Headers[h.Name]; ok {
					have[h.Name] = v
				}
			}
			if diff := cmp.Diff(want, have); diff != "" {
				s.Errorf("message %d: headers (-want +got):\n%s", i, diff)
			}
		}
	}
}

// samePayload compares payloads. A sink of lines may write line ends as spaces.
func (s *suite) samePayload(want, got []byte) bool {
	if bytes.Equal(want, got) {
		return true
	}
	return s.h.Features.OneDestination && bytes.Equal(oneLine(want), got)
}

func oneLine(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, b)
}

func (s *suite) sizes() {
	sink := s.open()
	big := append(append([]byte(`{"big":"`), bytes.Repeat([]byte("x"), 1<<20-10)...), `"}`...)
	if limit := s.h.Features.MaxBytes; limit > 0 && limit <= len(big) {
		big = append(append([]byte(`{"big":"`), bytes.Repeat([]byte("x"), limit/2)...), `"}`...)
	}
	msgs := []bridge.Message{
		s.message(1, "key", []byte{}),
		s.message(2, "key", big),
		s.message(3, "key", []byte(`{"after":true}`)),
	}
	s.mustSettle(sink, msgs)
	for _, d := range s.received(msgs) {
		for i := range msgs {
			if msgs[i].Event.ID.String() == d.ID && !s.samePayload(msgs[i].Payload, d.Payload) {
				s.Errorf("message %d: %d bytes arrived, want %d", i, len(d.Payload), len(msgs[i].Payload))
			}
		}
	}
}

// The caller reuses every slice as soon as Publish returns.
func (s *suite) notRetained() {
	sink := s.open()
	msgs := s.messages(1, 50, 5)
	want := map[string][]byte{}
	var sent, kept []bridge.Message
	for i := range msgs {
		want[msgs[i].Event.ID.String()] = bytes.Clone(msgs[i].Payload)
		kept = append(kept, cloneMessage(msgs[i]))
		sent = append(sent, cloneMessage(msgs[i]))
	}
	s.mustSettle(sink, sent)
	for i := range sent {
		if diff := cmp.Diff(kept[i].Headers, sent[i].Headers); diff != "" {
			s.Errorf("message %d: headers were changed (-want +got):\n%s", i, diff)
		}
		if !bytes.Equal(kept[i].Payload, sent[i].Payload) || !bytes.Equal(kept[i].Key, sent[i].Key) || kept[i].Destination != sent[i].Destination {
			s.Errorf("message %d was changed", i)
		}
		for j := range sent[i].Payload {
			sent[i].Payload[j] = '!'
		}
		for j := range sent[i].Key {
			sent[i].Key[j] = '!'
		}
		for _, h := range sent[i].Headers {
			for j := range h.Value {
				h.Value[j] = '!'
			}
		}
		clear(sent[i].Headers)
	}
	clear(sent)
	for _, d := range s.received(msgs) {
		if !bytes.Equal(d.Payload, want[d.ID]) {
			s.Errorf("event %s: payload %q, want %q", d.ID, d.Payload, want[d.ID])
		}
	}
}

func cloneMessage(m bridge.Message) bridge.Message {
	m.Key, m.Payload = bytes.Clone(m.Key), bytes.Clone(m.Payload)
	headers := make([]bridge.Header, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = bridge.Header{Name: h.Name, Value: bytes.Clone(h.Value)}
	}
	m.Headers = headers
	return m
}

func (s *suite) oversize() {
	sink := s.open()
	msgs := s.messages(1, 20, 4)
	huge := bytes.Repeat([]byte("x"), s.h.Features.MaxBytes)
	for _, i := range []int{0, 7, 19} {
		msgs[i].Payload = huge
	}
	var want []bridge.Message
	for i, err := range s.settle(sink, msgs) {
		switch {
		case len(msgs[i].Payload) == len(huge):
			if bridge.KindOf(err) != bridge.KindRejected {
				s.Errorf("oversize message %d: got %v, want rejected", i, err)
			}
		case err != nil:
			s.Errorf("message %d: %v", i, err)
		default:
			want = append(want, msgs[i])
		}
	}
	s.received(want)
}

func (s *suite) down() {
	sink := s.open()
	all := s.messages(1, 60, 4)
	s.mustSettle(sink, all[:20])
	s.d.Down(s.T)
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
	s.unreachable(s.publish(ctx, sink, all[20:40]))
	cancel()
	s.d.Up(s.T)
	s.mustSettle(sink, all[20:])
	s.received(all)
}

func (s *suite) downAtOpen() {
	s.d.Down(s.T)
	sink := s.open()
	msgs := s.messages(1, 10, 2)
	ctx, cancel := context.WithTimeout(s.Context(), 5*time.Second)
	s.unreachable(s.publish(ctx, sink, msgs))
	cancel()
	s.d.Up(s.T)
	s.mustSettle(sink, msgs)
	s.received(msgs)
}

func (s *suite) unreachable(results []error) {
	s.Helper()
	for i, err := range results {
		switch kind := bridge.KindOf(err); {
		case err == nil:
			s.Fatalf("message %d was accepted by a destination that is down", i)
		case kind != bridge.KindUnavailable && kind != bridge.KindTransient:
			s.Errorf("message %d: got %v (%v), want unavailable or transient", i, kind, err)
		}
	}
}

func (s *suite) canceled() {
	sink := s.open()
	all := s.messages(1, 30, 3)
	s.mustSettle(sink, all[:10])
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	for i, err := range s.publish(ctx, sink, all[10:20]) {
		if err != nil && bridge.KindOf(err) != bridge.KindCanceled {
			s.Errorf("message %d: got %v, want canceled", i, err)
		}
	}
	s.mustSettle(sink, all[10:])
	s.received(all)
}

func (s *suite) canceledMidway() {
	sink := s.open()
	all := s.messages(1, 2000, 11)
	s.mustSettle(sink, all[:1])
	next := 1
	for delay := time.Duration(0); next < len(all); delay += 300 * time.Microsecond {
		end := min(next+100, len(all))
		ctx, cancel := context.WithCancel(s.Context())
		stop := time.AfterFunc(delay, cancel)
		results := s.publish(ctx, sink, all[next:end])
		stop.Stop()
		cancel()
		for i, err := range results {
			if err != nil && bridge.KindOf(err) != bridge.KindCanceled && bridge.KindOf(err) != bridge.KindTransient {
				s.Errorf("message %d: got %v, want canceled", next+i, err)
			}
		}
		// The unsettled ones head the next call, followed by new ones.
		var again []bridge.Message
		for i, err := range results {
			if err != nil {
				again = append(again, all[next+i])
			}
		}
		more := min(end+20, len(all))
		s.mustSettle(sink, append(again, all[end:more]...))
		next = more
	}
	s.received(all)
}

func (s *suite) lostAnswers() {
	sink := s.open()
	all := s.messages(1, 200, 9)
	s.mustSettle(sink, all[:30])
	next := 30
	for _, size := range []int{1, 3, 50} {
		s.d.LoseAnswers(s.T, true)
		ctx, cancel := context.WithTimeout(s.Context(), 300*time.Millisecond)
		results := s.publish(ctx, sink, all[next:next+size])
		cancel()
		for i, err := range results {
			if err == nil {
				s.Errorf("batch of %d: message %d was settled without an answer", size, i)
			}
		}
		s.d.LoseAnswers(s.T, false)
		s.mustSettle(sink, all[next:next+size+10])
		next += size + 10
	}
	s.mustSettle(sink, all[next:])
	s.received(all)
}

// A bridge that is killed after the destination took messages hands them to
// a new sink, from the position that Resume gives.
func (s *suite) reopen() {
	all := s.messages(1, 90, 5)
	sink := s.d.Open(s.T)
	s.mustSettle(sink, all[:50])
	if err := sink.Close(s.Context()); err != nil {
		s.Fatalf("Close: %v", err)
	}
	sink = s.open()
	r, ok := sink.(bridge.Resumer)
	if !ok {
		s.Fatal("a sink that stores once must be a bridge.Resumer")
	}
	stored := bridge.Position{ID: all[19].Event.ID, Seq: 7}
	pos, ok, err := r.Resume(s.Context(), stored, true)
	if err != nil || !ok {
		s.Fatalf("Resume: %v, ok %v", err, ok)
	}
	if pos.ID.Offset < stored.ID.Offset {
		s.Fatalf("Resume went back from %v to %v", stored.ID, pos.ID)
	}
	// Whether or not the position went forward, handing all of them again
	// after the cursor stores nothing twice.
	s.mustSettle(sink, all[pos.ID.Offset:])
	s.received(all)
}

func (s *suite) unauthorized() {
	sink := s.d.Unauthorized(s.T)
	defer func() {
		if err := sink.Close(s.Context()); err != nil {
			s.Errorf("Close: %v", err)
		}
	}()
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	for i, err := range s.publish(ctx, sink, s.messages(1, 5, 2)) {
		if bridge.KindOf(err) != bridge.KindMisconfigured {
			s.Errorf("message %d: got %v, want misconfigured", i, err)
		}
	}
}

func (s *suite) close() {
	sink := s.d.Open(s.T)
	msgs := s.messages(1, 10, 2)
	s.mustSettle(sink, msgs)
	for i := range 2 {
		if err := sink.Close(s.Context()); err != nil {
			s.Errorf("Close number %d: %v", i+1, err)
		}
	}
	results := make([]error, len(msgs))
	sink.Publish(s.Context(), msgs, results)
	for i, err := range results {
		if !errors.Is(err, bridge.ErrClosed) {
			s.Errorf("Publish after Close, message %d: got %v, want ErrClosed", i, err)
		}
	}
	s.received(msgs)
	// One that was never used closes too.
	unused := s.d.Open(s.T)
	if err := unused.Close(s.Context()); err != nil {
		s.Errorf("Close of an unused sink: %v", err)
	}
}

func (s *suite) goroutines() {
	// The first use may start what the destination keeps.
	warm := s.d.Open(s.T)
	s.mustSettle(warm, s.messages(1, 20, 2))
	if err := warm.Close(s.Context()); err != nil {
		s.Fatal(err)
	}
	before := settledGoroutines()
	for i := range 3 {
		sink := s.d.Open(s.T)
		s.mustSettle(sink, s.messages(uint64(100*(i+1)), 20, 2))
		if err := sink.Close(s.Context()); err != nil {
			s.Fatal(err)
		}
	}
	deadline := time.Now().Add(patience)
	for {
		after := runtime.NumGoroutine()
		if after <= before {
			return
		}
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			s.Fatalf("%d goroutines before, %d after:\n%s", before, after, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settledGoroutines waits until the number of goroutines stays the same.
func settledGoroutines() int {
	n, same := runtime.NumGoroutine(), 0
	for range 300 {
		time.Sleep(10 * time.Millisecond)
		if now := runtime.NumGoroutine(); now != n {
			n, same = now, 0
		} else if same++; same == 20 {
			break
		}
	}
	return n
}
