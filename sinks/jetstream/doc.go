// Package jetstream is the sink that publishes into a NATS JetStream stream,
// the embedded server's or another's, each event exactly once.
//
// The promise: while the stream keeps what it stored, every event is in it
// once and in journal order, also after lost acknowledgements, crashes of
// either side and outages of any length. It rests on three things:
//
//   - Nothing is sent again before the stream was read. After every outcome
//     that is not a definite answer, and at start, the sink looks for its own
//     last event in the stream and goes on after it.
//   - On a stream that nobody else writes (exclusive, the embedded one always)
//     every write names the sequence it expects to follow, so a write that
//     lands late is refused instead of stored twice.
//   - On a shared stream every message carries a Nats-Msg-Id, which the server
//     remembers for the stream's duplicate window: that covers a write that
//     lands late there.
//
// Caveats. Where retention, a purge or a consumer (work queues) removed the
// stretch in which an unanswered message may have been, the sink cannot tell
// and sends again; it says so in the log. On a shared stream a message that
// lands later than the duplicate window after its answer was given up is
// doubled. A foreign writer on a stream that is said to be exclusive pauses
// the sink once for every time it is noticed.
package jetstream
