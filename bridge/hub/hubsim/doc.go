// Package hubsim is a hub that speaks Cycle's notification protocol, for
// tests, demonstrations and measurements.
//
// It serves the token and the WebSocket on one path as the platform does:
// one-shot tokens that live for seconds, errors in the platform's two forms,
// the filters containers, environments, clusters and topic. Every connection
// gets the same stream in the same order. Nothing is replayed: what is sent
// while nobody is connected is lost, and the ledger knows it.
//
// The notifications have the shape of the platform's; objects walk through
// states, so that state_previous is the object's last state. Faults come on
// demand (Inject, or POST to FaultPath) or at random from a seed.
//
// What the platform's documentation leaves open is a choice here: filters
// are joined by AND, pings are answered, a slow client is waited for by the
// generator and dropped beyond 64 MiB.
package hubsim
