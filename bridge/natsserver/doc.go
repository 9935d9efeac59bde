// Package natsserver runs the NATS server that is embedded in the bridge.
//
// It holds two accounts with JetStream, each with a limit of its own, so that
// neither can take the other's room on the disk: JOURNAL, which only the
// bridge reaches, and CYCLE, which holds the stream of that name for
// consumers. Every write is synced before it is acknowledged (SyncAlways).
//
// Who connects to the listener is in an account of readers, which stores
// nothing. It imports the subjects cycle.> and those parts of JetStream's API
// that show the stream and create and use consumers. So nothing that a reader
// sends, and nothing that the server answers to whatever reply subject a
// reader names, is published in the account CYCLE: only the bridge writes the
// stream. Push consumers are created through a gate, which keeps what they
// deliver apart from the account's own subjects, JetStream's API among them.
//
// With no users configured (loopback only) a client needs no credentials. A
// listed user whose subscribe subjects lie within cycle.> and that publishes
// nothing has an account of its own; the others, and clients without
// credentials, share READERS, where what they publish is seen. The passwords
// of the bridge's own users are drawn anew at every start and leave the
// process nowhere.
//
// Start takes a lock on the data directory: two servers on one store destroy
// it. The bridge's own connections go through Cycle and Journal, which dial
// the server that runs now, also after Restart.
//
// Caveats:
//   - A listed user with narrow subscribe subjects may create only consumers
//     that filter on them, but may pull from, and acknowledge for, a consumer of
//     another user whose name it knows.
//   - Readers that share an account may see each other's answers, and may have
//     an answer of the server published in that account on a subject under
//     cycle.>: a plain subscription there can show what no event was. A
//     consumer of the stream cannot.
//   - A core subscription is at most once and may show a batch that the
//     stream then refuses. The stream is what the promise covers.
//   - Readers delete no consumers. Ephemeral ones end by themselves; nats.go's
//     older API waits for the refusal (5 s) when it unsubscribes from one.
//   - A pull request that waits longer than 5 minutes without a heartbeat gets
//     no answer; its messages come again after the consumer's ack wait.
package natsserver
