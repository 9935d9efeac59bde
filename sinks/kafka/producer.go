package kafka

import (
	"context"
	"math"

	"github.com/segmentio/kafka-go/protocol/initproducerid"
)

// producerID is the identity that a broker checks sequences by. The zero
// value is none; 0 is an id that brokers do give out.
type producerID struct {
	id    int64
	epoch int16
	valid bool
}

// bump returns the next epoch of the producer, which the client may choose by
// itself (KIP-360); it is not valid when the epochs are used up. A broker that
// has seen it refuses what may still be under way from the epoch before.
func (p producerID) bump() producerID {
	if p.epoch == math.MaxInt16 {
		return producerID{}
	}
	p.epoch++
	return p
}

// nextSequence returns the sequence after n records that begin at s; it goes
// on from 0 after the largest int32.
func nextSequence(s int32, n int) int32 {
	return int32((int64(s) + int64(n)) & math.MaxInt32)
}

// ensureProducer gets a producer id where there is none.
func (s *Sink) ensureProducer(ctx context.Context) error {
	if s.producer.valid {
		return nil
	}
	// -1 asks for a new identity; the zero values would name a producer 0.
	msg, err := s.cluster.any(ctx, "kafka init producer id", &initproducerid.Request{
		TransactionTimeoutMs: int32(s.cfg.Timeout.Milliseconds()), ProducerID: -1, ProducerEpoch: -1,
	})
	if err != nil {
		return err
	}
	res := msg.(*initproducerid.Response)
	if res.ErrorCode != 0 {
		return codeError("kafka init producer id", res.ErrorCode, "")
	}
	s.producer = producerID{id: res.ProducerID, epoch: res.ProducerEpoch, valid: true}
	s.log.Debug("kafka producer id assigned", "producer_id", res.ProducerID, "producer_epoch", res.ProducerEpoch)
	return nil
}
