// Package admin is the bridge's HTTP side: health, metrics, status.
//
//	/livez          200 while the process can answer at all; whatever a hub, a
//	                sink or a broker does never changes that
//	/readyz         200 when the journal takes appends, every hub has a live
//	                connection and every sink delivers or is idle; else 503
//	/metrics        Prometheus; no token
//	/api/v1/status  everything that is known, as JSON
//	/               the same for people
//
// Everything is answered from one snapshot of bridge.Status, taken when the
// request comes: nothing here is told of single events, and nothing is cached.
//
// Who may see what: /livez, /metrics and the bare answer of /readyz need no
// token. Detail and everything else do, unless the request is local: a listener
// on loopback, a peer on loopback, a loopback name as Host, and no proxy in
// between. A browser that was lured to a name which resolves to this machine
// (DNS rebinding) is refused by its Host header.
//
// Labels of metrics are names from the configuration, never ids of objects.
package admin
