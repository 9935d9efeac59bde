package hub

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// A quiet hub is normal: pongs alone keep a connection for ever.
func TestQuietHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		f, _ := r.connect(t)
		time.Sleep(24 * time.Hour)
		s := f.Status()
		if s.Connections != 1 || s.Reconnects != 0 || time.Since(s.LastAlive) > 20*time.Second {
			t.Errorf("got %d connections, %d reconnects, last alive %s ago, want 1, 0, at most 20 s", s.Connections, s.Reconnects, time.Since(s.LastAlive))
		}
		if !s.LastEvent.IsZero() || s.Events != 0 {
			t.Errorf("got %d events, the last at %s, want none", s.Events, s.LastEvent)
		}
	})
}

func TestDeadConnections(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  hubsim.Fault
		within time.Duration // the loss is noticed
	}{
		{"half-open", hubsim.Fault{Kind: hubsim.HalfOpen}, 45 * time.Second},
		{"no pongs on a quiet hub", hubsim.Fault{Kind: hubsim.IgnorePings, For: time.Hour}, 45 * time.Second},
		{"stall of an hour", hubsim.Fault{Kind: hubsim.Stall, For: time.Hour}, 45 * time.Second},
		{"reset", hubsim.Fault{Kind: hubsim.Drop}, time.Second},
		{"closed", hubsim.Fault{Kind: hubsim.Close, Code: 1001, Text: "going away"}, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, after := range []time.Duration{time.Second, 19900 * time.Millisecond, 20100 * time.Millisecond, 33 * time.Second} {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, hubsim.Options{})
					f, _ := r.connect(t)
					time.Sleep(after)
					proof := f.Status().LastAlive
					r.inject(t, tt.fault)
					begin := time.Now()
					for r.log.count("hub connection lost") == 0 {
						if time.Sleep(100 * time.Millisecond); time.Since(begin) > tt.within {
							t.Fatalf("not noticed within %s", tt.within)
						}
					}
					lost := r.log.lines("hub connection lost")
					at, err := time.Parse(time.RFC3339Nano, lost[0]["last_proof"].(string))
					if err != nil || !at.Equal(proof) {
						t.Errorf("last proof %v, want %s: what came before the fault, no later", lost[0]["last_proof"], proof)
					}
					r.sim.ClearFaults()
					time.Sleep(time.Minute)
					if s := f.Status(); s.Connections != 1 || s.Reconnects == 0 {
						t.Errorf("got %d connections, %d reconnects a minute later", s.Connections, s.Reconnects)
					}
				})
			}
		})
	}
}

// Messages prove life where pongs do not come.
func TestMessagesKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{Rate: 0.1})
		f, _ := r.connect(t)
		r.inject(t, hubsim.Fault{Kind: hubsim.IgnorePings, For: 24 * time.Hour})
		r.sim.Start()
		time.Sleep(time.Hour)
		if s := f.Status(); s.Reconnects != 0 || s.Events < 300 {
			t.Errorf("got %d reconnects and %d events in an hour of one each 10 s, want 0 and 360", s.Reconnects, s.Events)
		}
	})
}

// A reader that waits for the journal is stalled, not silent: nothing is
// closed, and nothing is lost.
func TestBackpressureIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{Numbered: true})
		f, _ := r.connect(t)
		release := r.in.hold()
		r.sim.Burst(3000)
		time.Sleep(10 * time.Minute)
		if s := f.Status(); s.Connections != 1 || s.Reconnects != 0 {
			t.Fatalf("got %d connections and %d reconnects while the inlet was full, want 1 and 0", s.Connections, s.Reconnects)
		}
		if n := r.log.count("hub reader is held up"); n == 0 || n > 11 {
			t.Errorf("got %d lines about it in 10 min, want some, one a minute at most", n)
		}
		release()
		events := r.in.wait(t, 3000)
		if len(events) != 3000 {
			t.Errorf("got %d events, want 3000", len(events))
		}
		time.Sleep(time.Hour)
		if s := f.Status(); s.Connections != 1 || s.Reconnects != 0 || s.Events != 3000 {
			t.Errorf("an hour later: got %d connections, %d reconnects, %d events", s.Connections, s.Reconnects, s.Events)
		}
	})
}

func TestPartialMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		f, _ := r.connect(t)
		time.Sleep(time.Second) // the first pong is not inside the message
		r.inject(t, hubsim.Fault{Kind: hubsim.PartialFrame})
		time.Sleep(36 * time.Second)
		lost := r.log.lines("hub connection lost")
		if len(lost) != 1 || !strings.Contains(lost[0]["error"].(string), "did not end within 30s") {
			t.Fatalf("got %v, want one loss for a message that did not end", lost)
		}
		time.Sleep(time.Minute)
		if s := f.Status(); s.Connections != 1 || s.Events != 0 {
			t.Errorf("got %d connections and %d events, want 1 and 0", s.Connections, s.Events)
		}
	})
}

// Run hands over what was read, also into an inlet that is full, and says goodbye.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{Ledger: true})
		f, stop := r.connect(t)
		release := r.in.hold()
		r.sim.Burst(50)
		time.Sleep(time.Second)
		go func() {
			time.Sleep(5 * time.Second)
			release()
		}()
		stop()
		if n := len(r.in.all()); n != 50 {
			t.Errorf("got %d events, want 50", n)
		}
		if s := f.Status(); s.Connections != 0 || s.Events != 50 {
			t.Errorf("got %d connections and %d events, want 0 and 50", s.Connections, s.Events)
		}
	})
	t.Run("inlet blocked for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{})
			_, stop := r.connect(t)
			release := r.in.hold()
			defer release()
			r.sim.Burst(5)
			time.Sleep(time.Second)
			begin := time.Now()
			stop()
			if took := time.Since(begin); took != 10*time.Second {
				t.Errorf("stopping took %s, want HandOver, 10 s", took)
			}
		})
	})
	t.Run("hub does not answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{})
			_, stop := r.connect(t)
			r.inject(t, hubsim.Fault{Kind: hubsim.HalfOpen})
			begin := time.Now()
			stop()
			if took := time.Since(begin); took != 2*time.Second {
				t.Errorf("stopping took %s, want Goodbye, 2 s", took)
			}
		})
	})
	t.Run("while dialling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{})
			r.inject(t, hubsim.Fault{Kind: hubsim.TokenSlow, For: time.Hour})
			_, stop := r.start(t)
			time.Sleep(time.Second)
			begin := time.Now()
			stop()
			if took := time.Since(begin); took != 0 {
				t.Errorf("stopping took %s, want no time", took)
			}
		})
	})
}

// Frames that the hub sends until it answers our close frame are kept.
func TestStopReadsToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{Numbered: true, Rate: 1000, Ledger: true})
		_, stop := r.connect(t)
		r.sim.Start()
		time.Sleep(3 * time.Second)
		stop()
		r.sim.Stop()
		ledger := r.sim.Ledger()
		got, want := len(r.in.all()), len(ledger.Conns[0].Written)
		if got != want || got < 3000 {
			t.Errorf("got %d events, the hub wrote %d", got, want)
		}
	})
}

// Pings among the last frames are not answered any more, and end nothing.
func TestStopUnderPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		_, stop := r.connect(t)
		time.Sleep(time.Second)
		r.inject(t, hubsim.Fault{Kind: hubsim.Stall, For: time.Second})
		r.inject(t, hubsim.Fault{Kind: hubsim.PingFlood, Parts: 3})
		r.sim.Burst(5)
		stop() // the hub's answer comes after them
		if n := len(r.in.all()); n != 5 {
			t.Errorf("got %d events, want 5", n)
		}
		if l := r.log.lines("hub connection closed"); len(l) != 1 || l[0]["code"] != 1000.0 {
			t.Errorf("got %v, want the hub's answer 1000", l)
		}
	})
}

// recorder is a handler that writes down the frame stream.
type recorder struct {
	mu    sync.Mutex
	lines []string
	alive []time.Time
	end   *ending
}

func (r *recorder) frame(_ context.Context, e *bridge.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, "frame")
	return nil
}

func (r *recorder) mark(_ context.Context, m mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, []string{"opened", "alive", "closed"}[m.kind])
	if m.kind == alive {
		r.alive = append(r.alive, m.at)
	}
	r.end = m.end
}

// The end is an element of the connection's own stream, after its last frame.
func TestFrameStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		f, err := New(r.cfg, r.opt)
		if err != nil {
			t.Fatal(err)
		}
		h := &recorder{}
		l := &line{feed: f}
		c, err := l.dial(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			r.sim.Burst(2)
			time.Sleep(20 * time.Second)
			r.sim.Burst(1)
			time.Sleep(time.Second)
			r.inject(t, hubsim.Fault{Kind: hubsim.AfterClose, Code: 4000, Text: "enough"})
		}()
		begin := time.Now()
		end, inletErr := c.run(t.Context(), t.Context())
		f.dialer.close()
		// The first pong comes with the open; (68) the frame after the close frame is ignored.
		want := []string{"opened", "alive", "frame", "frame", "alive", "frame", "closed"}
		if !slices.Equal(h.lines, want) || inletErr != nil {
			t.Errorf("got %v, %v\nwant %v", h.lines, inletErr, want)
		}
		for i, want := range []time.Duration{0, 20 * time.Second} {
			if got := h.alive[i].Sub(begin); got != want {
				t.Errorf("proof of life %d: got %s after the start, want %s", i, got, want)
			}
		}
		if end != h.end || end.code != 4000 || end.reason != "enough" || end.proof.Sub(begin) != 21*time.Second {
			t.Errorf("got end %+v, want code 4000, enough, proof after 21 s", end)
		}
	})
}

// Connection numbers count up, and events say which connection brought them.
func TestConnectionNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		r.connect(t)
		for i := range 3 {
			r.sim.Burst(1)
			e := r.in.wait(t, i+1)[i]
			if e.Conn != uint32(i+1) || e.Source.ID != r.sim.HubID() || e.Source.Name != "test" || e.Source.Origin != bridge.OriginHub {
				t.Errorf("got event %d of connection %d and source %+v", i, e.Conn, e.Source)
			}
			if at := e.Time(); time.Since(at) > time.Second || at.After(time.Now()) {
				t.Errorf("got arrival at %s, now is %s", at, time.Now())
			}
			r.sim.DropAll()
			time.Sleep(time.Minute)
			r.connected(t, 1)
		}
	})
}
