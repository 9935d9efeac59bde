package natsserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

const (
	storeDir = "nats" // under the data directory

	maxPayload = 8 << 20  // a journal group of one frame of 1 MiB fits many times
	maxPending = 64 << 20 // what a slow reader may have outstanding
	maxMemory  = 64 << 20 // ordered consumers keep their state in memory

	readyTimeout = 30 * time.Second
)

// Options are what Start needs.
type Options struct {
	Dir           string // data directory; the store is <dir>/nats
	Config        Config
	EncryptionKey setting.Secret // encrypts the store; zero: not encrypted
	// JournalMaxBytes and CycleMaxBytes are the limits of the two streams
	// (see MaxBytes). 0 for either means auto.
	JournalMaxBytes int64
	CycleMaxBytes   int64
	Log             *slog.Logger
}

// Server is an embedded NATS server. Its methods may be called concurrently.
type Server struct {
	dir       string
	store     string
	config    Config
	key       setting.Secret
	limits    reserved
	cycleMax  int64
	passwords drawn
	log       *slog.Logger
	lines     *logger
	lock      *flock.Flock

	changing sync.Mutex // held through Restart and Shutdown; guards listen and gate

	listen string
	gate   *gate // nil before it is open

	mu     sync.RWMutex // guards what follows; never held across I/O
	ns     *server.Server
	addr   string
	closed bool
}

// Start locks the data directory, starts the server, and makes or updates the
// stream CYCLE. Errors are *bridge.Error and say what to change. It blocks
// while the store is recovered.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, bridge.Errorf(bridge.KindMisconfigured, "data directory", "%w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, storeDir), 0o700); err != nil {
		return nil, &bridge.Error{
			Op: "data directory", Kind: bridge.KindMisconfigured, Err: err,
			Hint: "set journal.dir (or --data) to a directory that this user may write",
		}
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		dir: dir, store: filepath.Join(dir, storeDir), config: o.Config, key: o.EncryptionKey,
		passwords: drawPasswords(), log: o.Log, lines: newLogger(o.Log), lock: lock, listen: o.Config.Listen,
	}
	if err := s.begin(ctx, o); err != nil {
		s.closeGate()
		s.stop()
		return nil, errors.Join(err, lock.Unlock())
	}
	return s, nil
}

func (s *Server) begin(ctx context.Context, o Options) error {
	auto, err := MaxBytes(s.dir, setting.SizeAuto)
	if err != nil {
		return bridge.Errorf(bridge.KindMisconfigured, "data directory", "%w", err)
	}
	want := reserved{Journal: o.JournalMaxBytes, Cycle: o.CycleMaxBytes}
	if want.Journal <= 0 {
		want.Journal = auto
	}
	if want.Cycle <= 0 {
		want.Cycle = auto
	}
	s.cycleMax = want.Cycle
	if s.limits, err = reserve(s.dir, want); err != nil {
		return &bridge.Error{
			Op: "write nats-limits.json", Kind: bridge.KindMisconfigured, Err: err,
			Hint: "the data directory must be writable and have room",
		}
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if s.gate, err = openGate(access{s, gateUser, s.passwords.gate}, s.log); err != nil {
		return err
	}
	return s.ensureCycle(ctx)
}

// closeGate ends the gate, if it is open. s.changing is held, or s is not
// shared.
func (s *Server) closeGate() {
	if s.gate != nil {
		s.gate.close()
		s.gate = nil
	}
}

// run starts a server. s.changing is held, or s is not shared yet.
func (s *Server) run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return bridge.Errorf(bridge.KindCanceled, "start embedded nats server", "%w", err)
	}
	if err := probeListen(ctx, s.listen); err != nil {
		return err
	}
	o, err := s.options()
	if err != nil {
		return bridge.Errorf(bridge.KindMisconfigured, "start embedded nats server", "%w", err)
	}
	ns, err := server.NewServer(o)
	if err != nil {
		return bridge.Errorf(bridge.KindMisconfigured, "start embedded nats server", "%w", err)
	}
	s.lines.lastFatal()
	ns.SetLoggerV2(s.lines, false, false, false)
	ns.Start()
	fail := func(format string, args ...any) error {
		ns.Shutdown()
		ns.WaitForShutdown()
		err := fmt.Errorf(format, args...)
		if f := s.lines.lastFatal(); f != "" {
			err = errors.New(f)
		}
		return &bridge.Error{
			Op: "start embedded nats server", Kind: bridge.KindUnavailable, Err: err,
			Hint: "look at the free space and the permissions of " + s.store,
		}
	}
	if !ns.ReadyForConnections(readyTimeout) {
		return fail("it is not ready after %s", readyTimeout)
	}
	if !ns.JetStreamEnabled() {
		return fail("jetstream is not enabled")
	}
	if f := s.lines.lastFatal(); f != "" {
		return fail("%s", f)
	}
	addr := ""
	if s.listen != "" {
		addr = ns.Addr().String()
		s.listen = addr
	}
	s.mu.Lock()
	s.ns, s.addr = ns, addr
	s.mu.Unlock()
	return nil
}

// stop ends the server that runs, if any, and waits for it.
func (s *Server) stop() {
	s.mu.Lock()
	ns := s.ns
	s.ns = nil
	s.mu.Unlock()
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}

// Restart stops the server and starts it again on the same store, address and
// passwords. Connections made through Cycle and Journal find the new one by
// themselves. A server whose disk was full needs this once there is room.
func (s *Server) Restart(ctx context.Context) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return bridge.Errorf(bridge.KindCanceled, "restart embedded nats server", "%w", bridge.ErrClosed)
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "restarting the embedded nats server")
	s.stop()
	return s.run(ctx)
}

// Shutdown stops the server, waits for it, and gives the data directory free.
// It is idempotent. When ctx ends first the server still stops by itself.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { // ends when the server has stopped
		s.changing.Lock()
		defer s.changing.Unlock()
		s.mu.Lock()
		was := s.closed
		s.closed = true
		s.mu.Unlock()
		s.closeGate()
		s.stop()
		if was {
			done <- nil
			return
		}
		done <- s.lock.Unlock()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return bridge.Errorf(bridge.KindTransient, "stop embedded nats server", "%w", ctx.Err())
	}
}

// Addr is the address of the listener, with the port that was taken; empty
// when there is none.
func (s *Server) Addr() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.addr
}

// Dir is the data directory, absolute.
func (s *Server) Dir() string { return s.dir }

// Cycle gives connections to the account CYCLE, for the publisher.
func (s *Server) Cycle() bridge.Embedded { return access{s, publisherUser, s.passwords.publisher} }

// Journal gives connections to the account JOURNAL.
func (s *Server) Journal() bridge.Embedded { return access{s, journalUser, s.passwords.journal} }

// access is one of the bridge's own users.
type access struct {
	s              *Server
	user, password string
}

func (a access) InProcessConn() (net.Conn, error) {
	a.s.mu.RLock()
	ns := a.s.ns
	a.s.mu.RUnlock()
	if ns == nil {
		return nil, errors.New("the embedded nats server is not running")
	}
	return ns.InProcessConn()
}

func (a access) Publisher() (user, password string) { return a.user, a.password }

// Connect opens an in-process connection with the settings that the bridge's
// own connections need: it reconnects for ever, at once, and never buffers
// what is published while it is down, because a hidden late publish breaks
// what the caller knows of its fate.
func Connect(e bridge.Embedded, name string, extra ...nats.Option) (*nats.Conn, error) {
	user, password := e.Publisher()
	opts := append([]nats.Option{
		nats.Name(name),
		nats.InProcessServer(e),
		nats.UserInfo(user, password),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(50 * time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(false),
		nats.IgnoreAuthErrorAbort(),
		nats.Timeout(5 * time.Second),
	}, extra...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, bridge.Errorf(bridge.KindUnavailable, "connect to embedded nats server", "%w", err)
	}
	return nc, nil
}
