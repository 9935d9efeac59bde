package natsserver

import (
	"context"
	"log/slog"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fill stores n events in atomic batches: one at a time would cost a sync each.
func fill(tb testing.TB, s *Server, subject string, n, size int) {
	tb.Helper()
	nc, err := Connect(s.Cycle(), "test publisher")
	if err != nil {
		tb.Fatal(err)
	}
	defer nc.Close()
	body := make([]byte, size)
	for sent := 0; sent < n; {
		batch := min(1000, n-sent)
		id := strconv.Itoa(sent)
		for i := 1; i <= batch; i++ {
			m := nats.NewMsg(subject)
			m.Data = body
			m.Header["Nats-Batch-Id"] = []string{id}
			m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i)}
			if i < batch {
				if err := nc.PublishMsg(m); err != nil {
					tb.Fatal(err)
				}
				continue
			}
			m.Header["Nats-Batch-Commit"] = []string{"1"}
			if a, err := nc.RequestMsg(m, readyTimeout); err != nil || len(a.Header) > 0 {
				tb.Fatalf("batch: %v %v", a, err)
			}
		}
		sent += batch
	}
}

// BenchmarkConsumer reads the stream over TCP, as a reader and, for
// comparison, in the account that holds it.
func BenchmarkConsumer(b *testing.B) {
	const events = 200_000
	s, err := Start(b.Context(), Options{
		Dir: b.TempDir(), Config: testConfig(), JournalMaxBytes: 64 << 20, CycleMaxBytes: 1 << 30,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	fill(b, s, "cycle.h.o.container.created", events, 600)
	user, password := s.Cycle().Publisher()
	for _, side := range []struct {
		name string
		opts []nats.Option
	}{{"reader", nil}, {"direct", []nats.Option{nats.UserInfo(user, password)}}} {
		nc, err := nats.Connect("nats://"+s.Addr(), side.opts...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			b.Fatal(err)
		}
		old, err := nc.JetStream()
		if err != nil {
			b.Fatal(err)
		}
		b.Run("ordered/"+side.name, func(b *testing.B) {
			for b.Loop() {
				c, err := js.OrderedConsumer(b.Context(), CycleStream, jetstream.OrderedConsumerConfig{})
				if err != nil {
					b.Fatal(err)
				}
				it, err := c.Messages()
				if err != nil {
					b.Fatal(err)
				}
				for range events {
					if _, err := it.Next(); err != nil {
						b.Fatal(err)
					}
				}
				it.Stop()
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run("push/"+side.name, func(b *testing.B) {
			for b.Loop() {
				sub, err := old.SubscribeSync("cycle.>", nats.OrderedConsumer())
				if err != nil {
					b.Fatal(err)
				}
				for range events {
					if _, err := sub.NextMsg(readyTimeout); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				// It asks to delete the consumer and waits 5 s for the answer to a reader's.
				_ = sub.Unsubscribe()
				b.StartTimer()
			}
			b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
		b.Run("acked/"+side.name, func(b *testing.B) {
			const some = events / 10
			for b.Loop() {
				c, err := js.CreateConsumer(b.Context(), CycleStream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1})
				if err != nil {
					b.Fatal(err)
				}
				it, err := c.Messages()
				if err != nil {
					b.Fatal(err)
				}
				for range some {
					m, err := it.Next()
					if err != nil {
						b.Fatal(err)
					}
					if err := m.Ack(); err != nil {
						b.Fatal(err)
					}
				}
				it.Stop()
			}
			b.ReportMetric(float64(some)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
