// Package bridge moves the notifications of Cycle hubs through a journal to
// message brokers. It is the domain: events, routes, encoding, the delivery
// loop, and the interfaces of journals, sources and sinks. It imports the
// standard library only; journals, sources and sinks live in their own packages.
//
// # Promise
//
// Once Journal.Append has returned, the event is on stable storage, and every
// sink gets it at least once, in order for its key, or it is in that sink's
// dead letters, or a record in the journal says that and why it is gone. Every
// offset ends, for every sink, as exactly one of delivered, not routed,
// dead-lettered, overrun, lost, or still waiting (SinkStatus.Unaccounted is 0).
// A sink that is down never holds up the reading of a hub, nor another sink.
//
// # Words
//
// hub, notification, topic, source, event, offset, journal, gap, sink, route,
// destination, key, message, cursor, lag, dead letter: as ARCHITECTURE.md
// beside this file has them.
//
// # Flow
//
//	source -> intake -> appender -> Journal -> deliverer (one a sink) -> Sink
//
// A source parses each frame once and puts it into its lane of the intake. The
// appender stores what arrived while the last append was under way as one
// group. Each deliverer reads groups from its own position, routes, encodes,
// publishes in batches and moves its cursor. Events are shared between all
// readers and never change after the append.
//
// # Caveats
//
// What a hub sends while no connection is up is lost: the hub does not repeat
// itself. A cursor is written beside the delivery, so a crash may deliver the
// last events again (same id); JetStream sinks resume from their stream's end
// and do not. Order is kept per key within a sink; across sinks there is none.
package bridge
