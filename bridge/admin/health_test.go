package admin

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestReadiness(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*bridge.Status)
		query  string
		code   int
		status string
		bad    map[string]string // part: its state
	}{
		{name: "all well", code: 200, status: "ready"},
		{
			name:   "journal fails",
			change: func(s *bridge.Status) { s.Journal.Healthy, s.Journal.Problem = false, "no answer for 10s" },
			code:   503, status: "not_ready", bad: map[string]string{"journal": "failing"},
		},
		{
			name:   "hub gone",
			change: func(s *bridge.Status) { s.Sources[0].Connections, s.Sources[0].Problem = 0, "401" },
			code:   503, status: "not_ready", bad: map[string]string{"hub:production": "disconnected"},
		},
		{
			name:   "one of two connections is enough",
			change: func(s *bridge.Status) { s.Sources[0].Wanted = 2 },
			code:   200, status: "ready",
		},
		{
			name:   "sink starting",
			change: func(s *bridge.Status) { s.Sinks[0].State = bridge.SinkStarting },
			code:   503, status: "not_ready", bad: map[string]string{"sink:nats": "starting"},
		},
		{
			name:   "sink retrying",
			change: func(s *bridge.Status) { s.Sinks[1].State = bridge.SinkRetrying },
			code:   503, status: "not_ready", bad: map[string]string{"sink:kafka": "retrying"},
		},
		{
			name:   "sink paused",
			change: func(s *bridge.Status) { s.Sinks[1].State, s.Sinks[1].Kind = bridge.SinkPaused, "misconfigured" },
			code:   503, status: "not_ready", bad: map[string]string{"sink:kafka": "paused"},
		},
		{
			name:   "sink stopped",
			change: func(s *bridge.Status) { s.Sinks[1].State = bridge.SinkStopped },
			code:   503, status: "not_ready", bad: map[string]string{"sink:kafka": "stopped"},
		},
		{
			name: "several",
			change: func(s *bridge.Status) {
				s.Journal.Healthy, s.Sources[0].Connections, s.Sinks[0].State = false, 0, bridge.SinkPaused
			},
			code: 503, status: "not_ready",
			bad: map[string]string{"journal": "failing", "hub:production": "disconnected", "sink:nats": "paused"},
		},
		{
			name:   "other source",
			change: func(s *bridge.Status) { s.Sources[0].Origin, s.Sources[0].Connections = "webhook", 0 },
			code:   503, status: "not_ready", bad: map[string]string{"source:production": "disconnected"},
		},
		{name: "draining", change: func(s *bridge.Status) { s.Draining = true }, code: 503, status: "draining"},
		{
			name:   "only the journal",
			change: func(s *bridge.Status) { s.Sources[0].Connections = 0; s.Sinks[0].State = bridge.SinkPaused },
			query:  "?only=journal", code: 200, status: "ready",
		},
		{
			name:   "only one hub and the journal",
			change: func(s *bridge.Status) { s.Sources[0].Connections = 0 },
			query:  "?only=journal,hub:production", code: 503, status: "not_ready",
			bad: map[string]string{"hub:production": "disconnected"},
		},
		{
			name:   "without the sinks",
			change: func(s *bridge.Status) { s.Sinks[0].State = bridge.SinkPaused },
			query:  "?exclude=sinks", code: 200, status: "ready",
		},
		{
			name:   "without one sink, repeated",
			change: func(s *bridge.Status) { s.Sinks[0].State, s.Sinks[1].State = bridge.SinkPaused, bridge.SinkPaused },
			query:  "?exclude=sink:kafka&exclude=hubs", code: 503, status: "not_ready", bad: map[string]string{"sink:nats": "paused"},
		},
		{name: "no part like that", query: "?only=sink:none", code: 400},
		{name: "a kind with no part", query: "?exclude=sources", code: 200, status: "ready"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := goodStatus()
			if tc.change != nil {
				tc.change(&st)
			}
			s := newServer(t, Defaults(), func() bridge.Status { return st })
			w := do(t, s, request{path: "/readyz" + tc.query})
			if w.Code != tc.code {
				t.Fatalf("code: got %d, want %d: %s", w.Code, tc.code, w.Body)
			}
			if tc.code == 400 {
				return
			}
			var h Health
			if err := json.Unmarshal(w.Body.Bytes(), &h); err != nil {
				t.Fatal(err)
			}
			if h.Status != tc.status {
				t.Errorf("status: got %q, want %q", h.Status, tc.status)
			}
			bad := map[string]string{}
			for _, p := range h.Parts {
				if !p.Ready {
					bad[p.Part] = p.State
					if p.Do == "" {
						t.Errorf("%s does not say what to do", p.Part)
					}
					if p.Since != start {
						t.Errorf("%s since: got %v, want %v", p.Part, p.Since, start)
					}
				}
			}
			if tc.bad == nil {
				tc.bad = map[string]string{}
			}
			if diff := cmp.Diff(tc.bad, bad); diff != "" {
				t.Errorf("parts that are not ready (-want +got):\n%s", diff)
			}
			if live := do(t, s, request{path: "/livez"}); live.Code != 200 {
				t.Errorf("livez: got %d, want 200", live.Code)
			}
		})
	}
}

func TestReadyzDetail(t *testing.T) {
	c := Config{Listen: "0.0.0.0:8080", Insecure: true, Tokens: tokens()}
	s := newServer(t, c, goodStatus)
	w := do(t, s, request{path: "/readyz", peer: remotePeer, host: "192.0.2.1:8080"})
	if got, want := strings.Join(strings.Fields(w.Body.String()), ""), `{"status":"ready"}`; w.Code != 200 || got != want {
		t.Errorf("without a token: got %d %s, want 200 %s", w.Code, got, want)
	}
	w = do(t, s, request{path: "/readyz", peer: remotePeer, host: "192.0.2.1:8080", token: canary})
	if !strings.Contains(w.Body.String(), "sink:kafka") {
		t.Errorf("with a token: got %s, want parts", w.Body)
	}
}

func TestStatus(t *testing.T) {
	s := newServer(t, Defaults(), goodStatus)
	w := do(t, s, request{path: "/api/v1/status"})
	var v View
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.UptimeSeconds <= 0 {
		t.Errorf("uptime: got %v", v.UptimeSeconds)
	}
	want := NewView(goodStatus(), start)
	want.UptimeSeconds, v.UptimeSeconds = 0, 0
	if diff := cmp.Diff(want, v); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v.Sinks[1].LagEvents != 10 || v.Sources[0].Events != 100 || v.Journal.LastOffset != 105 || !v.Health.Ready() {
		t.Errorf("values: got %+v", v)
	}
}

func TestStatusOfManySources(t *testing.T) {
	st := goodStatus()
	st.Sources = nil
	for i := range 1000 {
		st.Sources = append(st.Sources, bridge.SourceStatus{
			Name: "h" + strings.Repeat("x", i%7) + time.Duration(i).String(), Origin: bridge.OriginHub,
			Connections: 1, Wanted: 1, LastAlive: start.Add(-time.Duration(i) * time.Second), Events: 1,
		})
	}
	st.Sources[3].Connections = 0
	v := NewView(st, start)
	if v.SourcesTotal != 1000 || len(v.Sources) != 10 {
		t.Fatalf("sources: got %d of %d, want 10 of 1000", len(v.Sources), v.SourcesTotal)
	}
	if v.Sources[0].Name != st.Sources[3].Name || v.Sources[1].Name != st.Sources[999].Name {
		t.Errorf("worst: got %s, %s; want the one without connection, then the oldest sign of life", v.Sources[0].Name, v.Sources[1].Name)
	}
	if got, want := len(v.Health.Parts), 1+10+2; got != want {
		t.Errorf("parts: got %d, want %d", got, want)
	}
	if v.Health.Status != "not_ready" {
		t.Errorf("health: got %s, want not_ready", v.Health.Status)
	}
}

func TestPage(t *testing.T) {
	st := goodStatus()
	st.Sinks[0].State, st.Sinks[0].Problem = bridge.SinkPaused, "<script>alert(1)</script>"
	st.Sources[0].LastEvent = time.Time{}
	s := newServer(t, Defaults(), func() bridge.Status { return st })
	w := do(t, s, request{path: "/"})
	body := w.Body.String()
	for _, want := range []string{"not_ready", "&lt;script&gt;", "production", "4 KiB", "sink:nats paused"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "<script") {
		t.Error("the page holds a script")
	}
	if got := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("policy: got %q", got)
	}
	if w.Code != http.StatusOK {
		t.Errorf("code: got %d", w.Code)
	}
}
