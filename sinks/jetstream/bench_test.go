package jetstream

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

// BenchmarkPublish measures whole calls into a server in this process over
// loopback TCP: events/s, and the CPU of sink and server together an event.
func BenchmarkPublish(b *testing.B) {
	for _, mode := range []struct {
		name   string
		atomic bool
		always bool
		extra  string
	}{
		{"atomic", true, true, ""},
		{"chain", false, false, ""},
		{"synced,atomic", true, true, synced},
		{"synced,chain", false, false, synced},
		{"measured", true, false, ""},
		{"synced,measured", true, false, synced},
	} {
		for _, size := range []int{1, 8, 32, 1000} {
			b.Run(fmt.Sprintf("%s/%d", mode.name, size), func(b *testing.B) {
				n := startNode(b, mode.extra)
				js := n.admin()
				if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
					Name: "EVENTS", Subjects: []string{"test.>"}, AllowAtomicPublish: mode.atomic,
					Duplicates: 100 * time.Millisecond, MaxMsgs: 100_000,
				}); err != nil {
					b.Fatal(err)
				}
				c := n.config()
				c.URL = "nats://" + n.addr()
				c.Exclusive = true
				s := openSink(b, c, sinktest.Env(b, "bench"))
				s.pace.always = mode.always
				msgs := messages(1, size, 500)
				pad := make([]byte, 400)
				for i := range msgs {
					msgs[i].Payload = pad
				}
				results := make([]error, size)
				next := uint64(1)
				ids := make([][]byte, size)
				b.ReportAllocs()
				start := cpu()
				for b.Loop() {
					for i := range msgs {
						ev := msgs[i].Event
						ev.ID.Offset = next
						next++
						ids[i] = ev.ID.Append(ids[i][:0])
						msgs[i].Headers[0].Value = ids[i]
					}
					s.Publish(b.Context(), msgs, results)
					if results[0] != nil || results[size-1] != nil {
						b.Fatal(results[0], results[size-1])
					}
				}
				events := float64(b.N * size)
				b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric((cpu()-start).Seconds()*1e6/events, "cpu-us/event")
			})
		}
	}
}

// BenchmarkBuild measures what the client does to make a message.
func BenchmarkBuild(b *testing.B) {
	s := &Sink{env: bridge.Env{Name: "x", JournalID: "j"}}
	msgs := messages(1, 100, 5)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.build(&msgs[i%100], "")
		s.msg.Set(headerBatchID, "x")
		s.msg.Build()
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
