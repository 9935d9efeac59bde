package hubsim

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

// What the generator makes is what the product calls a notification, about
// as long as asked for, and its states follow one another.
func TestGenerator(t *testing.T) {
	for _, o := range []Options{
		{Seed: 7}, {Seed: 7, Numbered: true}, {Topics: topics.Names()}, {Size: 2000}, {Size: 1},
		{Topics: []string{"hub.state.changed", "odd", "billing.invoice.error", "container.traffic-drain.reconfigured", "sdn.network.new"}, Objects: 9},
	} {
		s := New(o)
		g, h := newGenerator(s.opts), newGenerator(s.opts)
		state := map[string]string{}
		for i := range 5000 {
			number := uint64(0)
			if o.Numbered {
				number = uint64(i + 1)
			}
			raw, m := g.append(nil, number, 1700000000000000000)
			if again, _ := h.append(nil, number, 1700000000000000000); string(again) != string(raw) {
				t.Fatalf("the same seed made %s and %s", raw, again)
			}
			n, err := bridge.ParseNotification(raw)
			if err != nil || !json.Valid(raw) {
				t.Fatalf("%s: %v", raw, err)
			}
			if string(n.Topic()) != m.topic || string(n.Field(bridge.FieldHub)) != DefaultHubID || len(n.Object()) != 24 {
				t.Fatalf("got %s for topic %s", raw, m.topic)
			}
			if want := s.opts.Size; len(raw) > max(want, 400)+120 || len(raw) < want-10 {
				t.Fatalf("got %d bytes, want about %d: %s", len(raw), want, raw)
			}
			id := string(n.Object())
			if p := string(n.StatePrevious()); p != "" {
				if last, ok := state[id]; ok && last != p {
					t.Fatalf("object %s was %s, and now state_previous is %s", id, last, p)
				}
				state[id] = string(n.State())
			}
		}
	}
}

func TestPace(t *testing.T) {
	for _, rate := range []float64{0.5, 10, 1000, 5000} {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{Rate: rate})
			serve(t, s)
			s.Start()
			time.Sleep(20 * time.Second)
			s.Stop()
			got, want := float64(s.Counters().Sent), rate*20
			if got < want || got > want*1.01+1 {
				t.Errorf("rate %g: got %g in 20 s, want %g", rate, got, want)
			}
		})
	}
	t.Run("count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{Rate: 0, Count: 10_000, MinConnections: 1})
			c := serve(t, s)
			s.Start()
			time.Sleep(time.Minute)
			if n := s.Counters().Sent; n != 0 {
				t.Fatalf("got %d sent to nobody, want the generator to wait", n)
			}
			ws := c.connect(s, "")
			for range 10_000 {
				read(t, ws)
			}
			if err := s.Wait(t.Context()); err != nil || s.Counters().Sent != 10_000 {
				t.Errorf("got %d sent, %v, want 10000", s.Counters().Sent, err)
			}
		})
	})
}
