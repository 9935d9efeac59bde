package kafka

import (
	"context"
	"slices"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// maxResolves bounds how often a Publish finds out what became of batches and
// goes on: enough for a broker that forgot the producer and one whose epoch
// was replaced, not for one that refuses every sequence.
const maxResolves = 3

// Publish sends the messages, at most one batch of a partition at a time, all
// partitions of a leader in one request, all leaders at the same time. See
// bridge.Sink for the contract.
//
// What is unsettled afterwards and was sent is frozen; the messages of frozen
// batches are known again by their event ids when they are handed again. A
// message without its turn, because its partition failed earlier in the same
// Publish, gets the error of that failure.
func (s *Sink) Publish(ctx context.Context, msgs []bridge.Message, results []error) {
	if len(msgs) == 0 {
		return
	}
	done, err := s.take(ctx)
	if err != nil {
		fill(results, err)
		return
	}
	defer done()
	if s.closed {
		fill(results, &bridge.Error{Op: "kafka publish", Kind: bridge.KindCanceled, Err: bridge.ErrClosed})
		return
	}
	if err := s.publish(ctx, msgs, results); err != nil {
		for i := range results {
			if results[i] == nil {
				results[i] = err
			}
		}
	}
	s.settle(msgs, results)
}

// publish returns an error when nothing could be sent at all.
func (s *Sink) publish(ctx context.Context, msgs []bridge.Message, results []error) error {
	if err := s.lookup(ctx, msgs); err != nil {
		return err
	}
	// After the lookup, which may find that a frozen batch's partition is gone.
	if err := s.encode(msgs, results, s.rematch(msgs)); err != nil {
		return err
	}
	if len(s.active) == 0 {
		return nil // no message has a topic to go to
	}
	if err := s.ensureProducer(ctx); err != nil {
		s.blockAll(err)
		return nil
	}
	for round := 0; ; round++ {
		s.send(ctx, msgs, results)
		if round == maxResolves || !s.resolveAll(ctx, msgs) {
			return nil
		}
		if err := s.ensureProducer(ctx); err != nil {
			s.blockAll(err)
			return nil
		}
	}
}

func fill(results []error, err error) {
	for i := range results {
		results[i] = err
	}
}

// rematch finds the messages of frozen batches among those handed now. It
// returns which messages are in one; nil when nothing is frozen.
func (s *Sink) rematch(msgs []bridge.Message) []bool {
	var where map[bridge.ID]int32
	var known []bool
	for _, t := range s.cluster.topics {
		t.sticky = nil
		for _, p := range t.parts {
			p.blocked = nil
			if !p.inDoubt() {
				continue
			}
			if where == nil {
				where = make(map[bridge.ID]int32, len(msgs))
				for i := range msgs {
					where[msgs[i].Event.ID] = int32(i)
				}
				known = make([]bool, len(msgs))
			}
			b := p.queue[0]
			b.msgs = b.msgs[:0]
			for _, id := range b.ids {
				i, ok := where[id]
				if !ok {
					i = -1
				} else {
					known[i] = true
				}
				b.msgs = append(b.msgs, i)
			}
		}
	}
	return known
}

// lookup makes sure that the Kafka topics of the messages are known, and what
// is known is not out of date.
func (s *Sink) lookup(ctx context.Context, msgs []bridge.Message) error {
	c := s.cluster
	last := ""
	var missing []string
	for i := range msgs {
		name := msgs[i].Destination
		if name == last {
			continue
		}
		last = name
		t := c.topics[name]
		if t == nil {
			if legalTopic(name) != nil {
				continue // encode rejects its messages
			}
			t = newTopic(name)
			c.topics[name] = t
			c.stale = true
		}
		if t.code != 0 || !t.config.known {
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
			c.stale = c.stale || t.code != 0
		}
	}
	if err := c.fresh(ctx); err != nil {
		return err
	}
	if len(missing) > 0 {
		return s.ensureTopics(ctx, missing)
	}
	return nil
}

// encode puts every message that is in no frozen batch into the last batch of
// its partition, or a new one where that would become too large.
func (s *Sink) encode(msgs []bridge.Message, results []error, known []bool) error {
	s.active = s.active[:0]
	for _, t := range s.cluster.topics {
		for _, p := range t.parts {
			if p.inDoubt() {
				s.active = append(s.active, p)
			}
		}
	}
	var t *topic
	var topicErr error
	limit := 0
	name := ""
	for i := range msgs {
		m := &msgs[i]
		if known != nil && known[i] {
			continue
		}
		if t == nil && topicErr == nil || m.Destination != name {
			name = m.Destination
			t = s.cluster.topics[name]
			topicErr = usable(t, name)
			if topicErr == nil {
				t.grow(s.log)
				limit = t.limit(int(s.cfg.MaxBatchBytes))
			}
		}
		if topicErr != nil {
			results[i] = topicErr
			continue
		}
		p := t.pick(m.Key)
		n := len(p.queue)
		if n == 0 {
			s.active = append(s.active, p)
		}
		if n == 0 || p.queue[n-1].doubt || !p.queue[n-1].add(m, limit) {
			b := s.pool.get(p)
			b.add(m, limit)
			p.queue = append(p.queue, b)
			n = len(p.queue)
		}
		b := p.queue[n-1]
		b.msgs = append(b.msgs, int32(i))
	}
	for _, p := range s.active {
		for _, b := range p.queue {
			if b.doubt {
				continue
			}
			if err := b.seal(s.codec); err != nil {
				return &bridge.Error{Op: "kafka compress", Kind: bridge.KindUnknown, Err: err}
			}
		}
	}
	return nil
}

// blockAll fails what is still queued.
func (s *Sink) blockAll(err error) {
	for _, p := range s.active {
		if len(p.queue) > 0 && p.blocked == nil {
			p.blocked = err
		}
	}
}

// settle gives every message that was not accepted its error, freezes what is
// in doubt and forgets what never left.
func (s *Sink) settle(msgs []bridge.Message, results []error) {
	for _, p := range s.active {
		err := p.blocked
		if err == nil {
			err = errNotSent
		}
		keep := 0
		for i, b := range p.queue {
			b.fail(results, err)
			if i == 0 && b.doubt {
				b.freeze(msgs)
				keep = 1
				continue
			}
			s.pool.put(b)
		}
		clear(p.queue[keep:])
		p.queue = p.queue[:keep]
	}
	s.active = s.active[:0]
}

var errNotSent = bridge.Errorf(bridge.KindTransient, "kafka publish", "not sent in this attempt")
