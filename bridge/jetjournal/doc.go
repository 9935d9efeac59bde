// Package jetjournal is the journal on JetStream, in the embedded server or in
// one elsewhere.
//
// # Promise
//
// Append returns when the events are on stable storage (embedded: synced),
// in one group, once, however often an acknowledgement is lost. Offsets have
// no holes and are never given twice; ids are never given twice even when the
// end of the store is lost. What is lost is found and said: every reader
// checks sequences, offsets, checksums and the chain, and Open compares the
// stream's end with a state record beside it.
//
// # How
//
// One JetStream message is one group: what arrived while the last append was
// under way. There is one appender with one group in flight. Every append
// names the last sequence this writer has itself seen
// (Nats-Expected-Last-Sequence), so a writer that was overtaken is refused. A
// group whose answer did not come is frozen; the stream is read on from the
// last known sequence: it is there, or its bytes are sent again with the same
// expectation, or another writer's group is there (ErrFenced). After five
// seconds without an append an empty group is written: the canary of the
// journal's health. When the embedded server stays silent although its disk
// has room, it is restarted.
//
// Readers share a tail of recent groups in memory; who falls behind reads the
// stream by batched direct gets.
//
// # Format
//
// A group is a header of 88 bytes and a body. Numbers are little endian.
//
//	 0  4  "CYG" and the format version, 1
//	 4  4  the group's CRC: CRC-32C of bytes 8 to 88
//	 8  4  CRC-32C of the body
//	12  4  CRC of the group before; 0 when there is none or it cannot be read
//	16 10  epoch, of [0-9a-z]
//	26 10  writer id, of [0-9a-z]
//	36  4  number of events; 0 is a canary
//	40  4  size of the body
//	44  4  0
//	48  8  offset of the first event; of the next event when there is none
//	56  8  the writer's number of this group, from 1
//	64  8  writer's clock, ns since 1970
//	72  8  the same of the group before; 0 when unknown
//	80  8  size of the group before; 0 when unknown
//
// Because the group's CRC covers the body's, one number names all of it, and
// the chain costs no second pass. The body of a group with events:
//
//	uvarint  number of sources, then of each: origin, id, name
//	         (uvarint length and bytes)
//	events, each:
//	uvarint  index of its source
//	uvarint  connection
//	varint   arrival time less that of the event before (the first: less the
//	         writer's clock), ns, zigzag
//	uvarint  flags
//	uvarint  length of the whole message, and its SHA-256 (32 bytes); only
//	         when the flags say truncated
//	uvarint  length of the raw bytes, and these
//
// # Caveats
//
//   - An external server's followers may be behind; readers then wait.
//   - A tail that was lost together with the state record and every cursor is
//     seen by nobody in here. Ids are still never given twice: the epoch is new.
//   - JetStream removes more than the damaged group at times (all after it, in
//     the same block). All of that is reported.
//   - The server's own limits count a few bytes a message; max_bytes is not exact.
package jetjournal
