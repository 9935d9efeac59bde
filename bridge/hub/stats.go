package hub

import (
	"sync/atomic"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// stats is what Status reads; everything in it may be used concurrently.
type stats struct {
	events, bytes, unparsed, truncated, foreign atomic.Uint64
	reconnects, refused                         atomic.Uint64
	lastAlive, lastEvent                        atomic.Int64 // unix nanoseconds; 0 for never
	link                                        atomic.Pointer[link]
}

// link is whether there is a connection, and why not.
type link struct {
	live    int
	since   time.Time
	problem string
	server  string
}

// deltas are counts of one connection since they were last added.
type deltas struct{ events, bytes, unparsed, truncated, foreign uint64 }

// add moves the counts to s and clears them.
func (s *stats) add(d *deltas, proof, event time.Time) {
	s.alive(proof)
	if d.events == 0 {
		return
	}
	s.lastEvent.Store(event.UnixNano())
	s.events.Add(d.events)
	s.bytes.Add(d.bytes)
	if d.unparsed|d.truncated|d.foreign != 0 {
		s.unparsed.Add(d.unparsed)
		s.truncated.Add(d.truncated)
		s.foreign.Add(d.foreign)
	}
	*d = deltas{}
}

// alive notes a proof of life.
func (s *stats) alive(proof time.Time) {
	ns := proof.UnixNano()
	for old := s.lastAlive.Load(); ns > old; old = s.lastAlive.Load() {
		if s.lastAlive.CompareAndSwap(old, ns) {
			return
		}
	}
}

// up and down keep since when the state has its value.
func (s *stats) up(server string) {
	s.link.Store(&link{live: 1, since: time.Now(), server: server})
}

func (s *stats) down(problem string) {
	old := s.link.Load()
	l := &link{since: time.Now(), problem: problem}
	if old != nil && old.live == 0 {
		l.since = old.since
	}
	s.link.Store(l)
}

func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Status returns a snapshot. It takes no lock and does no I/O. Counts are
// those of the frames that the reader has worked off before it last waited
// for the network, which is at most a read of 64 KiB ago.
func (f *Feed) Status() bridge.SourceStatus {
	s, l := &f.stats, f.stats.link.Load()
	return bridge.SourceStatus{
		Name: f.source.Name, ID: f.source.ID, Origin: f.source.Origin,
		Connections: l.live, Wanted: 1,
		Since:     l.since,
		LastAlive: unixTime(s.lastAlive.Load()),
		LastEvent: unixTime(s.lastEvent.Load()),
		Events:    s.events.Load(), Bytes: s.bytes.Load(),
		Reconnects: s.reconnects.Load(),
		Unparsed:   s.unparsed.Load(), Truncated: s.truncated.Load(),
		Problem: l.problem, Server: l.server,
		Filter: f.cfg.Filter.String(),
	}
}

// Foreign returns how many notifications named another hub in their context.
func (f *Feed) Foreign() uint64 { return f.stats.foreign.Load() }

// RefusedUpgrades returns how many upgrades were refused, for example because the
// token had expired.
func (f *Feed) RefusedUpgrades() uint64 { return f.stats.refused.Load() }
