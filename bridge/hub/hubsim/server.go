package hubsim

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Path is where the hub answers: the token, and with ?token= the upgrade.
const Path = "/v1/hubs/current/notifications"

// DefaultHubID is the hub of a Server whose Options name none.
const DefaultHubID = "60d0fe4f5311236168a109ca"

// Options configure a Server. The zero value is a hub that sends nothing.
type Options struct {
	HubID  string // default DefaultHubID
	APIKey string // default "sim-key"
	// TokenTTL is how long a token may wait for its upgrade; default 15 s.
	TokenTTL time.Duration
	// Address adds data.address to the token's answer: "self" for the
	// address of the request, else the text itself.
	Address string
	// StrictUpgrade refuses an upgrade without x-cycle-token, Authorization,
	// X-Hub-Id and Origin, as the older documentation shows them.
	StrictUpgrade bool

	// Rate is in notifications a second; 0 is as fast as the connections
	// take them. See Start.
	Rate float64
	// Count ends the generator after so many notifications; 0 is never.
	Count uint64
	// MinConnections makes the generator wait while fewer are live. With
	// Rate 0 at least 1.
	MinConnections int
	Objects        int      // default 500
	Topics         []string // the mix, repeated for weight; default about 40 common ones
	Seed           uint64
	Size           int // bytes a notification has at least; default 400
	// Numbered puts {"sim_seq":n,"sim_at":unix nanoseconds} into the
	// notifications' annotations, n from 1, for tests of loss, order and latency.
	Numbered bool

	// WriteEach writes every frame with a call of its own, as a server does
	// that sends each notification when it happens. Without it frames that
	// wait are written together, which is several times as fast.
	WriteEach bool

	// Ledger keeps what was written to which connection. It grows without
	// bound: for tests.
	Ledger bool
	// FaultRate is the expected number of random faults a second while the
	// generator runs, drawn from FaultKinds (default SoakFaults) by Seed.
	FaultRate  float64
	FaultKinds []string

	Log *slog.Logger // default none
}

// Server is a simulated hub. It is an http.Handler; everything may be called
// concurrently.
type Server struct {
	opts Options
	log  *slog.Logger

	mu     sync.Mutex // guards all below, and orders the stream
	gen    *generator
	rng    *rand.Rand // of the faults
	conns  map[uint64]*conn
	nextID uint64
	seq    uint64 // of the last frame of the stream
	number uint64 // of the last generated notification
	tokens map[string]time.Time
	queued []*Fault // for coming requests
	frames []FrameRecord
	past   []*conn // closed connections, with a ledger only
	closed bool
	room   chan struct{} // closed and renewed when a connection changes
	stop   func()        // ends the generator; nil while none runs
	gone   chan struct{} // closed when the generator has ended
	busy   sync.WaitGroup

	sent, opened, issued, refused, faults atomic.Uint64
}

// Counters are the totals of a Server.
type Counters struct {
	Sent        uint64 // frames of the stream, whether or not anybody was connected
	Connections int    // live now
	Opened      uint64 // upgrades that succeeded
	Tokens      uint64 // issued
	Refused     uint64 // token and upgrade requests that got an error
	Faults      uint64 // injected
}

// New returns a Server that answers at once and sends nothing until Start,
// Burst or Emit.
func New(o Options) *Server {
	if o.HubID == "" {
		o.HubID = DefaultHubID
	}
	if o.APIKey == "" {
		o.APIKey = "sim-key"
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = 15 * time.Second
	}
	if o.Objects <= 0 {
		o.Objects = 500
	}
	if len(o.Topics) == 0 {
		o.Topics = defaultTopics
	}
	if o.Size == 0 {
		o.Size = 400
	}
	if o.Rate <= 0 && o.MinConnections < 1 {
		o.MinConnections = 1
	}
	if len(o.FaultKinds) == 0 {
		o.FaultKinds = SoakFaults
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts: o, log: log,
		gen:    newGenerator(o),
		rng:    rand.New(rand.NewPCG(o.Seed, 0xfa17)),
		conns:  map[uint64]*conn{},
		tokens: map[string]time.Time{},
		room:   make(chan struct{}),
	}
}

// HubID and APIKey return what a client must show.
func (s *Server) HubID() string { return s.opts.HubID }

// APIKey is the bearer token the hub accepts.
func (s *Server) APIKey() string { return s.opts.APIKey }

// ServeHTTP answers the hub's path, and POST, GET and DELETE on FaultPath.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case Path:
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			s.refuse(w, http.StatusMethodNotAllowed, "", "method not allowed", "")
			return
		}
		if r.URL.Query().Has("token") {
			s.serveUpgrade(w, r)
			return
		}
		s.serveToken(w, r)
	case FaultPath:
		s.serveFault(w, r)
	default:
		s.refuse(w, http.StatusNotFound, "404.uri", "not found", "")
	}
}

// Serve answers on ln until ctx is done, then closes all connections, waits
// for them and returns nil, or the listener's error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = srv.Close()
		_ = <-ended // http.ErrServerClosed
	}
	s.Close()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
		err = nil
	}
	return err
}

// Close ends the generator and all connections, and waits for them. The
// Server refuses everything afterwards. It is idempotent.
func (s *Server) Close() {
	s.Stop()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		c.kill(false)
	}
	s.mu.Unlock()
	s.busy.Wait()
}

// Counters returns the totals so far.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	live := s.liveLocked()
	s.mu.Unlock()
	return Counters{
		Sent: s.sent.Load(), Connections: live, Opened: s.opened.Load(),
		Tokens: s.issued.Load(), Refused: s.refused.Load(), Faults: s.faults.Load(),
	}
}

// WaitConnections waits until at least n connections are live.
func (s *Server) WaitConnections(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		live, changed := s.liveLocked(), s.room
		s.mu.Unlock()
		if live >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// liveLocked returns the number of connections that are not half-open.
func (s *Server) liveLocked() int {
	live := 0
	for _, c := range s.conns {
		c.mu.Lock()
		if !c.mute {
			live++
		}
		c.mu.Unlock()
	}
	return live
}

// changedLocked wakes those who wait for room or for connections.
func (s *Server) changedLocked() {
	close(s.room)
	s.room = make(chan struct{})
}
