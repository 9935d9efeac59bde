package kafka

import (
	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// batch is one record batch for one partition. Once sent it is frozen until
// its fate is known: same bytes, same producer, same sequence.
type batch struct {
	recordBuilder
	part *partition
	// msgs are the places of its records in the Publish under way; -1 for one
	// that was not handed again.
	msgs []int32
	// ids are kept while the batch is in doubt, to know its messages again.
	ids []bridge.ID

	producer producerID
	sequence int32
	stamped  bool // producer and sequence are in the bytes
	doubt    bool // an attempt may have stored it
}

// freeze notes whose records the batch holds; call it before msgs become invalid.
func (b *batch) freeze(msgs []bridge.Message) {
	if len(b.ids) > 0 {
		return
	}
	for _, i := range b.msgs {
		b.ids = append(b.ids, msgs[i].Event.ID)
	}
}

// fail sets the result of every message that has none.
func (b *batch) fail(results []error, err error) {
	for _, i := range b.msgs {
		if i >= 0 {
			results[i] = err
		}
	}
}

// batchPool keeps batches with their buffers for reuse.
type batchPool struct{ free []*batch }

// maxFreeBatches bounds the memory held by an idle sink, and maxFreeBuffer
// that of each batch in it.
const (
	maxFreeBatches = 64
	maxFreeBuffer  = 1 << 20
)

func (p *batchPool) get(part *partition) *batch {
	var b *batch
	if n := len(p.free); n > 0 {
		b, p.free = p.free[n-1], p.free[:n-1]
	} else {
		b = &batch{}
	}
	b.reset()
	b.part, b.msgs, b.ids = part, b.msgs[:0], b.ids[:0]
	b.producer, b.sequence, b.stamped, b.doubt = producerID{}, 0, false, false
	return b
}

func (p *batchPool) put(b *batch) {
	if len(p.free) < maxFreeBatches && cap(b.buf)+cap(b.packed) <= 2*maxFreeBuffer {
		b.part = nil
		p.free = append(p.free, b)
	}
}
