package kafka

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const testEpoch = "k3v9q0x7m2"

// message makes the n-th event: key k<n % keys>, sequence n in its payload.
func message(topic string, n, keys int) bridge.Message {
	id := bridge.ID{Epoch: testEpoch, Offset: uint64(n)}
	m := bridge.Message{
		Event: &bridge.Event{
			ID: id, ReceivedAt: int64(1_790_000_000_000+n) * 1e6, Source: &bridge.Source{Origin: bridge.OriginHub},
		},
		Destination: topic,
		Headers: []bridge.Header{
			{Name: headerEventID, Value: []byte(id.String())},
			{Name: "Cycle-Topic", Value: []byte("container.state.changed")},
			{Name: "Cycle-Empty", Value: nil},
		},
		Payload:     fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", 200)),
		ContentType: "application/json",
	}
	if keys > 0 {
		m.Key = []byte("k" + strconv.Itoa(n%keys))
	}
	return m
}

func messages(topic string, from, to, keys int) []bridge.Message {
	var ms []bridge.Message
	for n := from; n <= to; n++ {
		ms = append(ms, message(topic, n, keys))
	}
	return ms
}

// driver hands messages to a sink as the deliverer does: what is not settled
// comes first in the next Publish, new ones follow.
type driver struct {
	sink     bridge.Sink
	pending  []bridge.Message
	rejected []bridge.ID
	errs     []error // one of each Publish that did not settle everything
	grow     bool    // hand new messages together with unsettled ones
	pause    time.Duration
}

// run publishes until everything is settled or ctx is done.
func (d *driver) run(ctx context.Context, msgs []bridge.Message, batch int) error {
	for len(msgs) > 0 || len(d.pending) > 0 {
		if len(d.pending) == 0 || d.grow {
			n := min(batch, len(msgs))
			d.pending = append(d.pending, msgs[:n]...)
			msgs = msgs[n:]
		}
		if err := d.once(ctx); err != nil && ctx.Err() != nil {
			return fmt.Errorf("%d unsettled, %d not handed: %w", len(d.pending), len(msgs), err)
		}
	}
	return nil
}

func (d *driver) once(ctx context.Context) error {
	handed := make([]bridge.Message, len(d.pending))
	for i, m := range d.pending { // the sink must not rely on our memory after it returns
		m.Key, m.Payload = bytes.Clone(m.Key), bytes.Clone(m.Payload)
		handed[i] = m
	}
	results := make([]error, len(handed))
	d.sink.Publish(ctx, handed, results)
	var rest []bridge.Message
	var failed error
	for i, err := range results {
		clear(handed[i].Payload)
		clear(handed[i].Key)
		switch {
		case err == nil:
		case bridge.KindOf(err) == bridge.KindRejected:
			d.rejected = append(d.rejected, d.pending[i].Event.ID)
		default:
			failed = err
			rest = append(rest, d.pending[i])
		}
	}
	d.pending = rest
	if failed != nil {
		d.errs = append(d.errs, failed)
		time.Sleep(max(d.pause, time.Millisecond))
	}
	return failed
}

func testLog(t testing.TB) *slog.Logger {
	level := slog.LevelWarn
	if os.Getenv("KAFKA_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))
}

func openSink(t testing.TB, cfg Config) *Sink {
	t.Helper()
	s, err := Open(t.Context(), cfg, bridge.Env{Name: "kafka", JournalID: "j", Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func config(brokers []string) Config {
	c := Defaults()
	c.Brokers = brokers
	c.Timeout = 2 * time.Second
	return c
}

func fake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// readAll reads a Kafka topic with an independent client until want records
// are there and nothing follows.
func readAll(t testing.TB, brokers []string, topic string, want int, opts ...kgo.Opt) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(200 * time.Millisecond), kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var out []*kgo.Record
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		wait := 10 * time.Second
		if len(out) >= want {
			wait = 500 * time.Millisecond // duplicates would follow
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		fs := cl.PollFetches(ctx)
		cancel()
		n := len(out)
		fs.EachRecord(func(r *kgo.Record) { out = append(out, r) })
		if len(out) == n && n >= want {
			break
		}
	}
	return out
}

// check compares what was stored with messages from..to: each once, in order
// for each key, on the key's partition, with key, headers and time.
func check(t testing.TB, records []*kgo.Record, topic string, from, to, keys int, skip ...bridge.ID) {
	t.Helper()
	skipped := map[string]bool{}
	for _, id := range skip {
		skipped[id.String()] = true
	}
	last := map[string]int{}
	seen := map[int]int{}
	partition := map[string]int32{}
	disorder, wrong := 0, 0
	for _, r := range records {
		id, err := bridge.ParseID(header(r, headerEventID))
		if err != nil {
			t.Fatalf("record %d of partition %d: %v", r.Offset, r.Partition, err)
		}
		n := int(id.Offset)
		m := message(topic, n, keys)
		seen[n]++
		if keys > 0 {
			if n <= last[string(r.Key)] {
				disorder++
			}
			last[string(r.Key)] = n
			if p, ok := partition[string(r.Key)]; ok && p != r.Partition {
				t.Errorf("key %s is on partitions %d and %d", r.Key, p, r.Partition)
			}
			partition[string(r.Key)] = r.Partition
		}
		if !bytes.Equal(r.Value, m.Payload) || !bytes.Equal(r.Key, m.Key) ||
			r.Timestamp.UnixMilli() != m.Event.ReceivedAt/1e6 || header(r, "Cycle-Topic") != "container.state.changed" || len(r.Headers) != 3 {
			wrong++
		}
	}
	missing, doubled := 0, 0
	seen2 := maps.Clone(seen)
	for n := from; n <= to; n++ {
		if skipped[message(topic, n, keys).Event.ID.String()] {
			continue
		}
		switch seen[n] {
		case 0:
			missing++
		case 1:
		default:
			doubled++
		}
		delete(seen, n)
	}
	if doubled > 0 {
		for _, r := range records {
			if id, _ := bridge.ParseID(header(r, headerEventID)); seen2[int(id.Offset)] > 1 {
				t.Logf("doubled %d: partition %d offset %d producer %d epoch %d", id.Offset, r.Partition, r.Offset, r.ProducerID, r.ProducerEpoch)
			}
		}
	}
	if missing+doubled+disorder+wrong+len(seen) > 0 {
		t.Errorf("of %d..%d: missing %d, doubled %d, out of order %d, not as sent %d, never sent %d; want none",
			from, to, missing, doubled, disorder, wrong, len(seen))
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// prepare calls Prepare until it succeeds, as the deliverer does: a broker that
// has just started does not give out producer ids yet.
func prepare(t testing.TB, s *Sink, destinations []string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := s.Prepare(t.Context(), destinations)
		if err == nil {
			return
		}
		if k := bridge.KindOf(err); k == bridge.KindMisconfigured || time.Now().After(deadline) {
			t.Fatalf("prepare: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
