package admin

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

var update = flag.Bool("update", false, "write the golden files")

// fullMetrics has a value in every metric.
func fullMetrics(status func() bridge.Status) *Metrics {
	m := NewMetrics(MetricsOptions{
		Status:    status,
		Retention: func() Retention { return Retention{MaxAge: time.Hour} },
		Version:   "v1.2.3",
	})
	m.Gap("production", "start")
	m.SetConfig("0123456789abcdef", true)
	o := m.Observer()
	o.Appended(2*time.Millisecond, 100, 45000)
	o.Published("nats", 3*time.Millisecond, 50, bridge.KindUnknown, 0)
	o.Delivered("nats", 4*time.Millisecond)
	return m
}

func scrape(t *testing.T, m *Metrics) (string, map[string]*dto.MetricFamily) {
	t.Helper()
	s := newServer(t, Defaults(), goodStatus)
	s.opts.Metrics = m.Handler()
	w := do(t, s, request{path: "/metrics"})
	if w.Code != 200 {
		t.Fatalf("code: got %d: %s", w.Code, w.Body)
	}
	text := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return text, families
}

// value returns the value of the metric with the labels ("name=value", ...).
func value(families map[string]*dto.MetricFamily, name string, labels ...string) (float64, bool) {
	f := families["cycle_bridge_"+name]
	if f == nil {
		return 0, false
	}
	for _, m := range f.Metric {
		var have []string
		for _, l := range m.Label {
			have = append(have, l.GetName()+"="+l.GetValue())
		}
		if !slices.Equal(have, labels) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue(), true
		case m.Gauge != nil:
			return m.Gauge.GetValue(), true
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount()), true
		}
	}
	return 0, false
}

func TestMetricNames(t *testing.T) {
	text, families := scrape(t, fullMetrics(goodStatus))
	var lines []string
	for name, f := range families {
		if !strings.HasPrefix(name, "cycle_bridge_") {
			continue
		}
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		lines = append(lines, fmt.Sprintf("%s %s{%s}\n", strings.ToLower(f.GetType().String()), name, strings.Join(labels, ",")))
	}
	slices.Sort(lines)
	got := strings.Join(lines, "")
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("metric names (-want +got); -update if that is meant:\n%s", diff)
	}
	// The names that the design promises.
	for name := range strings.FieldsSeq(`source_events_total source_connections source_last_alive_timestamp_seconds
		source_gaps_total journal_append_seconds journal_bytes journal_oldest_timestamp_seconds sink_events_total
		sink_lag_events sink_lag_seconds sink_up sink_overrun_in_seconds unaccounted_events family_events_total
		config_hash_info config_reload_success leader`) {
		if families["cycle_bridge_"+name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds", "go_build_info"} {
		if families[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	problems, err := promlint.New(bytes.NewBufferString(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
}

func TestMetricValues(t *testing.T) {
	m := fullMetrics(goodStatus)
	m.SetConfig("fedcba", false)
	m.SetLeader(false)
	_, families := scrape(t, m)
	for _, tc := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"source_events_total", []string{"source=production"}, 100},
		{"source_bytes_total", []string{"source=production"}, 5000},
		{"source_connections", []string{"source=production"}, 1},
		{"source_last_alive_timestamp_seconds", []string{"source=production"}, float64(start.Unix() + 60)},
		{"source_reconnects_total", []string{"source=production"}, 2},
		{"source_gaps_total", []string{"reason=start", "source=production"}, 1},
		{"journal_up", nil, 1},
		{"journal_bytes", nil, 4096},
		{"journal_last_offset", nil, 105},
		{"journal_oldest_timestamp_seconds", nil, float64(start.Unix())},
		{"journal_append_seconds", nil, 1},
		{"journal_group_events", nil, 1},
		{"sink_up", []string{"sink=nats"}, 1},
		{"sink_events_total", []string{"outcome=delivered", "sink=nats"}, 90},
		{"sink_events_total", []string{"outcome=not_routed", "sink=nats"}, 7},
		{"sink_events_total", []string{"outcome=dead_lettered", "sink=nats"}, 3},
		{"sink_events_total", []string{"outcome=retried", "sink=nats"}, 5},
		{"sink_events_total", []string{"outcome=overrun", "sink=nats"}, 0},
		{"sink_events_total", []string{"outcome=lost", "sink=nats"}, 0},
		{"sink_published_total", []string{"sink=nats"}, 95},
		{"sink_paused_total", []string{"sink=nats"}, 1},
		{"sink_bytes_total", []string{"sink=nats"}, 4500},
		{"sink_lag_events", []string{"sink=kafka"}, 10},
		{"sink_lag_seconds", []string{"sink=kafka"}, 2.5},
		{"sink_overrun_in_seconds", []string{"sink=kafka"}, 3597.5},
		{"sink_overrun_in_seconds", []string{"sink=nats"}, math.Inf(1)},
		{"sink_publish_seconds", []string{"sink=nats"}, 1},
		{"sink_delivery_seconds", []string{"sink=nats"}, 1},
		{"unaccounted_events", []string{"sink=nats"}, 0},
		{"family_events_total", []string{"family=container"}, 60},
		{"queue_events", nil, 8},
		{"queue_bytes", nil, 800},
		{"config_hash_info", []string{"hash=fedcba"}, 1},
		{"config_reload_success", nil, 0},
		{"leader", nil, 0},
		{"build_info", []string{"version=v1.2.3"}, 1},
		{"draining", nil, 0},
	} {
		got, ok := value(families, tc.name, tc.labels...)
		if !ok || got != tc.want {
			t.Errorf("%s%v: got %v (there: %v), want %v", tc.name, tc.labels, got, ok, tc.want)
		}
	}
}

// TestLabels79 is (79): what comes from outside never makes series without end.
func TestLabels79(t *testing.T) {
	st := goodStatus()
	for i := range 250 {
		st.Sources = append(st.Sources, bridge.SourceStatus{
			Name: fmt.Sprintf("hub-%d", i), Connections: 1, Wanted: 2, Events: 2, LastAlive: start.Add(time.Duration(-i) * time.Second),
		})
	}
	for i := range 1000 {
		st.Families = append(st.Families, bridge.FamilyCount{Family: fmt.Sprintf("x%04d", i), Events: 1})
	}
	st.Families = append(st.Families, bridge.FamilyCount{Family: "bad\xff\n\"utf8", Events: 5})
	text, families := scrape(t, fullMetrics(func() bridge.Status { return st }))
	if got, _ := value(families, "source_events_total", "source=_all"); got != 600 {
		t.Errorf("events of all sources: got %v, want 600", got)
	}
	if got, _ := value(families, "source_connections", "source=_all"); got != 251 {
		t.Errorf("connections of all sources: got %v, want 251", got)
	}
	if got, _ := value(families, "source_last_alive_timestamp_seconds", "source=_all"); got != float64(start.Unix()-249) {
		t.Errorf("oldest sign of life: got %v, want %v", got, start.Unix()-249)
	}
	if n := len(families["cycle_bridge_source_events_total"].Metric); n != 1 {
		t.Errorf("series of sources: got %d, want 1", n)
	}
	if n := len(families["cycle_bridge_family_events_total"].Metric); n != maxFamilies+1 {
		t.Errorf("series of families: got %d, want %d", n, maxFamilies+1)
	}
	if got, _ := value(families, "family_events_total", "family=_other"); got != 1000-(maxFamilies-2)+5 {
		t.Errorf("other families: got %v", got)
	}
	if m := regexp.MustCompile(`[0-9a-f]{24}`).FindString(text); m != "" {
		t.Errorf("an object id in the metrics: %s", m)
	}
}

func TestOverrunIn(t *testing.T) {
	now := start.Add(10 * time.Hour)
	lagging := bridge.SinkStatus{LagEvents: 5, LagSeconds: 1800}
	j := bridge.JournalInfo{OldestAt: start, Bytes: 1000}
	for _, tc := range []struct {
		name string
		sink bridge.SinkStatus
		keep Retention
		want float64
		ok   bool
	}{
		{"unknown limits", lagging, Retention{}, 0, false},
		{"idle", bridge.SinkStatus{}, Retention{MaxAge: time.Hour}, math.Inf(1), true},
		{"by age", lagging, Retention{MaxAge: time.Hour}, 1800, true},
		{"by bytes: full", lagging, Retention{MaxAge: 100 * time.Hour, MaxBytes: 1000}, 10*3600 - 1800, true},
		{"by bytes: half full", lagging, Retention{MaxBytes: 2000}, 20*3600 - 1800, true},
		{"too late", bridge.SinkStatus{LagEvents: 1, LagSeconds: 1e6}, Retention{MaxAge: time.Hour}, 0, true},
	} {
		got, ok := overrunIn(tc.sink, j, tc.keep, now)
		if got != tc.want || ok != tc.ok {
			t.Errorf("%s: got %v, %v; want %v, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestForgetSink(t *testing.T) {
	m := fullMetrics(func() bridge.Status { return bridge.Status{} })
	m.ForgetSink("nats")
	if text, _ := scrape(t, m); strings.Contains(text, `sink="nats"`) {
		t.Error("a removed sink has series still")
	}
}
