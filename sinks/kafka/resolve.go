package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	segment "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	headerEventID = "Cycle-Event-Id"

	fetchBytes = 4 << 20
	// fetchWait is how long the last look at a partition's end waits for
	// records that are in the log but not yet on all replicas.
	fetchWait = 100 * time.Millisecond
	// lookBack is how far before its end a partition is read when it ends
	// before what it had acknowledged: it was cut, and where is not known.
	lookBack = 50_000
)

// resolveAll finds out, for every partition whose broker does not accept the
// sequence, what became of its first batch, by reading the partition. What is
// stored is settled, the rest goes again under a new epoch. It reports
// whether there is something to send again.
func (s *Sink) resolveAll(ctx context.Context, msgs []bridge.Message) bool {
	again := false
	for _, p := range s.active {
		if !p.resolve {
			continue
		}
		p.resolve = false
		b := p.queue[0]
		leader := s.cluster.brokers[p.leader]
		if leader == nil {
			s.cluster.stale = true
			continue
		}
		found, end, err := s.readEnd(ctx, leader, p, b, msgs, fetchWait)
		if err != nil {
			s.cluster.stale = true
			p.blocked = err // in doubt as before: the next attempt asks the broker again
			continue
		}
		stored := count(found)
		s.log.Warn("kafka did not accept the producer's sequence, its records were looked for in the partition",
			"kafka_topic", p.topic.name, "partition", p.id, "records", b.count, "found", stored,
			"cause", p.blocked, "producer_epoch", b.producer.epoch)
		// The epoch goes up also when the batch was found, because the
		// broker's sequence is not ours.
		if b.producer == s.producer {
			if p.renew {
				s.producer = producerID{}
			} else {
				s.producer = s.producer.bump()
			}
		}
		p.renew, p.blocked, p.floor = false, nil, end
		again = true
		s.takeStored(p, b, found, stored, msgs)
	}
	return again
}

// takeStored drops from a batch what was found stored.
func (s *Sink) takeStored(p *partition, b *batch, found []bool, stored int, msgs []bridge.Message) {
	if stored == 0 {
		b.doubt, b.stamped, b.ids = false, false, b.ids[:0]
		return
	}
	p.pop()
	var rest []int32
	for i, m := range b.msgs {
		if !found[i] && m >= 0 {
			rest = append(rest, m)
		}
	}
	s.pool.put(b)
	s.requeue(p, msgs, [][]int32{rest})
}

func count(found []bool) int {
	n := 0
	for _, f := range found {
		if f {
			n++
		}
	}
	return n
}

// recheck looks whether a partition's batch in doubt is stored before it goes
// again. The broker would know a repeated sequence as a rule, but not always:
// it forgets producers by the time of their records (producer.id.expiration.ms
// at a restart and every ten minutes), so that one that sends a backlog of
// yesterday is forgotten at once, and then takes any sequence.
func (w *worker) recheck(ctx context.Context, p *partition) {
	b := p.queue[0]
	found, end, err := w.s.readEnd(ctx, w.broker, p, b, w.msgs, 0)
	switch {
	case errors.Is(err, segment.TopicAuthorizationFailed):
		// Without READ the broker's memory has to do.
	case err != nil:
		w.stale = true
		p.blocked = err
	case count(found) == b.count:
		w.stored(p, -1)
		p.floor = end
	}
}

// readEnd reads a partition from the last place known to be before the batch
// to its end, what is not committed included, and returns which of the
// batch's records are there. It waits so long at the end for more.
func (s *Sink) readEnd(ctx context.Context, leader *broker, p *partition, b *batch, msgs []bridge.Message, wait time.Duration) (found []bool, end int64, err error) {
	op := fmt.Sprintf("kafka look for records in %s partition %d", p.topic.name, p.id)
	begin, err := s.offsetOf(ctx, leader, p, earliestOffset)
	if err != nil {
		return nil, 0, err
	}
	end, err = s.offsetOf(ctx, leader, p, latestOffset)
	if err != nil {
		return nil, 0, err
	}
	at := max(begin, p.floor)
	if p.floor > end {
		s.log.Error("kafka lost records that it had acknowledged, or the topic was made again",
			"kafka_topic", p.topic.name, "partition", p.id, "expected_offset", p.floor, "offset", end)
		at = max(begin, end-lookBack)
	}
	look := newLookup(b, msgs)
	for at < end {
		next, err := s.fetch(ctx, op, leader, p, at, 0, look)
		if err != nil {
			return nil, 0, err
		}
		// A stretch without records (compacted away) does not say where it ends.
		at = max(next, at+1)
	}
	if wait > 0 {
		if end, err = s.fetch(ctx, op, leader, p, at, wait, look); err != nil {
			return nil, 0, err
		}
	}
	return look.found, max(at, end), nil
}

func (s *Sink) offsetOf(ctx context.Context, b *broker, p *partition, which int64) (int64, error) {
	o, err := s.listOffsets(ctx, b, []*partition{p}, which)
	if err != nil {
		return 0, err
	}
	return o[0].offset, o[0].err
}

// fetch reads once from an offset and returns the one after what it got.
func (s *Sink) fetch(ctx context.Context, op string, leader *broker, p *partition, at int64, wait time.Duration, look *lookup) (int64, error) {
	msg, _, err := s.cluster.request(ctx, leader, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(wait.Milliseconds()), MinBytes: 1, MaxBytes: fetchBytes, SessionEpoch: -1,
		Topics: []fetch.RequestTopic{{Topic: p.topic.name, Partitions: []fetch.RequestPartition{{
			Partition: p.id, CurrentLeaderEpoch: -1, FetchOffset: at, LogStartOffset: -1, PartitionMaxBytes: fetchBytes,
		}}}},
	})
	if err != nil {
		return 0, netError(ctx, op, err)
	}
	res := msg.(*fetch.Response)
	if res.ErrorCode != 0 {
		return 0, codeError(op, res.ErrorCode, "")
	}
	for _, t := range res.Topics {
		for i := range t.Partitions {
			rp := &t.Partitions[i]
			if rp.Partition != p.id || t.Topic != p.topic.name {
				continue
			}
			if rp.ErrorCode != 0 {
				return 0, codeError(op, rp.ErrorCode, "")
			}
			return look.read(&rp.RecordSet, at)
		}
	}
	return 0, bridge.Errorf(bridge.KindTransient, op, "the answer misses the partition")
}

// lookup looks for the records of one batch.
type lookup struct {
	batch *batch
	place map[string]int // event id to place in the batch
	found []bool
}

func newLookup(b *batch, msgs []bridge.Message) *lookup {
	l := &lookup{batch: b, place: make(map[string]int, b.count), found: make([]bool, b.count)}
	for i, m := range b.msgs {
		id := bridge.ID{}
		switch {
		case i < len(b.ids):
			id = b.ids[i]
		case m >= 0:
			id = msgs[m].Event.ID
		}
		l.place[id.String()] = i
	}
	return l
}

// read notes what of the batch is in a record set and returns the offset
// after its last record; at when it has none.
func (l *lookup) read(set *protocol.RecordSet, at int64) (int64, error) {
	stream, ok := set.Records.(*protocol.RecordStream)
	if !ok {
		return at, nil
	}
	for _, records := range stream.Records {
		ours := false
		if rb, ok := records.(*protocol.RecordBatch); ok && rb.ProducerID == l.batch.producer.id {
			ours = true
			if rb.ProducerEpoch == l.batch.producer.epoch && rb.BaseSequence == l.batch.sequence {
				for i := range l.found {
					l.found[i] = true
				}
			}
		}
		for {
			r, err := records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return at, bridge.Errorf(bridge.KindTransient, "kafka read records", "%w", err)
			}
			at = max(at, r.Offset+1)
			if ours {
				l.match(r.Headers)
			}
			closeBytes(r.Key)
			closeBytes(r.Value)
		}
	}
	return at, nil
}

func (l *lookup) match(headers []protocol.Header) {
	for _, h := range headers {
		if h.Key != headerEventID {
			continue
		}
		if i, ok := l.place[string(h.Value)]; ok {
			l.found[i] = true
		}
	}
}

func closeBytes(b protocol.Bytes) {
	if b != nil {
		b.Close()
	}
}
