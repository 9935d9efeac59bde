package kafka

import (
	"bytes"
	"math"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// benchMessages are like those of the bridge: 500 objects, 400 bytes, the
// headers of DESIGN 8.
func benchMessages(topic string, n int) []bridge.Message {
	ms := make([]bridge.Message, n)
	for i := range ms {
		id := bridge.ID{Epoch: testEpoch, Offset: uint64(i + 1)}
		object := "5a14ddd8b6393d0001976" + strconv.Itoa(100+i%500)
		ms[i] = bridge.Message{
			Event:       &bridge.Event{ID: id, ReceivedAt: 1_790_000_000_000_000_000 + int64(i)*1e4},
			Destination: topic, Key: []byte(object), Payload: bytes.Repeat([]byte("x"), 400),
			Headers: []bridge.Header{
				{Name: "Cycle-Event-Id", Value: []byte(id.String())}, {Name: "Cycle-Journal-Id", Value: []byte("j7q9x0m2k3")},
				{Name: "Cycle-Topic", Value: []byte("container.state.changed")}, {Name: "Cycle-Hub-Id", Value: []byte("5a14ddd8b6393d0001976f44")},
				{Name: "Cycle-Object-Id", Value: []byte(object)}, {Name: "Cycle-Received-At", Value: []byte("2026-11-21T03:03:12.123456789Z")},
				{Name: "Cycle-Origin", Value: []byte("hub")},
			},
		}
	}
	return ms
}

func BenchmarkEncode(b *testing.B) {
	msgs := benchMessages("t", 1000)
	var r recordBuilder
	b.ReportAllocs()
	for b.Loop() {
		r.reset()
		for i := range msgs {
			r.add(&msgs[i], math.MaxInt)
		}
		if err := r.seal(nil); err != nil {
			b.Fatal(err)
		}
		r.stamp(producerID{}, 0, false)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
}

func BenchmarkPublish(b *testing.B) {
	c := fake(b, kfake.SeedTopics(6, "t"))
	benchPublish(b, openSink(b, config(c.ListenAddrs())), limits.Messages)
}

// BenchmarkPublishReal needs CYCLE_BRIDGE_BENCH_KAFKA=1: it starts a JVM.
func BenchmarkPublishReal(b *testing.B) {
	if os.Getenv("CYCLE_BRIDGE_BENCH_KAFKA") == "" {
		b.Skip("set CYCLE_BRIDGE_BENCH_KAFKA=1 to run against a real Kafka")
	}
	c := realBroker(b)
	for _, compression := range []string{"none", "lz4", "zstd"} {
		for _, n := range []int{1, 100, 1000, 2000, 3000, 6000, 12000} {
			if compression != "none" && n != 6000 {
				continue
			}
			b.Run(compression+"/"+strconv.Itoa(n), func(b *testing.B) {
				cfg := config(c.Brokers())
				cfg.Partitions, cfg.Compression = 6, compression
				s := openSink(b, cfg)
				prepare(b, s, []string{"t"})
				benchPublish(b, s, n)
			})
		}
	}
}

// benchPublish reports the process's own CPU: kfake runs in it, a real broker
// does not.
func benchPublish(b *testing.B, s *Sink, n int) {
	msgs := benchMessages("t", n)
	results := make([]error, n)
	b.ReportAllocs()
	begin := cpu(b)
	for b.Loop() {
		clear(results)
		s.Publish(b.Context(), msgs, results)
		for _, err := range results {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	events := float64(b.N) * float64(n)
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((cpu(b)-begin)/events, "cpu-ns/event")
}

func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}
