// Package hub is the source for a Cycle hub: it gets a token, holds the
// notification WebSocket, and hands over every message that arrives on it.
//
// A Feed connects for ever: a fresh token for every dial, full jitter between
// dials, slow and loud where the key, its capability or the hub id are wrong.
// Every whole message becomes one event, whatever is in it: what is not a
// notification is flagged, never dropped, and never ends the connection.
// Backpressure is the inlet's Put: while it blocks, nothing is read.
//
// The protocol has no acknowledgement, no replay and no sequence numbers.
// What the hub sends while no connection is open is lost, and so is what was
// in flight on a connection that was reset. A proof of life is a pong to one of our
// own pings, or a whole message. The absence of events proves nothing: a
// quiet hub is normal.
//
// The WebSocket is coder/websocket's. Below it lies a transport of our own
// (wire), which reads ahead and knows when the reader waits for the network.
// A connection is dead only when its reader was waiting in a read for the
// limit, and neither a byte of a message nor a pong came; a reader that waits
// for the journal is stalled. The end of a connection is an element of its
// own frame stream (handler): it comes after the last frame that was read.
//
// At the end of Run the close frame goes out first, and everything that the
// hub sends before its answer is read and handed over. What it sends after
// its answer, or 2 s later, is promised to nobody.
//
// Two violations of the protocol are not refused, because the library does
// not: a masked message comes out as its masked bytes, flagged unparsed, and
// the reason of a close frame need not be UTF-8.
//
// Secrets (the key, tokens, and URLs that hold them) are in no error and no
// log line of this package.
package hub
