// Package sinktest is the suite that every sink passes, and a reference sink
// in memory that passes it too.
//
// A sink's own test says how to start a fresh destination, how to open the
// sink on it, and how to read back what it holds with an independent client;
// Run does the rest:
//
//	sinktest.Run(t, sinktest.Harness{
//		Features: sinktest.Features{Headers: true, Once: true},
//		Start:    func(t *testing.T) sinktest.Destination { ... },
//	})
//
// The suite holds a sink to the contract of bridge.Sink: one result a
// message, order per destination and key, nothing kept or changed of what the
// caller owns, the right Kind for what is wrong, and nothing left behind. It
// hands unsettled messages again exactly as a deliverer does: same bytes, same
// order, at the head of the next call.
//
// It does not prove durability of the destination, nor speed.
package sinktest
