package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

// TestConformance runs the suite that every sink passes against kfake. Once is
// not claimed: it holds within a process only (TestProduceFaults and the tests
// against a real broker prove that), while the suite opens a second sink.
func TestConformance(t *testing.T) {
	topics := []string{"test.a", "test.b", "test.c", "test.d", "test.e", "test.f", "test.g", "test.h", "test.i", "test.j", "test.k", "test.l", "test.m"}
	sinktest.Run(t, sinktest.Harness{
		Features: sinktest.Features{Headers: true, Keys: true, Time: true, MaxBytes: 1 << 20},
		Start: func(t *testing.T) sinktest.Destination {
			cut := &cutter{}
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(3, topics...), kfake.ListenFn(cut.listen), kfake.EnableSASL(),
				kfake.Superuser("SCRAM-SHA-256", "u", "s3cr3t-right"), kfake.Superuser("PLAIN", "reader", "reader"))
			cfg := config(c.ListenAddrs())
			open := func(t *testing.T, password string) bridge.Sink {
				cfg := cfg
				cfg.SASL = SASL{Mechanism: "SCRAM-SHA-256", Username: "u", Password: setting.NewSecret(password)}
				s, err := Open(t.Context(), cfg, sinktest.Env(t, "kafka"))
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			return sinktest.Destination{
				Open:         func(t *testing.T) bridge.Sink { return open(t, "s3cr3t-right") },
				Unauthorized: func(t *testing.T) bridge.Sink { return open(t, "s3cr3t-wrong") },
				Secrets:      []string{"s3cr3t-right", "s3cr3t-wrong"},
				Down:         func(*testing.T) { cut.all.Store(true); cut.down.Store(true) },
				Up:           func(*testing.T) { cut.all.Store(false); cut.down.Store(false) },
				LoseAnswers:  func(_ *testing.T, on bool) { cut.all.Store(on) },
				Received:     func(t *testing.T) []sinktest.Delivered { return receivedAll(t, c.ListenAddrs(), topics) },
			}
		},
	})
}

func receivedAll(t *testing.T, brokers, topics []string) []sinktest.Delivered {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topics...), kgo.SASL(plain.Auth{User: "reader", Pass: "reader"}.AsMechanism()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var out []sinktest.Delivered
	for wait := 2 * time.Second; ; wait = 300 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		fs := cl.PollFetches(ctx)
		cancel()
		if fs.NumRecords() == 0 {
			return out
		}
		fs.EachRecord(func(r *kgo.Record) {
			d := sinktest.Delivered{
				Destination: r.Topic, ID: header(r, headerEventID), Key: string(r.Key), Payload: r.Value, Time: r.Timestamp,
				Headers: map[string]string{},
			}
			for _, h := range r.Headers {
				d.Headers[h.Key] = string(h.Value)
			}
			out = append(out, d)
		})
	}
}
