package hub

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// counter is an inlet that counts, and ends a run at a number.
type counter struct {
	n, want atomic.Uint64
	done    chan struct{}
}

func (c *counter) Put(context.Context, bridge.Event) error {
	if c.n.Add(1) == c.want.Load() {
		close(c.done)
	}
	return nil
}

// benchHub serves an unpaced hub on loopback.
func benchHub(b *testing.B, count uint64) (sim *hubsim.Server, host string) {
	b.Helper()
	sim = hubsim.New(hubsim.Options{Count: count, Seed: 1})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = sim.Serve(ctx, ln)
	}()
	b.Cleanup(func() {
		stop()
		<-ended
	})
	return sim, ln.Addr().String()
}

// BenchmarkReadMessages compares the Feed with coder/websocket reading and
// discarding, both fed by the simulator over loopback.
func BenchmarkReadMessages(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		sim, host := benchHub(b, uint64(b.N))
		d, err := newDialer(Config{ID: sim.HubID(), APIKey: setting.NewSecret(sim.APIKey()), APIURL: "http://" + host}, Options{}.withDefaults())
		if err != nil {
			b.Fatal(err)
		}
		g, _, err := d.grant(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		ws, _, err := websocket.Dial(b.Context(), "ws://"+host+hubsim.Path+"?token="+url.QueryEscape(g.token), nil)
		if err != nil {
			b.Fatal(err)
		}
		defer ws.CloseNow()
		ws.SetReadLimit(-1)
		buf := make([]byte, 64<<10)
		ctx := context.Background()
		b.ResetTimer()
		begin := time.Now()
		sim.Start()
		for range b.N {
			_, r, err := ws.Reader(ctx)
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = r.Read(buf)
			}
			if !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "events/s")
	})
	b.Run("feed", func(b *testing.B) {
		sim, host := benchHub(b, uint64(b.N))
		f, err := New(Config{Name: "b", ID: sim.HubID(), APIKey: setting.NewSecret(sim.APIKey()), APIURL: "http://" + host}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		in := &counter{done: make(chan struct{})}
		in.want.Store(uint64(b.N))
		ctx, stop := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx, in) }()
		if err := sim.WaitConnections(ctx, 1); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		begin := time.Now()
		sim.Start()
		<-in.done
		b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "events/s")
		b.StopTimer()
		stop()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	})
}
