package hub

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// dials counts token requests, issued and refused, over a time.
func dials(r *rig, d time.Duration) int {
	before := r.sim.Counters()
	time.Sleep(d)
	after := r.sim.Counters()
	return int(after.Tokens - before.Tokens + after.Refused - before.Refused)
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		r.inject(t, hubsim.Fault{Kind: hubsim.TokenStatus, Code: 500, Count: -1})
		f, _ := r.start(t)
		// Full jitter from 250 ms: half of 250, 500, … on average, 30 s at most.
		if n := dials(r, 2*time.Second); n < 3 || n > 60 {
			t.Errorf("got %d dials in the first 2 s, want some", n)
		}
		time.Sleep(5 * time.Minute)
		if n := dials(r, time.Hour); n < 160 || n > 360 {
			t.Errorf("got %d dials in an hour, want about 240: 15 s apart on average", n)
		}
		if s := f.Status(); s.Connections != 0 || !strings.Contains(s.Problem, "500") {
			t.Errorf("got %d connections, problem %q, want 0 and the 500", s.Connections, s.Problem)
		}
		// The same trouble is told about once a minute, not once an attempt.
		if n := r.log.count("hub not reachable"); n < 50 || n > 75 {
			t.Errorf("got %d log lines in 65 min, want one a minute", n)
		}
		r.sim.ClearFaults()
		time.Sleep(31 * time.Second)
		if s := f.Status(); s.Connections != 1 || s.Problem != "" {
			t.Errorf("after the API came back: got %d connections, problem %q", s.Connections, s.Problem)
		}
		if n := r.log.count("hub connected"); n != 1 {
			t.Errorf("got %d lines of the first connection, want 1", n)
		}
	})
}

func TestSlowRetry(t *testing.T) {
	for name, f := range map[string]hubsim.Fault{
		"(35) 401":               {Kind: hubsim.TokenStatus, Code: 401, Count: -1},
		"(36) 403":               {Kind: hubsim.TokenStatus, Code: 403, Count: -1},
		"(36) 404":               {Kind: hubsim.TokenStatus, Code: 404, Count: -1},
		"(38) redirect":          {Kind: hubsim.TokenRedirect, Text: "https://evil.example/", Count: -1},
		"(42) upgrade 401":       {Kind: hubsim.UpgradeStatus, Code: 401, Count: -1},
		"(42) open, then closed": {Kind: hubsim.CloseAtOnce, Code: 4401, Text: "token expired", Count: -1},
		"close 1008":             {Kind: hubsim.CloseAtOnce, Code: 1008, Count: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{})
				r.inject(t, f)
				feed, _ := r.start(t)
				time.Sleep(5 * time.Minute)
				before := r.sim.Counters()
				time.Sleep(time.Hour)
				after := r.sim.Counters()
				requests := max(after.Tokens-before.Tokens, after.Refused-before.Refused)
				if requests < 50 || requests > 76 {
					t.Errorf("got %d dials in an hour, want 60 with 20 %% of jitter", requests)
				}
				if p := feed.Status().Problem; !strings.Contains(p, "(") {
					t.Errorf("problem %q says not what to do", p)
				}
			})
		})
	}
	t.Run("wrong key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{})
			r.cfg.APIKey = setting.NewSecret("another")
			f, _ := r.start(t)
			time.Sleep(time.Minute)
			p := f.Status().Problem
			for _, want := range []string{"401", "three causes", capability, "id is not the hub"} {
				if !strings.Contains(p, want) {
					t.Errorf("problem %q does not say %q", p, want)
				}
			}
		})
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, f := range map[string]hubsim.Fault{
		"token":   {Kind: hubsim.TokenStatus, Code: 429, RetryAfter: "600", Count: 1},
		"503":     {Kind: hubsim.TokenStatus, Code: 503, RetryAfter: "600", Count: 1},
		"upgrade": {Kind: hubsim.UpgradeStatus, Code: 503, RetryAfter: "600", Count: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{})
				r.inject(t, f)
				r.start(t)
				time.Sleep(599 * time.Second)
				if n := r.sim.Counters().Opened; n != 0 {
					t.Fatalf("got %d connections before the time", n)
				}
				time.Sleep(3 * time.Second)
				if n := r.sim.Counters().Opened; n != 1 {
					t.Fatalf("got %d connections after the time, want 1", n)
				}
			})
		})
	}
}

// The older documentation's headers are sent once the upgrade with the token
// alone was refused, and from then on.
func TestUpgradeFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{StrictUpgrade: true})
		f, _ := r.connect(t)
		if n := f.RefusedUpgrades(); n != 1 {
			t.Errorf("got %d refused upgrades before the first connection, want 1", n)
		}
		for i := range 5 {
			r.sim.DropAll()
			time.Sleep(2 * time.Minute)
			if s := f.Status(); s.Connections != 1 || s.Reconnects != uint64(i+1) {
				t.Fatalf("drop %d: got %d connections, %d reconnects", i, s.Connections, s.Reconnects)
			}
		}
		if n := f.RefusedUpgrades(); n != 1 {
			t.Errorf("got %d refused upgrades, want 1: what worked is remembered", n)
		}
	})
}

func TestUpgradeAnswers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault hubsim.Fault
		kind  bridge.Kind
		text  string
	}{
		{"(42) expired token", hubsim.Fault{Kind: hubsim.UpgradeStatus, Code: 401, Text: "401.auth-expired"}, bridge.KindMisconfigured, "401.auth-expired"},
		{"(42) 403", hubsim.Fault{Kind: hubsim.UpgradeStatus, Code: 403, Text: "403.permissions"}, bridge.KindMisconfigured, "403.permissions"},
		{"429", hubsim.Fault{Kind: hubsim.UpgradeStatus, Code: 429}, bridge.KindThrottled, "429"},
		{"503", hubsim.Fault{Kind: hubsim.UpgradeStatus, Code: 503}, bridge.KindUnavailable, "503"},
		{"(43) wrong Accept", hubsim.Fault{Kind: hubsim.UpgradeAccept}, bridge.KindUnavailable, "Accept"},
		{"(43) no Upgrade", hubsim.Fault{Kind: hubsim.UpgradeHeader}, bridge.KindUnavailable, "Upgrade header"},
		{"(43) subprotocol", hubsim.Fault{Kind: hubsim.UpgradeProtocol}, bridge.KindUnavailable, "Sec-WebSocket-Protocol"},
		{"(43) extension (67)", hubsim.Fault{Kind: hubsim.UpgradeExtension}, bridge.KindUnavailable, "extensions"},
		{"(44) 200", hubsim.Fault{Kind: hubsim.UpgradeStatus, Code: 200}, bridge.KindTransient, "200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{})
				r.inject(t, tt.fault)
				d := r.dialer(t)
				g, key, err := d.grant(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = d.connect(t.Context(), g, key, false, &conn{})
				if err == nil || bridge.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
					t.Fatalf("got %v (%s), want %s about %q", err, bridge.KindOf(err), tt.kind, tt.text)
				}
				for _, secret := range []string{canaryKey, g.token, "token=s"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("error %q holds the secret %q", err, secret)
					}
				}
			})
		})
	}
	t.Run("(42) a fresh token for every dial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{})
			d := r.dialer(t)
			g, key, err := d.grant(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(16 * time.Second) // tokens of the simulator live 15 s
			if _, _, err = d.connect(t.Context(), g, key, false, &conn{}); err == nil {
				t.Fatal("an expired token was taken")
			}
			if _, ok := errors.AsType[refused](err); !ok {
				t.Errorf("got %v, want a refusal", err)
			}
			f, _ := r.connect(t)
			for range 20 {
				r.sim.CloseAll(1012, "restart")
				time.Sleep(time.Minute)
			}
			c := r.sim.Counters()
			if f.Status().Connections != 1 || c.Tokens != c.Opened+1 {
				t.Errorf("got %d tokens for %d connections, want one each and the expired one", c.Tokens, c.Opened)
			}
		})
	})
}

// A Feed ends when its inlet fails.
func TestInletFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		r.in.err = bridge.ErrClosed
		f, err := New(r.cfg, r.opt)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- f.Run(context.Background(), r.in) }()
		r.connected(t, 1)
		r.sim.Burst(1)
		if err := <-ended; !errors.Is(err, bridge.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if err := f.Run(context.Background(), r.in); err == nil {
			t.Error("a second Run was taken")
		}
	})
}

func TestProbe(t *testing.T) {
	names := func(steps []ProbeStep) string {
		var out []string
		for _, s := range steps {
			n := s.Name
			if s.Err != nil {
				n += "!"
			}
			out = append(out, n)
		}
		return strings.Join(out, " ")
	}
	for _, tt := range []struct {
		name  string
		opts  hubsim.Options
		fault hubsim.Fault
		want  string
	}{
		{"works", hubsim.Options{}, hubsim.Fault{}, "token upgrade ping close"},
		{"strict", hubsim.Options{StrictUpgrade: true}, hubsim.Fault{}, "token upgrade ping close"},
		{"under load", hubsim.Options{Rate: 500}, hubsim.Fault{}, "token upgrade ping close"},
		{"no capability", hubsim.Options{}, hubsim.Fault{Kind: hubsim.TokenStatus, Code: 403}, "token!"},
		{"no upgrade", hubsim.Options{}, hubsim.Fault{Kind: hubsim.UpgradeStatus, Code: 503}, "token upgrade!"},
		{"closed at once", hubsim.Options{}, hubsim.Fault{Kind: hubsim.CloseAtOnce, Code: 4403}, "token upgrade ping!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tt.opts)
				if tt.opts.Rate > 0 {
					r.sim.Start()
				}
				if tt.fault.Kind != "" {
					r.inject(t, tt.fault)
				}
				steps, err := Probe(t.Context(), r.cfg, r.opt)
				if got := names(steps); got != tt.want || (err != nil) != strings.Contains(tt.want, "!") {
					t.Errorf("got %q, %v, want %q", got, err, tt.want)
				}
			})
		})
	}
}

// Lines name the hub once; its id stands beside a name of the user's own.
func TestLogNamesTheHub(t *testing.T) {
	for _, own := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{})
			if !own {
				r.cfg.Name = r.cfg.ID
			}
			r.connect(t)
			lines := r.log.lines("hub connected")
			if len(lines) != 1 {
				t.Fatalf("got %d lines, want 1", len(lines))
			}
			l := lines[0]
			if _, ok := l["source"]; ok || l["hub"] != r.cfg.Name || (l["hub_id"] == r.cfg.ID) != own {
				t.Errorf("own name %v: got %v", own, l)
			}
		})
	}
}
