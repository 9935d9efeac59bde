package jetstream

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

func exclusiveSink(t *testing.T, n *node) *Sink {
	t.Helper()
	c := n.config()
	c.Exclusive = true
	return openSink(t, c, sinktest.Env(t, "sink"))
}

// The server is killed and started again, and connections are cut in the
// middle of batches, again and again: each event is there once, in order.
func TestServerRestartsMidBatch(t *testing.T) {
	for _, atomicBatches := range []bool{true, false} {
		t.Run(fmt.Sprintf("atomic=%v", atomicBatches), func(t *testing.T) {
			n := startNode(t, "")
			n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: atomicBatches, Duplicates: 100 * time.Millisecond})
			// Every third connection is cut somewhere in what it sends.
			var conns atomic.Int64
			n.proxy.mu.Lock()
			n.proxy.onForward = func(b []byte) (int, bool) {
				if !bytes.Contains(b, []byte("HPUB")) || conns.Add(1)%5 != 0 {
					return 0, false
				}
				return len(b) / 2, true
			}
			n.proxy.mu.Unlock()
			s := exclusiveSink(t, n)
			const total = 3000
			all := messages(1, total, 7)
			for i := 0; i < total; i += 150 {
				settle(t, s, all[i:i+150])
				if i == 1500 {
					n.stop()
					n.proxy.cut()
					n.start()
				}
			}
			checkExact(t, n.received("EVENTS"), total)
		})
	}
}

// The stream goes while the sink runs: it pauses with a sentence, and goes on
// in the new stream with what was not settled.
func TestStreamDeletedAndMadeAgain(t *testing.T) {
	n := startNode(t, "")
	n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: true})
	s := exclusiveSink(t, n)
	all := messages(1, 60, 3)
	settle(t, s, all[:20])
	if err := n.admin().DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 20} {
		for i, err := range publish(t, s, all[20:20+size]) {
			if err == nil {
				t.Fatalf("message %d was accepted without a stream", i)
			}
			contains(t, err, bridge.KindMisconfigured, "EVENTS", "nats stream add")
		}
	}
	n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: true})
	settle(t, s, all[20:])
	got := n.received("EVENTS")
	if len(got) != 40 || got[0].ID != sinktest.Epoch+"-21" {
		t.Errorf("%d messages in the new stream, beginning with %s; want 40 from 21 on", len(got), got[0].ID)
	}
}

func TestCreateMissing(t *testing.T) {
	n := startNode(t, "")
	c := n.config()
	c.Create = createMissing
	s := openSink(t, c, sinktest.Env(t, "sink"))
	if err := s.Prepare(t.Context(), []string{"test.a"}); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	settle(t, s, messages(1, 20, 2))
	checkExact(t, n.received("EVENTS"), 20)
	contains(t, Probe(t.Context(), func() Config { c := c; c.Stream = "OTHER"; return c }(), sinktest.Env(t, "x")),
		bridge.KindMisconfigured, "OTHER")
}

// Another writer on an exclusive stream pauses the sink with a sentence; it
// goes on when the other has stopped.
func TestForeignWriterOnExclusiveStream(t *testing.T) {
	for _, size := range []int{1, 5, 30} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			n := startNode(t, "")
			n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: true})
			s := exclusiveSink(t, n)
			all := messages(1, 10+size, 3)
			settle(t, s, all[:10])
			if _, err := n.admin().Publish(t.Context(), "test.foreign", []byte("x")); err != nil {
				t.Fatal(err)
			}
			for i, err := range publish(t, s, all[10:]) {
				if err == nil {
					t.Fatalf("message %d was accepted", i)
				}
				contains(t, err, bridge.KindMisconfigured, "another writer", "test.foreign", "exclusive: false")
			}
			settle(t, s, all[10:])
			got := n.received("EVENTS")
			if len(got) != 11+size {
				t.Errorf("%d messages, want %d", len(got), 11+size)
			}
		})
	}
}

// A shared stream with busy co-writers: our events are there once and in order.
func TestSharedStreamWithOthers(t *testing.T) {
	for _, atomicBatches := range []bool{true, false} {
		t.Run(fmt.Sprintf("atomic=%v", atomicBatches), func(t *testing.T) {
			n := startNode(t, "")
			n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: atomicBatches})
			js := n.admin()
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan int)
			go func() {
				others := 0
				for ctx.Err() == nil {
					if _, err := js.Publish(context.Background(), "test.other", nil); err == nil {
						others++
					}
				}
				done <- others
			}()
			s := openSink(t, n.config(), sinktest.Env(t, "sink"))
			all := messages(1, 400, 5)
			for i := 0; i < 400; i += 40 {
				settle(t, s, all[i:i+40])
			}
			cancel()
			others := <-done
			var ours []sinktest.Delivered
			got := n.received("EVENTS")
			for _, d := range got {
				if d.Destination != "test.other" {
					ours = append(ours, d)
				}
			}
			checkExact(t, ours, 400)
			if len(got)-len(ours) < others {
				t.Errorf("%d messages of others, want %d", len(got)-len(ours), others)
			}
		})
	}
}

// An outage longer than the duplicate window after an answer was lost.
func TestDuplicateWindowPassed(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		for _, size := range []int{1, 30} {
			t.Run(fmt.Sprintf("exclusive=%v/%d", exclusive, size), func(t *testing.T) {
				n := startNode(t, "")
				n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: true, Duplicates: 100 * time.Millisecond})
				c := n.config()
				c.Exclusive = exclusive
				s := openSink(t, c, sinktest.Env(t, "sink"))
				all := messages(1, 10+size, 3)
				settle(t, s, all[:10])
				n.proxy.deaf.Store(true)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				results := make([]error, size)
				s.Publish(ctx, all[10:], results)
				cancel()
				for i, err := range results {
					if err == nil {
						t.Fatalf("message %d settled without an answer", i)
					}
				}
				time.Sleep(500 * time.Millisecond) // the window passes
				n.proxy.deaf.Store(false)
				n.proxy.cut()
				settle(t, s, all[10:])
				checkExact(t, n.received("EVENTS"), 10+size)
			})
		}
	}
}

// After a crash the stream's end tells the position, with replays, other
// sinks and other writers behind it.
func TestResume(t *testing.T) {
	for _, noise := range []int{0, 3, 100, 5000} {
		t.Run(fmt.Sprint(noise), func(t *testing.T) {
			n := startNode(t, "")
			n.makeStream(jetstream.StreamConfig{Subjects: []string{"test.>", "noise.>"}, AllowAtomicPublish: true})
			c := n.config()
			c.Dedupe = dedupeSink
			env := sinktest.Env(t, "one")
			s := openSink(t, c, env)
			if pos, ok, err := s.Resume(t.Context(), bridge.Position{}, false); ok || err != nil || !pos.ID.IsZero() {
				t.Errorf("Resume on an empty stream: got %v %v %v, want nothing", pos, ok, err)
			}
			settle(t, s, messages(1, 40, 3))

			other := sinktest.Env(t, "two")
			settle(t, openSink(t, c, other), messages(1, 90, 3))
			replay := messages(7, 1, 1)
			ev := *replay[0].Event
			ev.Flags |= bridge.FlagReplay
			replay[0].Event = &ev
			settle(t, s, replay)
			js := n.admin()
			for range noise {
				if _, err := js.PublishAsync("noise.x", nil); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-js.PublishAsyncComplete():
			case <-time.After(10 * time.Second):
				t.Fatal("noise was not stored")
			}

			again := openSink(t, c, env)
			for _, stored := range []uint64{0, 12, 40, 70} {
				want := max(40, stored)
				id := bridge.ID{Epoch: sinktest.Epoch, Offset: stored}
				pos, ok, err := again.Resume(t.Context(), bridge.Position{ID: id}, stored > 0)
				if err != nil || !ok || pos.ID != (bridge.ID{Epoch: sinktest.Epoch, Offset: want}) {
					t.Errorf("Resume from %d: got %v %v %v, want offset %d", stored, pos, ok, err, want)
				}
			}
			// Another journal's events are not ours.
			env.JournalID = "another"
			if _, ok, err := openSink(t, c, env).Resume(t.Context(), bridge.Position{}, false); ok || err != nil {
				t.Errorf("Resume with another journal: got ok %v, err %v; want not ok", ok, err)
			}
		})
	}
}

// A replay of an event is stored although the event is.
func TestReplayIsNotSwallowed(t *testing.T) {
	n := startNode(t, "")
	n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: true})
	s := exclusiveSink(t, n)
	settle(t, s, messages(1, 20, 2))
	replay := messages(5, 1, 1)
	ev := *replay[0].Event
	ev.Flags |= bridge.FlagReplay
	replay[0].Event = &ev
	replay[0].Headers = append(replay[0].Headers, bridge.Header{Name: jetstream.MsgIDHeader, Value: []byte(ev.ID.String() + ".r1")})
	settle(t, s, replay)
	settle(t, s, messages(21, 5, 2))
	got := n.received("EVENTS")
	if len(got) != 26 || got[20].ID != sinktest.Epoch+"-5" || got[20].Headers["Cycle-Flags"] != "replay" {
		t.Errorf("got %d messages, number 21 is %v; want the replay there", len(got), got[20].Headers)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		stream jetstream.StreamConfig
		kind   bridge.Kind
		says   []string
	}{
		{"full", jetstream.StreamConfig{MaxMsgs: 5, Discard: jetstream.DiscardNew}, bridge.KindUnavailable, []string{"full", "nats stream edit EVENTS"}},
		{"subject not bound", jetstream.StreamConfig{Subjects: []string{"other.>"}}, bridge.KindMisconfigured, []string{"test.k", "nats stream edit EVENTS"}},
	}
	for _, tt := range tests {
		for _, atomicBatches := range []bool{true, false} {
			for _, size := range []int{1, 20} {
				t.Run(fmt.Sprintf("%s/atomic=%v/%d", tt.name, atomicBatches, size), func(t *testing.T) {
					n := startNode(t, "")
					c := tt.stream
					c.AllowAtomicPublish = atomicBatches
					n.makeStream(c)
					s := exclusiveSink(t, n)
					if tt.name == "full" {
						settle(t, s, messages(1, 5, 1))
					}
					results := publish(t, s, messages(6, size, 2))
					for _, err := range results {
						contains(t, err, tt.kind, tt.says...)
					}
				})
			}
		}
	}
}

// The stream is full, others make room, and nothing is doubled or out of order.
func TestFullStreamRecovers(t *testing.T) {
	n := startNode(t, "")
	st := n.makeStream(jetstream.StreamConfig{MaxMsgs: 30, Discard: jetstream.DiscardNew, AllowAtomicPublish: true})
	s := exclusiveSink(t, n)
	all := messages(1, 60, 3)
	results := publish(t, s, all[:40])
	ok := 0
	for i, err := range results {
		if err == nil {
			if i != ok {
				t.Errorf("message %d accepted after one that was not", i)
			}
			ok++
		}
	}
	c := st.CachedInfo().Config
	c.MaxMsgs = 1000
	if _, err := n.admin().UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	settle(t, s, all[ok:])
	checkExact(t, n.received("EVENTS"), 60)
}

func TestPermissionDenied(t *testing.T) {
	n := startNode(t, "")
	n.makeStream(jetstream.StreamConfig{AllowAtomicPublish: true})
	n.stop()
	n.extra = fmt.Sprintf(`authorization { users: [{user: pub, password: %q, permissions: {publish: {deny: "test.>"}}}] }`, password)
	n.start()
	s := exclusiveSink(t, n)
	for _, size := range []int{1, 20} {
		for _, err := range publish(t, s, messages(1, size, 2)) {
			contains(t, err, bridge.KindMisconfigured, "ermission", "test.k")
		}
	}
}

// A batch whose answer names another batch or count is not taken for ours.
func TestForeignAnswers(t *testing.T) {
	tests := []struct {
		name string
		data string
	}{
		{"another batch", `{"stream":"EVENTS","seq":20,"batch":"other","count":20}`},
		{"another count", `{"stream":"EVENTS","seq":20,"batch":"%s","count":19}`},
		{"no batch", `{"stream":"EVENTS","seq":20}`},
		{"another stream", `{"stream":"OTHER","seq":20,"batch":"%s","count":20}`},
		{"not JSON", `hello`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := parseAnswer(&nats.Msg{Data: []byte(strings.ReplaceAll(tt.data, "%s", "mine"))}, "EVENTS")
			if a.err == nil && a.batch == "mine" && a.count == 20 && a.stream == "EVENTS" {
				t.Errorf("%s is taken for ours: %+v", tt.data, a)
			}
		})
	}
}

func TestPrepare(t *testing.T) {
	n := startNode(t, "")
	n.makeStream(jetstream.StreamConfig{Subjects: []string{"test.a", "test.b.>"}})
	c := n.config()
	s := openSink(t, c, sinktest.Env(t, "sink"))
	if err := s.Prepare(t.Context(), []string{"test.a", "test.b.c"}); err != nil {
		t.Errorf("Prepare: %v", err)
	}
	contains(t, s.Prepare(t.Context(), []string{"test.a", "test.c", "else"}), bridge.KindMisconfigured,
		"test.c, else", "nats stream edit EVENTS --subjects='else,test.a,test.b.>,test.c'")
	c.Subject = "foo.{topic}"
	contains(t, openSink(t, c, sinktest.Env(t, "sink")).Prepare(t.Context(), nil), bridge.KindMisconfigured, "foo.>")
	c.Stream = "NONE"
	contains(t, openSink(t, c, sinktest.Env(t, "sink")).Prepare(t.Context(), nil), bridge.KindMisconfigured, "NONE", "nats stream add NONE")
	if err := Probe(t.Context(), n.config(), sinktest.Env(t, "probe")); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

// One message of a chain is refused, and those behind it would be taken: they
// must not be, or the next read would take the refused one for stored.
func TestChainStopsAtRefusal(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		t.Run(fmt.Sprintf("exclusive=%v", exclusive), func(t *testing.T) {
			n := startNode(t, "")
			st := n.makeStream(jetstream.StreamConfig{MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true})
			c := n.config()
			c.Exclusive = exclusive
			s := openSink(t, c, sinktest.Env(t, "sink"))
			all := messages(1, 8, 8)
			all[2].Destination = all[0].Destination // the third is refused
			for i, err := range publish(t, s, all) {
				if (err == nil) != (i < 2) {
					t.Errorf("message %d: got %v; want the first two accepted", i, err)
				}
			}
			conf := st.CachedInfo().Config
			conf.MaxMsgsPerSubject = 10
			if _, err := n.admin().UpdateStream(t.Context(), conf); err != nil {
				t.Fatal(err)
			}
			settle(t, s, all[2:])
			checkExact(t, n.received("EVENTS"), 8)
		})
	}
}
