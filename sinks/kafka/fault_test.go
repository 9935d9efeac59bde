package kafka

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// every answers true for each n-th request.
func every(n int64) func(kmsg.Request) bool {
	var count atomic.Int64
	return func(kmsg.Request) bool { return count.Add(1)%n == 0 }
}

// TestProduceFaults is row 56 and 57 of the fault matrix: whatever a broker
// answers, stored or not, every record is there once and in order per key.
func TestProduceFaults(t *testing.T) {
	const total, keys = 3000, 7
	tests := []struct {
		name   string
		faults []kfake.Fault
		grow   bool
		epoch  bool // the producer's epoch must have gone up
	}{
		{name: "none"},
		{name: "timed out after append", faults: []kfake.Fault{{Err: kerr.RequestTimedOut, Count: -1, When: every(3)}}},
		{name: "timed out after append, new messages follow", faults: []kfake.Fault{{Err: kerr.RequestTimedOut, Count: -1, When: every(3)}}, grow: true},
		{name: "not enough replicas after append", faults: []kfake.Fault{{Err: kerr.NotEnoughReplicasAfterAppend, Count: -1, When: every(3)}}},
		{name: "not leader", faults: []kfake.Fault{{Err: kerr.NotLeaderForPartition, Count: -1, When: every(5)}}},
		{name: "leader not available", faults: []kfake.Fault{{Err: kerr.LeaderNotAvailable, Count: -1, When: every(5)}}},
		{name: "out of order sequence", epoch: true, faults: []kfake.Fault{{Err: kerr.OutOfOrderSequenceNumber, Count: -1, When: every(7)}}},
		{name: "unknown producer", epoch: true, faults: []kfake.Fault{{Err: kerr.UnknownProducerID, Count: -1, When: every(7)}}},
		{name: "invalid producer epoch", faults: []kfake.Fault{{Err: kerr.InvalidProducerEpoch, Count: -1, When: every(7)}}},
		{name: "duplicate sequence", epoch: true, faults: []kfake.Fault{{Err: kerr.DuplicateSequenceNumber, Count: -1, When: every(7)}}},
		{name: "corrupt", faults: []kfake.Fault{{Err: kerr.CorruptMessage, Count: -1, When: every(5)}}},
		{name: "unknown code", faults: []kfake.Fault{{Err: kerr.UnknownServerError, Count: -1, When: every(5)}}},
		{name: "one partition only", faults: []kfake.Fault{{Err: kerr.RequestTimedOut, Partitions: []int32{1}, Count: -1, When: every(2)}}},
		{name: "stored, then the producer is forgotten", grow: true, faults: []kfake.Fault{
			{Err: kerr.RequestTimedOut, Count: -1, When: every(4)},
			{Err: kerr.UnknownProducerID, Count: -1, When: every(3)},
			{Err: kerr.InvalidProducerEpoch, Count: -1, When: every(5)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(4, "t"))
			for i := range tt.faults {
				tt.faults[i].Keys = []kmsg.Key{kmsg.Produce}
			}
			h := c.Fault(tt.faults...)
			s := openSink(t, config(c.ListenAddrs()))
			d := &driver{sink: s, grow: tt.grow}
			if err := d.run(within(t, 40*time.Second), messages("t", 1, total, keys), 100); err != nil {
				t.Fatal(err)
			}
			if len(tt.faults) > 0 && h.Hits() == 0 {
				t.Fatal("the fault never struck")
			}
			if len(d.rejected) > 0 {
				t.Errorf("%d rejected, want none", len(d.rejected))
			}
			if tt.epoch && s.producer.epoch == 0 {
				t.Error("the producer's epoch never went up")
			}
			h.Remove()
			check(t, readAll(t, c.ListenAddrs(), "t", total), "t", 1, total, keys)
			t.Logf("%d faults, %d attempts unsettled", h.Hits(), len(d.errs))
		})
	}
}

// TestConnectionCutAfterAppend: the broker stores, and the connection ends
// before the answer.
func TestConnectionCutAfterAppend(t *testing.T) {
	const total, keys = 3000, 5
	var cut cutter
	c := fake(t, kfake.NumBrokers(2), kfake.SeedTopics(4, "t"), kfake.ListenFn(cut.listen))
	requests := 0
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if requests++; requests%4 == 0 {
			cut.next.Add(1)
		}
		return nil, nil, false
	})
	d := &driver{sink: openSink(t, config(c.ListenAddrs())), grow: true}
	if err := d.run(within(t, 40*time.Second), messages("t", 1, total, keys), 100); err != nil {
		t.Fatal(err)
	}
	c.DropControl()
	cut.next.Store(0)
	check(t, readAll(t, c.ListenAddrs(), "t", total), "t", 1, total, keys)
	if cut.done.Load() == 0 || len(d.errs) == 0 {
		t.Errorf("%d connections cut, %d attempts failed; want some", cut.done.Load(), len(d.errs))
	}
}

func TestMessageTooLarge(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	setTopicConfig(t, c.ListenAddrs(), "t", "max.message.bytes", "4096")
	s := openSink(t, config(c.ListenAddrs()))
	msgs := messages("t", 1, 400, 3)
	msgs[17].Payload = []byte(strings.Repeat("y", 8000))
	d := &driver{sink: s}
	if err := d.run(within(t, 20*time.Second), msgs, 100); err != nil {
		t.Fatal(err)
	}
	if want := []bridge.ID{msgs[17].Event.ID}; fmt.Sprint(d.rejected) != fmt.Sprint(want) {
		t.Errorf("rejected %v, want %v", d.rejected, want)
	}
	// The limit shrinks while the sink runs and does not know it.
	setTopicConfig(t, c.ListenAddrs(), "t", "max.message.bytes", "1500")
	if err := d.run(within(t, 20*time.Second), messages("t", 401, 600, 3), 100); err != nil {
		t.Fatal(err)
	}
	if len(d.rejected) != 1 {
		t.Errorf("rejected %v, want only the large one", d.rejected)
	}
	check(t, readAll(t, c.ListenAddrs(), "t", 599), "t", 1, 600, 3, msgs[17].Event.ID)
}

// TestRecordErrors: a broker that names the bad records of a batch gets the others again.
func TestRecordErrors(t *testing.T) {
	for _, named := range []bool{true, false} {
		t.Run(fmt.Sprintf("named=%v", named), func(t *testing.T) {
			c := fake(t, kfake.SeedTopics(1, "t"))
			bad := "k3v9q0x7m2-13"
			c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				req := kreq.(*kmsg.ProduceRequest)
				records := req.Topics[0].Partitions[0].Records
				at := strings.Index(string(records), bad+"&")
				if at < 0 {
					at = strings.Index(string(records), bad+string(rune(22))) // the next header's length follows
				}
				if at < 0 {
					return nil, nil, false
				}
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.ErrorCode = kerr.InvalidRecord.Code
				if named {
					e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
					e.RelativeOffset = int32(strings.Count(string(records[:at]), "Cycle-Event-Id")) - 1
					text := "no such luck"
					e.ErrorMessage = &text
					rp.ErrorRecords = append(rp.ErrorRecords, e)
				}
				rt := kmsg.NewProduceResponseTopic()
				rt.Topic, rt.Partitions = "t", []kmsg.ProduceResponseTopicPartition{rp}
				res := req.ResponseKind().(*kmsg.ProduceResponse)
				res.Topics = append(res.Topics, rt)
				return res, nil, true
			})
			d := &driver{sink: openSink(t, config(c.ListenAddrs()))}
			msgs := messages("t", 1, 50, 3)
			if err := d.run(within(t, 20*time.Second), msgs, 50); err != nil {
				t.Fatal(err)
			}
			if want := []bridge.ID{msgs[12].Event.ID}; fmt.Sprint(d.rejected) != fmt.Sprint(want) {
				t.Errorf("rejected %v, want %v", d.rejected, want)
			}
			if len(d.errs) > 0 {
				t.Errorf("unsettled: %v", d.errs)
			}
			check(t, readAll(t, c.ListenAddrs(), "t", 49), "t", 1, 50, 3, msgs[12].Event.ID)
		})
	}
}

// TestPartitionFailure: one partition down holds up its own keys only.
func TestPartitionFailure(t *testing.T) {
	c := fake(t, kfake.SeedTopics(3, "t"))
	h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{2}, Err: kerr.NotEnoughReplicas, Count: -1})
	s := openSink(t, config(c.ListenAddrs()))
	msgs := messages("t", 1, 300, 30)
	results := make([]error, len(msgs))
	s.Publish(t.Context(), msgs, results)
	failed := 0
	for i, err := range results {
		onBad := partitionOf(msgs[i].Key, 3) == 2
		if onBad {
			failed++
		}
		if (err != nil) != onBad {
			t.Fatalf("message %d on partition %d: %v", i, partitionOf(msgs[i].Key, 3), err)
		}
		if err != nil && bridge.KindOf(err) != bridge.KindUnavailable {
			t.Fatalf("kind %v, want unavailable: %v", bridge.KindOf(err), err)
		}
	}
	if failed == 0 || failed == len(msgs) {
		t.Fatalf("%d of %d failed, want some", failed, len(msgs))
	}
	h.Remove()
	d := &driver{sink: s}
	for i, m := range msgs {
		if results[i] != nil {
			d.pending = append(d.pending, m)
		}
	}
	if err := d.run(within(t, 10*time.Second), messages("t", 301, 400, 30), 100); err != nil {
		t.Fatal(err)
	}
	check(t, readAll(t, c.ListenAddrs(), "t", 400), "t", 1, 400, 30)
}

// TestDown: nobody listens.
func TestDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s := openSink(t, config([]string{addr}))
	results := make([]error, 2)
	s.Publish(t.Context(), messages("t", 1, 2, 1), results)
	for _, err := range results {
		if bridge.KindOf(err) != bridge.KindUnavailable {
			t.Errorf("got %v (%v), want unavailable", err, bridge.KindOf(err))
		}
	}
	if err := s.Prepare(t.Context(), []string{"t"}); bridge.KindOf(err) != bridge.KindUnavailable {
		t.Errorf("prepare: %v, want unavailable", err)
	}
}

func TestClosed(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	s := openSink(t, config(c.ListenAddrs()))
	for range 2 {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	results := make([]error, 1)
	s.Publish(t.Context(), messages("t", 1, 1, 1), results)
	if !errors.Is(results[0], bridge.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", results[0])
	}
}
