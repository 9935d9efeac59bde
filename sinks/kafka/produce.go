package kafka

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// throttleShown is from when on a broker's quota is reported rather than
// waited for inside the request's own time.
const throttleShown = time.Second

// send sends all that is queued, leader by leader at the same time, and
// returns when every partition has had its answer or is blocked.
func (s *Sink) send(ctx context.Context, msgs []bridge.Message, results []error) {
	clear(s.leaders)
	for _, p := range s.active {
		if len(p.queue) == 0 || p.blocked != nil {
			continue
		}
		if s.cluster.brokers[p.leader] == nil {
			s.cluster.stale = true
			p.blocked = &bridge.Error{
				Op: "kafka produce", Kind: bridge.KindUnavailable, Hint: hintDown,
				Err: fmt.Errorf("partition %d of %s has no leader now", p.id, p.topic.name),
			}
			continue
		}
		s.leaders[p.leader] = append(s.leaders[p.leader], p)
	}
	workers := make([]worker, 0, len(s.leaders))
	for id, parts := range s.leaders {
		workers = append(workers, worker{
			s: s, broker: s.cluster.brokers[id], parts: parts, msgs: msgs, results: results, producer: s.producer,
		})
	}
	if len(workers) == 1 {
		workers[0].run(ctx)
	} else {
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() { workers[i].run(ctx) })
		}
		wg.Wait()
	}
	for i := range workers {
		s.cluster.stale = s.cluster.stale || workers[i].stale
		for _, b := range workers[i].done {
			s.pool.put(b)
		}
		for _, l := range workers[i].tooLarge {
			l.topic.learn(l.size)
		}
	}
}

// worker sends to one leader. It alone uses the broker and the partitions it
// is given, and the results of their messages.
type worker struct {
	s        *Sink
	broker   *broker
	parts    []*partition
	msgs     []bridge.Message
	results  []error
	producer producerID

	stale    bool       // the metadata is out of date
	done     []*batch   // for reuse
	tooLarge []tooLarge // for the topics, which several workers share
}

// tooLarge is a batch that a topic did not take for its size.
type tooLarge struct {
	topic *topic
	size  int
}

func (w *worker) run(ctx context.Context) {
	if wait := time.Until(w.broker.mutedUntil); wait > 0 {
		w.block(w.parts, &bridge.Error{
			Op: "kafka produce", Kind: bridge.KindThrottled, RetryAfter: wait,
			Hint: "a Kafka quota for this client_id or user is used up", Err: fmt.Errorf("broker %d asks to wait", w.broker.id),
		})
		return
	}
	w.findFloors(ctx)
	for _, p := range w.parts {
		if p.blocked == nil && p.inDoubt() {
			w.recheck(ctx, p)
		}
	}
	var heads []*partition
	for {
		heads = heads[:0]
		for _, p := range w.parts {
			if p.blocked == nil && len(p.queue) > 0 {
				heads = append(heads, p)
			}
		}
		if len(heads) == 0 {
			return
		}
		w.produce(ctx, heads)
	}
}

func (w *worker) block(parts []*partition, err error) {
	for _, p := range parts {
		p.blocked = err
	}
}

// findFloors asks for the end of partitions that this sink has not written to yet.
func (w *worker) findFloors(ctx context.Context) {
	var parts []*partition
	for _, p := range w.parts {
		if p.floor < 0 && p.blocked == nil {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return
	}
	offsets, err := w.s.listOffsets(ctx, w.broker, parts, latestOffset)
	if err != nil {
		w.stale = true
		w.block(parts, err)
		return
	}
	for i, p := range parts {
		switch {
		case offsets[i].err != nil:
			w.stale = true
			p.blocked = offsets[i].err
		default:
			p.floor = offsets[i].offset
		}
	}
}

// Timestamps with a meaning of their own in ListOffsets.
const (
	latestOffset   = -1
	earliestOffset = -2
)

type offsetOrError struct {
	offset int64
	err    error
}

// listOffsets asks a leader for one offset of each partition.
func (s *Sink) listOffsets(ctx context.Context, b *broker, parts []*partition, which int64) ([]offsetOrError, error) {
	const op = "kafka list offsets"
	req := &listoffsets.Request{ReplicaID: -1}
	for _, p := range parts {
		i := slices.IndexFunc(req.Topics, func(t listoffsets.RequestTopic) bool { return t.Topic == p.topic.name })
		if i < 0 {
			req.Topics = append(req.Topics, listoffsets.RequestTopic{Topic: p.topic.name})
			i = len(req.Topics) - 1
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, listoffsets.RequestPartition{
			Partition: p.id, CurrentLeaderEpoch: -1, Timestamp: which,
		})
	}
	msg, _, err := s.cluster.request(ctx, b, req)
	if err != nil {
		return nil, netError(ctx, op, err)
	}
	out := make([]offsetOrError, len(parts))
	for i := range out {
		out[i].err = bridge.Errorf(bridge.KindTransient, op, "the answer misses partition %d of %s", parts[i].id, parts[i].topic.name)
	}
	for _, t := range msg.(*listoffsets.Response).Topics {
		for _, rp := range t.Partitions {
			for i, p := range parts {
				if p.id != rp.Partition || p.topic.name != t.Topic {
					continue
				}
				out[i] = offsetOrError{offset: rp.Offset}
				if rp.ErrorCode != 0 {
					out[i].err = codeError(op+" of "+t.Topic, rp.ErrorCode, "")
				}
			}
		}
	}
	return out, nil
}

// produce sends the first batch of each partition in one request and works
// out what became of each.
func (w *worker) produce(ctx context.Context, heads []*partition) {
	op := "kafka produce"
	// The topics stand together in the request, as the protocol wants it.
	slices.SortStableFunc(heads, func(a, b *partition) int {
		switch {
		case a.topic == b.topic:
			return int(a.id - b.id)
		case a.topic.name < b.topic.name:
			return -1
		}
		return 1
	})
	req := &rawproduce.Request{Acks: -1, Timeout: int32(w.s.cfg.Timeout.Milliseconds())}
	compressed := w.s.codec != nil
	for _, p := range heads {
		b := p.queue[0]
		if !b.stamped {
			if p.producer != w.producer {
				p.producer, p.sequence = w.producer, 0
			}
			b.producer, b.sequence, b.stamped = p.producer, p.sequence, true
			b.stamp(b.producer, b.sequence, compressed)
		}
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.topic.name {
			req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: p.topic.name})
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: p.id, RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b.wire(compressed))},
		})
	}
	msg, sent, err := w.s.cluster.request(ctx, w.broker, req)
	if err != nil {
		w.stale = true
		err = netError(ctx, op, err)
		for _, p := range heads {
			p.blocked = err
			p.queue[0].doubt = p.queue[0].doubt || sent
		}
		return
	}
	res := msg.(*produce.Response)
	if throttle := time.Duration(res.ThrottleTimeMs) * time.Millisecond; throttle >= throttleShown {
		w.broker.mutedUntil = time.Now().Add(throttle)
	}
	for _, p := range heads {
		if answer := find(res, p); answer != nil {
			w.answered(p, answer)
			continue
		}
		p.queue[0].doubt = true
		p.blocked = bridge.Errorf(bridge.KindTransient, op, "the answer misses partition %d of %s", p.id, p.topic.name)
	}
}

func find(res *produce.Response, p *partition) *produce.ResponsePartition {
	for i := range res.Topics {
		if res.Topics[i].Topic != p.topic.name {
			continue
		}
		for j := range res.Topics[i].Partitions {
			if rp := &res.Topics[i].Partitions[j]; rp.Partition == p.id {
				return rp
			}
		}
	}
	return nil
}
