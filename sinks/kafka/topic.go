package kafka

import (
	"log/slog"
	"time"

	segment "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// topic is a Kafka topic in use.
type topic struct {
	name  string
	code  int16 // the last metadata answer's; 0: usable
	err   error // why it could not be made; nil when nothing was tried
	parts []*partition
	// latest is what the last metadata answer said; it becomes parts when no
	// batch of the topic is in doubt, because more partitions move keys.
	latest      []metadata.ResponsePartition
	replication int
	config      topicConfig
	learned     int // batches larger than this were refused; 0: none
	fewerSince  time.Time
	turn        int // for messages without a key
	sticky      *partition
}

// topicConfig is what a topic's configuration says; zero values where it may
// not be read.
type topicConfig struct {
	known     bool
	maxBytes  int // max.message.bytes
	minInSync int // min.insync.replicas
}

// partition is one partition of a Kafka topic and our place in it.
type partition struct {
	topic  *topic
	id     int32
	leader int32 // broker id; -1: none now

	producer producerID // that of the next sequence
	sequence int32      // of the next record
	// floor is the offset after the last record known to be ours and stored,
	// or the partition's end before our first: what is in doubt is not before
	// it. -1: not known yet.
	floor int64

	queue   []*batch // of the Publish under way; queue[0] may be in doubt
	blocked error    // why nothing more is sent in this Publish
	resolve bool     // the fate of queue[0] must be read from the partition
	renew   bool     // and the producer id is not valid any more
}

// inDoubt reports whether the first batch's fate is not known.
func (p *partition) inDoubt() bool { return len(p.queue) > 0 && p.queue[0].doubt }

func newTopic(name string) *topic {
	return &topic{name: name, code: int16(segment.UnknownTopicOrPartition)}
}

// believeFewer is how long the metadata must say that a topic has fewer
// partitions before that is believed.
const believeFewer = 10 * time.Second

func (t *topic) apply(res *metadata.ResponseTopic, now time.Time, log *slog.Logger) {
	t.code = res.ErrorCode
	if segment.Error(t.code) == segment.LeaderNotAvailable && len(res.Partitions) > 0 {
		t.code = 0 // some partitions have a leader; the others say so themselves
	}
	if t.code != 0 || len(res.Partitions) == 0 {
		return
	}
	if len(res.Partitions) >= len(t.parts) {
		t.fewerSince = time.Time{}
	} else if t.fewerSince.IsZero() {
		t.fewerSince = now
	}
	// Batches in doubt are not given up for one answer of a broker that may
	// not be up to date.
	if !t.fewerSince.IsZero() && now.Sub(t.fewerSince) < believeFewer {
		return
	}
	t.latest = res.Partitions
	t.replication = len(res.Partitions[0].ReplicaNodes)
	if len(res.Partitions) < len(t.parts) {
		// Only a topic that was deleted and made again has fewer. What was in
		// doubt in the partitions that are gone is gone with them.
		log.Warn("kafka topic was made again with fewer partitions", "kafka_topic", t.name,
			"partitions", len(res.Partitions), "before", len(t.parts))
		t.parts = t.parts[:len(res.Partitions)]
	}
	for _, rp := range res.Partitions {
		if i := int(rp.PartitionIndex); i >= 0 && i < len(t.parts) {
			t.parts[i].leader = leaderOf(rp)
		}
	}
	t.grow(log)
}

// grow takes over added partitions unless something is in doubt.
func (t *topic) grow(log *slog.Logger) {
	if len(t.latest) <= len(t.parts) {
		return
	}
	for _, p := range t.parts {
		if p.inDoubt() {
			return
		}
	}
	if len(t.parts) > 0 {
		log.Warn("kafka topic has more partitions: keys move, the order of a key holds within each partition",
			"kafka_topic", t.name, "partitions", len(t.latest), "before", len(t.parts))
	}
	parts := make([]*partition, len(t.latest))
	copy(parts, t.parts)
	for _, rp := range t.latest {
		if i := int(rp.PartitionIndex); i >= 0 && i < len(parts) && parts[i] == nil {
			parts[i] = &partition{topic: t, id: rp.PartitionIndex, leader: leaderOf(rp), floor: -1}
		}
	}
	for _, p := range parts {
		if p == nil {
			return // the answer is not whole; the next one may be
		}
	}
	t.parts = parts
}

func leaderOf(p metadata.ResponsePartition) int32 {
	if c := segment.Error(p.ErrorCode); c == segment.LeaderNotAvailable {
		return -1
	}
	return p.LeaderID
}

// pick returns the partition for a key. Messages without a key stay on one
// partition for a Publish, one that has a leader and nothing in doubt if
// there is such.
func (t *topic) pick(key []byte) *partition {
	if len(key) > 0 {
		return t.parts[partitionOf(key, len(t.parts))]
	}
	if t.sticky == nil {
		for range t.parts {
			p := t.parts[t.turn%len(t.parts)]
			t.turn++
			if t.sticky == nil || p.leader >= 0 && !p.inDoubt() {
				t.sticky = p
			}
			if p.leader >= 0 && !p.inDoubt() {
				break
			}
		}
	}
	return t.sticky
}

// limit returns the largest batch to make.
func (t *topic) limit(configured int) int {
	n := configured
	if t.config.maxBytes > 0 {
		n = min(n, t.config.maxBytes/10*9)
	}
	if t.learned > 0 {
		n = min(n, t.learned)
	}
	return max(n, minBatchBytes)
}

// learn notes that a batch of that size was refused: the topic's limit is not
// known or has changed.
func (t *topic) learn(size int) {
	t.learned = max(size/2, minBatchBytes)
	t.config.known = false
}

// configured notes the topic's configuration.
func (t *topic) configured(c topicConfig) {
	if c.maxBytes != t.config.maxBytes {
		t.learned = 0
	}
	c.known = true
	t.config = c
}
