package kafka

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/sinks/kafka/kafkatest"
)

// TestRealCompressions: what a real broker stores is what was sent, in every
// compression.
func TestRealCompressions(t *testing.T) {
	c := realBroker(t)
	for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			topic := "c." + compression
			cfg := config(c.Brokers())
			cfg.Compression, cfg.Partitions, cfg.MaxBatchBytes = compression, 5, 64<<10
			s := openSink(t, cfg)
			prepare(t, s, []string{topic})
			d := &driver{sink: s}
			if err := d.run(within(t, 60*time.Second), messages(topic, 1, 12_000, 50), 6000); err != nil {
				t.Fatal(err)
			}
			if len(d.errs)+len(d.rejected) > 0 {
				t.Errorf("not settled at once: %v %v", d.errs, d.rejected)
			}
			check(t, readAll(t, c.Brokers(), topic, 12_000), topic, 1, 12_000, 50)
		})
	}
}

// TestRealWithoutKey: messages without a key spread over the partitions.
func TestRealWithoutKey(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Partitions = 3
	d := &driver{sink: openSink(t, cfg)}
	if err := d.run(within(t, 30*time.Second), messages("nokey", 1, 900, 0), 100); err != nil {
		t.Fatal(err)
	}
	records := readAll(t, c.Brokers(), "nokey", 900)
	check(t, records, "nokey", 1, 900, 0)
	per := map[int32]int{}
	for _, r := range records {
		per[r.Partition]++
		if r.Key != nil {
			t.Fatalf("key %q, want null", r.Key)
		}
	}
	if per[0] != 300 || per[1] != 300 || per[2] != 300 {
		t.Errorf("records per partition %v, want 300 each", per)
	}
}

// TestRealKill: the broker is killed in mid-stream, twice. What it had stored
// without answering must not come twice.
func TestRealKill(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{})
	cfg := config(c.Brokers())
	cfg.Partitions = 4
	d := &driver{sink: openSink(t, cfg), grow: true, pause: 20 * time.Millisecond}
	const keys, step = 40, 100
	ctx := within(t, 150*time.Second)
	done := make(chan struct{})
	var total int
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := d.run(ctx, messages("kill", total+1, total+step, keys), step); err != nil {
				t.Errorf("after %d: %v", total, err)
				return
			}
			total += step
			if total > 400_000 {
				return
			}
		}
	}()
	for range 2 {
		time.Sleep(1500 * time.Millisecond)
		c.Kill(0)
		time.Sleep(300 * time.Millisecond)
		if err := c.Restart(0); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	close(stop)
	<-done
	t.Logf("%d records, %d attempts unsettled", total, len(d.errs))
	if len(d.errs) == 0 {
		t.Error("no attempt failed: the kill was not felt")
	}
	check(t, readAll(t, c.Brokers(), "kill", total), "kill", 1, total, keys)
}

// TestRealAmbiguous: the broker stores, and its answer is cut off.
func TestRealAmbiguous(t *testing.T) {
	p := newProxy(t)
	c := kafkatest.Start(t, kafkatest.Options{Advertised: p.l.Addr().String()})
	p.target.Store(&c.Brokers()[0])
	cfg := config([]string{p.l.Addr().String()})
	cfg.Partitions = 3
	s := openSink(t, cfg)
	prepare(t, s, []string{"cut", "fenced"})
	t.Run("cut", func(t *testing.T) {
		d := &driver{sink: s, grow: true}
		for i := range 30 {
			if i%3 == 1 {
				p.next.Store(1)
			}
			if err := d.run(within(t, 30*time.Second), messages("cut", i*100+1, i*100+100, 9), 50); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d answers cut, %d attempts unsettled", p.done.Load(), len(d.errs))
		if p.done.Load() < 10 {
			t.Errorf("%d answers cut, want 10", p.done.Load())
		}
		check(t, readAll(t, []string{p.l.Addr().String()}, "cut", 3000), "cut", 1, 3000, 9)
	})
	// A batch is stored, its answer is lost, and then the broker does not
	// accept the producer any more: only reading tells.
	for _, stored := range []bool{true, false} {
		t.Run("fenced, stored="+strconv.FormatBool(stored), func(t *testing.T) {
			topic := "fenced"
			from := 1
			if !stored {
				from = 1001
			}
			d := &driver{sink: s}
			if err := d.run(within(t, 30*time.Second), messages(topic, from, from+99, 9), 100); err != nil {
				t.Fatal(err)
			}
			d.pending = messages(topic, from+100, from+199, 9)
			if stored {
				p.next.Store(1)
				if err := d.once(t.Context()); err == nil {
					t.Fatal("the cut answer was not felt")
				}
			}
			fence(t, s, topic)
			if err := d.run(within(t, 30*time.Second), messages(topic, from+200, from+299, 9), 100); err != nil {
				t.Fatal(err)
			}
		})
	}
	records := readAll(t, []string{p.l.Addr().String()}, "fenced", 606)
	var ours []*kgo.Record
	for _, r := range records {
		if string(r.Value) != "fence" {
			ours = append(ours, r)
		}
	}
	if len(records)-len(ours) != 6 {
		t.Errorf("%d fencing records, want 6", len(records)-len(ours))
	}
	for i, r := range ours {
		id, err := bridge.ParseID(header(r, headerEventID))
		if err != nil {
			t.Fatal(i, err)
		}
		if id.Offset > 1000 {
			r.Headers[0].Value = []byte(bridge.ID{Epoch: testEpoch, Offset: id.Offset}.String())
		}
	}
	var first, second []*kgo.Record
	for _, r := range ours {
		if id, _ := bridge.ParseID(header(r, headerEventID)); id.Offset > 1000 {
			second = append(second, r)
		} else {
			first = append(first, r)
		}
	}
	check(t, first, "fenced", 1, 300, 9)
	check(t, second, "fenced", 1001, 1300, 9)
}

// fence writes one record to every partition under the sink's producer id with
// a later epoch, so that the broker does not accept the sink's any more.
func fence(t *testing.T, s *Sink, topic string) {
	t.Helper()
	producer := s.producer
	producer.epoch++
	cl := newCluster(&s.cfg, s.log)
	defer cl.close()
	cl.topics[topic] = newTopic(topic)
	if err := cl.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := openSink(t, s.cfg)
	other.producer = producer
	n := len(cl.topics[topic].parts)
	for p := range n {
		key := 0
		for partitionOf([]byte(strconv.Itoa(key)), n) != p {
			key++
		}
		m := bridge.Message{Event: &bridge.Event{}, Destination: topic, Key: []byte(strconv.Itoa(key)), Payload: []byte("fence")}
		results := make([]error, 1)
		other.Publish(t.Context(), []bridge.Message{m}, results)
		if results[0] != nil {
			t.Fatal(results[0])
		}
	}
}

// TestRealSequenceGap: a real OUT_OF_ORDER_SEQUENCE_NUMBER.
func TestRealSequenceGap(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Partitions = 2
	s := openSink(t, cfg)
	d := &driver{sink: s}
	for i := range 5 {
		if err := d.run(within(t, 20*time.Second), messages("gap", i*100+1, i*100+100, 9), 50); err != nil {
			t.Fatal(err)
		}
		for _, p := range s.cluster.topics["gap"].parts {
			p.sequence += 17
		}
	}
	if s.producer.epoch == 0 {
		t.Error("the epoch never went up: the gap was not felt")
	}
	check(t, readAll(t, c.Brokers(), "gap", 500), "gap", 1, 500, 9)
}

// TestRealTooLarge: a topic with a small limit, which shrinks later.
func TestRealTooLarge(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Partitions = 2
	s := openSink(t, cfg)
	prepare(t, s, []string{"small"})
	setTopicConfig(t, c.Brokers(), "small", "max.message.bytes", "3000")
	msgs := messages("small", 1, 1000, 9)
	msgs[500].Payload = []byte(strings.Repeat("z", 20_000))
	d := &driver{sink: s}
	if err := d.run(within(t, 30*time.Second), msgs, 500); err != nil {
		t.Fatal(err)
	}
	if len(d.rejected) != 1 || d.rejected[0] != msgs[500].Event.ID || len(d.errs) > 0 {
		t.Errorf("rejected %v, unsettled %v; want only %v rejected", d.rejected, d.errs, msgs[500].Event.ID)
	}
	check(t, readAll(t, c.Brokers(), "small", 999), "small", 1, 1000, 9, msgs[500].Event.ID)
	if got := s.cluster.topics["small"].config.maxBytes; got != 3000 {
		if err := d.run(within(t, 30*time.Second), messages("small", 1001, 1010, 9), 500); err != nil {
			t.Fatal(err)
		}
		if got := s.cluster.topics["small"].config.maxBytes; got != 3000 {
			t.Errorf("limit learned %d, want 3000", got)
		}
	}
}

// TestRealInvalidRecords: a compacted topic takes no record without a key; the
// others of the batch pass.
func TestRealInvalidRecords(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Partitions = 1
	s := openSink(t, cfg)
	prepare(t, s, []string{"compacted"})
	setTopicConfig(t, c.Brokers(), "compacted", "cleanup.policy", "compact")
	msgs := messages("compacted", 1, 100, 100)
	var skip []bridge.ID
	for _, i := range []int{3, 50, 99} {
		msgs[i].Key = nil
		skip = append(skip, msgs[i].Event.ID)
	}
	d := &driver{sink: s}
	if err := d.run(within(t, 30*time.Second), msgs, 100); err != nil {
		t.Fatal(err)
	}
	if len(d.rejected) != 3 || len(d.errs) > 0 {
		t.Errorf("rejected %v, unsettled %v; want 3 rejected", d.rejected, d.errs)
	}
	check(t, readAll(t, c.Brokers(), "compacted", 97), "compacted", 1, 100, 100, skip...)
}

// TestRealTopicMadeAgain: a topic is deleted under the sink, and one whose
// records are deleted keeps its place.
func TestRealTopicMadeAgain(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Partitions = 3
	s := openSink(t, cfg)
	d := &driver{sink: s, pause: 20 * time.Millisecond}
	run := func(from, to int) {
		t.Helper()
		if err := d.run(within(t, 40*time.Second), messages("again", from, to, 9), 100); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	run(1, 500)
	deleteRecords(t, admin, "again", 3)
	run(501, 1000)
	check(t, readAll(t, c.Brokers(), "again", 500), "again", 501, 1000, 9)

	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"again"}
	rt := kmsg.NewDeleteTopicsRequestTopic()
	name := "again"
	rt.Topic = &name
	del.Topics = append(del.Topics, rt)
	res, err := del.RequestWith(t.Context(), admin)
	if err != nil || res.Topics[0].ErrorCode != 0 {
		t.Fatal(err, res)
	}
	run(1001, 1500)
	run(1501, 2000)
	check(t, readAll(t, c.Brokers(), "again", 1000), "again", 1001, 2000, 9)
}

func deleteRecords(t *testing.T, admin *kgo.Client, topic string, partitions int32) {
	t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	for p := range partitions {
		rp := kmsg.NewDeleteRecordsRequestTopicPartition()
		rp.Partition, rp.Offset = p, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	req.TimeoutMillis = 5000
	for _, shard := range admin.RequestSharded(t.Context(), req) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, p := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				t.Fatalf("delete records: code %d", p.ErrorCode)
			}
		}
	}
}

// TestRealMorePartitions: added partitions are taken over.
func TestRealMorePartitions(t *testing.T) {
	c := realBroker(t)
	cfg := config(c.Brokers())
	cfg.Partitions = 1
	s := openSink(t, cfg)
	d := &driver{sink: s}
	if err := d.run(within(t, 20*time.Second), messages("more", 1, 100, 9), 100); err != nil {
		t.Fatal(err)
	}
	admin, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = "more", 4
	req.Topics = append(req.Topics, rt)
	if res, err := req.RequestWith(t.Context(), admin); err != nil || res.Topics[0].ErrorCode != 0 {
		t.Fatal(err, res)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(s.cluster.topics["more"].parts) != 4 && ctx.Err() == nil {
		if err := s.Prepare(ctx, []string{"more"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := d.run(within(t, 20*time.Second), messages("more", 101, 500, 40), 100); err != nil {
		t.Fatal(err)
	}
	partitions := map[int32]bool{}
	for _, r := range readAll(t, c.Brokers(), "more", 500) {
		partitions[r.Partition] = true
	}
	if len(partitions) != 4 {
		t.Errorf("records on %d partitions, want 4", len(partitions))
	}
}
