// Package kafka publishes events to Apache Kafka with an idempotent producer
// built on the wire protocol of segmentio/kafka-go.
//
// # Promise
//
// While one process lives, every message is stored exactly once in its Kafka
// topic, in order for each key, whatever happens to connections, brokers and
// acknowledgements: a batch that was sent is frozen (same bytes, same
// sequence) until its fate is known. A process that is killed and started
// again sends what was not yet behind its cursor once more (at least once,
// duplicates bounded by the cursor's interval); Cycle-Event-Id tells them
// apart. Records are acknowledged by all in-sync replicas.
//
// The partition of a key is that of the Java client (murmur2). Messages
// without a key go to one partition in each Publish, the partitions in turn.
//
// # Caveats
//
//   - A Kafka topic that gets more partitions moves keys to other partitions:
//     the order of a key holds within each partition only. The sink says so
//     when it sees it, and changes over when nothing is in doubt.
//   - Kafka stores in the page cache of the in-sync replicas, not on disk:
//     with replication 1 a power cut can lose what was acknowledged. The sink
//     logs an error where it sees acknowledged records gone.
//   - A replacement of the producer epoch reads the partition's end, which
//     needs the READ permission on the topic besides WRITE and DESCRIBE.
//
// Why kafka-go's Writer and Transport are not used: bridge/adr/0002-kafka-client.md.
package kafka
