package admin

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// maxFamilies bounds the label family: a topic comes from outside, and past
// this number it is "_other".
const maxFamilies = 300

// Labels that stand for many. Names from the configuration cannot begin like
// that by chance: nobody has over 200 hubs and one of them called so.
const (
	labelAll   = "_all"
	labelOther = "_other"
)

// metric is a metric whose values come from the status.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// statusCollector reads the status when it is scraped.
type statusCollector struct {
	opts    MetricsOptions
	state   *Metrics
	metrics map[string]metric
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

func newStatusCollector(o MetricsOptions, m *Metrics) *statusCollector {
	c := &statusCollector{opts: o, state: m, metrics: map[string]metric{}}
	for _, d := range []struct {
		name   string
		kind   prometheus.ValueType
		help   string
		labels []string
	}{
		{"source_events_total", counter, "Frames received, copies included.", []string{"source"}},
		{"source_bytes_total", counter, "Bytes received in frames.", []string{"source"}},
		{"source_connections", gauge, "Live connections.", []string{"source"}},
		{"source_connections_wanted", gauge, "Connections that there should be.", []string{"source"}},
		{"source_last_alive_timestamp_seconds", gauge, "Last proof of life: a pong or a whole message.", []string{"source"}},
		{"source_last_event_timestamp_seconds", gauge, "Arrival of the last event.", []string{"source"}},
		{"source_reconnects_total", counter, "Connections made again.", []string{"source"}},
		{"source_unparsed_total", counter, "Frames that are not a JSON object with a topic.", []string{"source"}},
		{"source_truncated_total", counter, "Frames of which only the beginning was kept.", []string{"source"}},

		{"journal_up", gauge, "1 when the journal takes appends.", nil},
		{"journal_bytes", gauge, "Stored bytes.", nil},
		{"journal_oldest_timestamp_seconds", gauge, "Time of the oldest kept events.", nil},
		{"journal_oldest_offset", gauge, "Oldest kept offset.", nil},
		{"journal_last_offset", gauge, "Last appended offset.", nil},

		{"sink_up", gauge, "1 when the sink delivers or is idle.", []string{"sink"}},
		{"sink_events_total", counter, "Events by what became of them; retried counts messages handed to the sink again.", []string{"sink", "outcome"}},
		{"sink_bytes_total", counter, "Payload bytes delivered.", []string{"sink"}},
		{"sink_published_total", counter, "Messages handed to the sink, repetitions included.", []string{"sink"}},
		{"sink_paused_total", counter, "Times that the sink was paused.", []string{"sink"}},
		{"sink_unclassified_errors_total", counter, "Errors that nobody classified: a bug in the sink.", []string{"sink"}},
		{"sink_lag_events", gauge, "Events in the journal that the sink has not settled.", []string{"sink"}},
		{"sink_lag_seconds", gauge, "Age of the oldest event that the sink has not settled.", []string{"sink"}},
		{"sink_last_delivery_timestamp_seconds", gauge, "Last acceptance by the sink.", []string{"sink"}},
		{"sink_overrun_in_seconds", gauge, "Time until the journal drops events that the sink has not settled, if it stays stuck; +Inf when there are none.", []string{"sink"}},
		{"unaccounted_events", gauge, "Events that no outcome accounts for: must be 0.", []string{"sink"}},

		{"queue_events", gauge, "Events that wait for the journal.", nil},
		{"queue_bytes", gauge, "Bytes of events that wait for the journal.", nil},
		{"family_events_total", counter, "Events by topic family.", []string{"family"}},
		{"start_timestamp_seconds", gauge, "Start of the bridge.", nil},
		{"draining", gauge, "1 while the bridge shuts down.", nil},
		{"leader", gauge, "1 when this bridge appends to the journal.", nil},
		{"config_hash_info", gauge, "Hash of the configuration in force, without secrets.", []string{"hash"}},
		{"config_reload_success", gauge, "1 when the last load of a configuration succeeded.", nil},
		{"build_info", gauge, "Version of the bridge.", []string{"version"}},
	} {
		full := prometheus.BuildFQName(namespace, "", d.name)
		c.metrics[d.name] = metric{prometheus.NewDesc(full, d.help, d.labels, nil), d.kind}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.opts.Status()
	send := func(name string, v float64, labels ...string) {
		m := c.metrics[name]
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
	}
	for _, src := range foldSources(s.Sources) {
		send("source_events_total", float64(src.Events), src.Name)
		send("source_bytes_total", float64(src.Bytes), src.Name)
		send("source_connections", float64(src.Connections), src.Name)
		send("source_connections_wanted", float64(src.Wanted), src.Name)
		send("source_last_alive_timestamp_seconds", unix(src.LastAlive), src.Name)
		send("source_last_event_timestamp_seconds", unix(src.LastEvent), src.Name)
		send("source_reconnects_total", float64(src.Reconnects), src.Name)
		send("source_unparsed_total", float64(src.Unparsed), src.Name)
		send("source_truncated_total", float64(src.Truncated), src.Name)
	}
	send("journal_up", number(s.Journal.Healthy))
	send("journal_bytes", float64(s.Journal.Bytes))
	send("journal_oldest_timestamp_seconds", unix(s.Journal.OldestAt))
	send("journal_oldest_offset", float64(s.Journal.Oldest))
	send("journal_last_offset", float64(s.Journal.Last))
	var keep Retention
	if c.opts.Retention != nil {
		keep = c.opts.Retention()
	}
	now := time.Now()
	for _, k := range s.Sinks {
		c.sink(send, k)
		if left, ok := overrunIn(k, s.Journal, keep, now); ok {
			send("sink_overrun_in_seconds", left, k.Name)
		}
	}
	other := uint64(0)
	for i, f := range s.Families {
		if i < maxFamilies && utf8.ValidString(f.Family) {
			send("family_events_total", float64(f.Events), f.Family)
		} else {
			other += f.Events
		}
	}
	if other > 0 {
		send("family_events_total", float64(other), labelOther)
	}
	send("queue_events", float64(s.QueueEvents))
	send("queue_bytes", float64(s.QueueBytes))
	send("start_timestamp_seconds", unix(s.Started))
	send("draining", number(s.Draining))
	send("leader", number(c.state.leader.Load()))
	if hash := c.state.configHash.Load(); hash != nil {
		send("config_hash_info", 1, *hash)
	}
	send("config_reload_success", number(c.state.configOK.Load()))
	send("build_info", 1, c.opts.Version)
}

func (c *statusCollector) sink(send func(string, float64, ...string), k bridge.SinkStatus) {
	send("sink_up", number(k.Up()), k.Name)
	for _, o := range []struct {
		outcome string
		n       uint64
	}{
		{"delivered", k.Delivered}, {"not_routed", k.NotRouted}, {"dead_lettered", k.DeadLettered},
		{"overrun", k.Overrun}, {"lost", k.Lost}, {"retried", k.Retried},
	} {
		send("sink_events_total", float64(o.n), k.Name, o.outcome)
	}
	send("sink_bytes_total", float64(k.Bytes), k.Name)
	send("sink_published_total", float64(k.Attempts), k.Name)
	send("sink_paused_total", float64(k.Pauses), k.Name)
	send("sink_unclassified_errors_total", float64(k.Unclassified), k.Name)
	send("sink_lag_events", float64(k.LagEvents), k.Name)
	send("sink_lag_seconds", k.LagSeconds, k.Name)
	send("sink_last_delivery_timestamp_seconds", unix(k.LastDelivery), k.Name)
	send("unaccounted_events", float64(k.Unaccounted), k.Name)
}

// foldSources returns the sources or, when there are too many for labels, one
// that stands for all: sums, and the oldest signs of life.
func foldSources(in []bridge.SourceStatus) []bridge.SourceStatus {
	if len(in) <= maxSources {
		return in
	}
	all := bridge.SourceStatus{Name: labelAll, LastAlive: in[0].LastAlive}
	for _, s := range in {
		all.Connections += s.Connections
		all.Wanted += s.Wanted
		all.Events += s.Events
		all.Bytes += s.Bytes
		all.Reconnects += s.Reconnects
		all.Unparsed += s.Unparsed
		all.Truncated += s.Truncated
		if s.LastAlive.Before(all.LastAlive) {
			all.LastAlive = s.LastAlive
		}
		if s.LastEvent.After(all.LastEvent) {
			all.LastEvent = s.LastEvent
		}
	}
	return []bridge.SourceStatus{all}
}

// overrunIn tells in how many seconds the journal drops what the sink has not
// settled, if the sink stays where it is and events keep coming as they did.
// By age that is exact; by size it takes the mean rate of what is kept. ok is
// false when nothing is known of the limits.
func overrunIn(k bridge.SinkStatus, j bridge.JournalInfo, keep Retention, now time.Time) (seconds float64, ok bool) {
	if keep.MaxAge <= 0 && keep.MaxBytes == 0 {
		return 0, false
	}
	if k.LagEvents == 0 {
		return math.Inf(1), true
	}
	kept := math.Inf(1) // seconds that the journal reaches back once it is full
	if keep.MaxAge > 0 {
		kept = keep.MaxAge.Seconds()
	}
	if keep.MaxBytes > 0 && j.Bytes > 0 && !j.OldestAt.IsZero() {
		kept = min(kept, now.Sub(j.OldestAt).Seconds()*float64(keep.MaxBytes)/float64(j.Bytes))
	}
	return max(0, kept-k.LagSeconds), true
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
