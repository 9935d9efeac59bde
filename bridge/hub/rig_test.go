package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

const canaryKey = "canary-key-5f2c9a"

// patience bounds every wait of a test.
const patience = 20 * time.Second

// inlet keeps what it gets. While gate is not nil, Put waits for it.
type inlet struct {
	mu      sync.Mutex
	events  []bridge.Event
	changed chan struct{}
	gate    chan struct{}
	err     error
}

func newInlet() *inlet { return &inlet{changed: make(chan struct{})} }

func (in *inlet) Put(ctx context.Context, e bridge.Event) error {
	in.mu.Lock()
	gate := in.gate
	in.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err != nil {
		return in.err
	}
	in.events = append(in.events, e)
	close(in.changed)
	in.changed = make(chan struct{})
	return nil
}

func (in *inlet) hold() (release func()) {
	gate := make(chan struct{})
	in.mu.Lock()
	in.gate = gate
	in.mu.Unlock()
	return func() {
		in.mu.Lock()
		in.gate = nil
		in.mu.Unlock()
		close(gate)
	}
}

func (in *inlet) all() []bridge.Event {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]bridge.Event(nil), in.events...)
}

// wait returns the events once there are at least n.
func (in *inlet) wait(t testing.TB, n int) []bridge.Event {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		in.mu.Lock()
		have, changed := len(in.events), in.changed
		in.mu.Unlock()
		if have >= n {
			return in.all()
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatalf("got %d events, want %d", have, n)
		}
	}
}

// logs is a JSON log that may be written and read concurrently.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count returns how many lines have the message.
func (l *logs) count(msg string) int { return len(l.lines(msg)) }

func (l *logs) lines(msg string) (out []map[string]any) {
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == msg {
			out = append(out, m)
		}
	}
	return out
}

// rig is a simulated hub in memory, and what is needed to reach it.
type rig struct {
	sim *hubsim.Server
	cfg Config
	opt Options
	log *logs
	in  *inlet
}

func newRig(t testing.TB, o hubsim.Options) *rig {
	t.Helper()
	o.APIKey = canaryKey
	r := &rig{sim: hubsim.New(o), log: &logs{}, in: newInlet()}
	ln := hubsim.Listen()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.sim.Serve(ctx, ln); err != nil {
			t.Errorf("simulator: %v", err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		for _, secret := range []string{canaryKey, "sim+", "sim%2B", "sim%2b"} {
			if strings.Contains(r.log.String(), secret) {
				t.Errorf("the log holds the secret %q:\n%s", secret, r.log)
			}
		}
	})
	r.cfg = Defaults()
	r.cfg.Name, r.cfg.ID, r.cfg.APIURL = "test", r.sim.HubID(), "http://localhost"
	r.cfg.APIKey = setting.NewSecret(canaryKey)
	r.opt = Options{
		Log:         slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Version:     "test",
		DialContext: ln.DialContext,
	}
	return r
}

func (r *rig) dialer(t testing.TB) *dialer {
	t.Helper()
	d, err := newDialer(r.cfg, r.opt.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

// start runs a Feed until the test's end or stop.
func (r *rig) start(t testing.TB) (f *Feed, stop func()) {
	t.Helper()
	f, err := New(r.cfg, r.opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := f.Run(ctx, r.in); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-ended
		})
	}
	t.Cleanup(stop)
	return f, stop
}

// connect starts a Feed and waits for its connection.
func (r *rig) connect(t testing.TB) (f *Feed, stop func()) {
	t.Helper()
	f, stop = r.start(t)
	r.connected(t, 1)
	eventually(t, "the feed is connected", func() bool { return f.Status().Connections == 1 })
	return f, stop
}

func (r *rig) connected(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.sim.WaitConnections(ctx, n); err != nil {
		t.Fatalf("got %d connections, want %d; log:\n%s", r.sim.Counters().Connections, n, r.log)
	}
}

func (r *rig) inject(t testing.TB, f hubsim.Fault) {
	t.Helper()
	if err := r.sim.Inject(f); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
