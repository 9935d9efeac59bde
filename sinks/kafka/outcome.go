package kafka

import (
	"fmt"
	"math"

	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// answered settles a partition's first batch by the broker's answer, splits
// it, or blocks the partition for this Publish.
func (w *worker) answered(p *partition, res *produce.ResponsePartition) {
	b := p.queue[0]
	if res.ErrorCode == 0 {
		w.stored(p, res.BaseOffset)
		return
	}
	op := fmt.Sprintf("kafka produce to %s partition %d", p.topic.name, p.id)
	class := classify(res.ErrorCode)
	err := codeError(op, res.ErrorCode, res.ErrorMessage)
	w.stale = w.stale || class.stale
	switch {
	case class.fate == fateUnknown:
		b.doubt = true
		p.blocked = err
	case class.fate == fateSequence, class.fate == fateProducer:
		b.doubt = true
		p.blocked, p.resolve, p.renew = err, true, class.fate == fateProducer
	case b.doubt && class.fate != fateRefused:
		// This attempt was refused, but an earlier one may be stored: only
		// the partition's end tells.
		p.blocked, p.resolve = err, true
	case class.fate == fateRefused:
		p.blocked = err
	case class.fate == fateTooLarge:
		if b.count > 1 {
			w.tooLarge = append(w.tooLarge, tooLarge{p.topic, b.size()})
		}
		w.refused(p, nil, err)
	case class.fate == fateRecords:
		w.refused(p, res.RecordErrors, err)
	}
}

// stored settles the first batch of a partition: it is in the log at base, or
// somewhere in it when base is negative.
func (w *worker) stored(p *partition, base int64) {
	b := p.queue[0]
	if base >= 0 {
		if base < p.floor {
			w.s.log.Error("kafka lost records that it had acknowledged, or the topic was made again",
				"kafka_topic", p.topic.name, "partition", p.id, "expected_offset", p.floor, "offset", base)
		}
		p.floor = base + int64(b.count)
	}
	if b.producer == p.producer {
		p.sequence = nextSequence(b.sequence, b.count)
	}
	w.done = append(w.done, b)
	p.pop()
}

// pop drops the first batch of the queue, which stays in place so that its
// memory is used again.
func (p *partition) pop() {
	n := copy(p.queue, p.queue[1:])
	p.queue[n] = nil
	p.queue = p.queue[:n]
}

// refused takes apart a batch that the broker certainly did not store, and
// whose sequence is not used: the records it names are rejected, the others
// go again at once; where it names none, a batch of one is rejected and any
// other is halved.
func (w *worker) refused(p *partition, named []produce.ResponseError, err *bridge.Error) {
	b := p.queue[0]
	p.pop()
	bad := make(map[int32]string, len(named))
	for _, e := range named {
		if e.BatchIndex >= 0 && int(e.BatchIndex) < b.count {
			bad[e.BatchIndex] = e.BatchIndexErrorMessage
		}
	}
	err.Kind = bridge.KindRejected
	if len(bad) == 0 && b.count == 1 {
		b.fail(w.results, err)
		w.done = append(w.done, b)
		return
	}
	var rest []int32
	for i, m := range b.msgs {
		text, isBad := bad[int32(i)]
		switch {
		case m < 0:
		case isBad:
			e := *err
			if text != "" {
				e.Err = fmt.Errorf("%w: %s", err.Err, text)
			}
			w.results[m] = &e
		default:
			rest = append(rest, m)
		}
	}
	w.done = append(w.done, b)
	var groups [][]int32
	if len(bad) == 0 {
		half := (len(rest) + 1) / 2
		groups = [][]int32{rest[:half], rest[half:]}
	} else {
		groups = [][]int32{rest}
	}
	w.s.requeue(p, w.msgs, groups)
}

// requeue puts messages back to the front of a partition's queue, each group
// as a batch of its own.
func (s *Sink) requeue(p *partition, msgs []bridge.Message, groups [][]int32) {
	var front []*batch
	for _, g := range groups {
		if len(g) == 0 {
			continue
		}
		b := &batch{part: p}
		b.reset()
		for _, i := range g {
			b.add(&msgs[i], math.MaxInt)
			b.msgs = append(b.msgs, i)
		}
		if err := b.seal(s.codec); err != nil {
			p.blocked = &bridge.Error{Op: "kafka compress", Kind: bridge.KindUnknown, Err: err}
		}
		front = append(front, b)
	}
	p.queue = append(front, p.queue...)
}
