package admin

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const namespace = "cycle_bridge"

// Retention is what a journal keeps, for cycle_bridge_sink_overrun_in_seconds.
// Zero members are unknown.
type Retention struct {
	MaxAge   time.Duration
	MaxBytes uint64
}

// MetricsOptions are what Metrics needs.
type MetricsOptions struct {
	// Status returns a snapshot of the bridge. It is called at every scrape and
	// must not block.
	Status func() bridge.Status
	// Retention returns the journal's limits in force; nil: unknown.
	Retention func() Retention
	Version   string
}

// Metrics is a registry of its own with every metric of the bridge. Counts
// and gauges are read from the status at scrape time; only durations are fed
// while the bridge runs, once a batch. All methods may be called concurrently.
type Metrics struct {
	registry  *prometheus.Registry
	append    prometheus.Histogram
	groupSize prometheus.Histogram
	publish   *prometheus.HistogramVec
	delivery  *prometheus.HistogramVec
	gaps      *prometheus.CounterVec

	configHash atomic.Pointer[string]
	configOK   atomic.Bool
	leader     atomic.Bool
}

// Buckets in seconds. An append is an fsync (0.1 ms on NVMe, 10 ms on a hard
// disk); a publish is a round trip; a delivery may wait for a broker that is
// down for hours, and past ten minutes the lag says more than a histogram.
var (
	appendBuckets   = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	publishBuckets  = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	deliveryBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600}
	groupBuckets    = []float64{1, 2, 5, 10, 25, 50, 100, 250, 500, 1000}
)

// NewMetrics returns Metrics in which the configuration is good and the
// bridge is the leader: one without replicas always is.
func NewMetrics(o MetricsOptions) *Metrics {
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}
	}
	sink := []string{"sink"}
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		append:    prometheus.NewHistogram(histogram("journal_append_seconds", "Time to store a group of events, until it is on stable storage.", appendBuckets)),
		groupSize: prometheus.NewHistogram(histogram("journal_group_events", "Events stored together, in one group.", groupBuckets)),
		publish:   prometheus.NewHistogramVec(histogram("sink_publish_seconds", "Time of one attempt to publish a batch.", publishBuckets), sink),
		delivery:  prometheus.NewHistogramVec(histogram("sink_delivery_seconds", "Time from an event's arrival to its acceptance by the sink, of the first event of each batch.", deliveryBuckets), sink),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "source_gaps_total",
			Help: "Intervals in which notifications may have been missed.",
		}, []string{"source", "reason"}),
	}
	m.configOK.Store(true)
	m.leader.Store(true)
	m.registry.MustRegister(
		m.append, m.groupSize, m.publish, m.delivery, m.gaps,
		newStatusCollector(o, m),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return m
}

// Observer returns what feeds the durations.
func (m *Metrics) Observer() bridge.Observer {
	return bridge.Observer{
		Appended: func(d time.Duration, events, _ int) {
			m.append.Observe(d.Seconds())
			m.groupSize.Observe(float64(events))
		},
		Published: func(sink string, d time.Duration, _ int, _ bridge.Kind, _ int) {
			m.publish.WithLabelValues(sink).Observe(d.Seconds())
		},
		Delivered: func(sink string, d time.Duration) {
			m.delivery.WithLabelValues(sink).Observe(d.Seconds())
		},
	}
}

// Gap counts a gap of a source. reason is one of the few that a bridge.gap
// event can have.
func (m *Metrics) Gap(source, reason string) { m.gaps.WithLabelValues(source, reason).Inc() }

// SetConfig tells the hash of the configuration in force, and whether the last
// load or reload of one succeeded.
func (m *Metrics) SetConfig(hash string, ok bool) {
	m.configHash.Store(&hash)
	m.configOK.Store(ok)
}

// SetLeader tells whether this bridge appends to the journal.
func (m *Metrics) SetLeader(leader bool) { m.leader.Store(leader) }

// ForgetSink drops the series of a sink that was removed.
func (m *Metrics) ForgetSink(name string) {
	m.publish.DeleteLabelValues(name)
	m.delivery.DeleteLabelValues(name)
}

// Handler answers scrapes, in the text or OpenMetrics format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 4,
		// One bad value must not hide the others.
		ErrorHandling: promhttp.ContinueOnError,
	})
}
