package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Limits of the listener. Every answer is small and made from memory: whoever
// takes longer is slow on purpose, or gone.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 60 * time.Second
	shutdownLimit  = 3 * time.Second
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
	maxConnections = 256
)

// Options are what a Server needs besides its configuration.
type Options struct {
	// Status returns a snapshot of the bridge. It is called at every request,
	// from several goroutines, and must not block.
	Status func() bridge.Status
	// Metrics answers /metrics; nil: there are none.
	Metrics http.Handler
	Log     *slog.Logger // nil discards
}

// Server is the listener. Make it with New, then Run it once.
type Server struct {
	config   Config
	opts     Options
	log      *slog.Logger
	listener net.Listener // nil when closed by the configuration
	http     *http.Server
	loopback bool // the listener can be reached from this machine only

	pageTemplate *template.Template
	// problems with token files, by token; a file that cannot be read is told
	// once, not at every request
	tokenProblems problemLog
}

// New takes the address, so that a taken port is an error before anything is
// started. A configuration with an empty listen gives a Server that does
// nothing. The error is a *bridge.Error of KindMisconfigured that names the
// key and, for a taken port, who answers there.
func New(ctx context.Context, c Config, o Options) (*Server, error) {
	if o.Status == nil {
		return nil, errors.New("admin: Options.Status is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		config: c, opts: o, log: o.Log, pageTemplate: newPage(),
		loopback: setting.ListensOnLoopback(c.Listen),
	}
	if c.Listen == "" {
		return s, nil
	}
	cert, err := c.TLS.Server()
	if err != nil {
		return nil, &bridge.Error{Op: "http.tls", Kind: bridge.KindMisconfigured, Err: err}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, listenError(ctx, c.Listen, err)
	}
	ln = &boundedListener{Listener: ln, free: make(chan struct{}, maxConnections), closed: make(chan struct{})}
	if cert != nil {
		cert.NextProtos = []string{"h2", "http/1.1"}
		ln = tls.NewListener(ln, cert)
	}
	s.listener = ln
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Handshakes that fail and clients that go away are the clients' affair.
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// listenError says who has the port, and which key chooses it.
func listenError(ctx context.Context, addr string, err error) error {
	e := &bridge.Error{Op: "http.listen", Kind: bridge.KindMisconfigured, Err: err}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Err = fmt.Errorf("%s is taken: %s", addr, whoAnswers(ctx, addr))
		e.Hint = "stop it, or set http.listen (CYCLE_BRIDGE_HTTP_LISTEN) to another address"
	case errors.Is(err, syscall.EACCES):
		e.Hint = "ports below 1024 need a privilege: set http.listen to another port"
	default:
		e.Hint = "set http.listen to an address of this machine"
	}
	return e
}

// Addr returns the address that is listened at, with the port the system
// chose; nil when the listener is closed.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Run serves until ctx is done, then lets requests under way end (3 s at
// most) and returns nil. Another error means that the listener failed.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		<-ctx.Done()
		return nil
	}
	s.log.Debug("http is listening", "address", s.Addr().String(), "tls", s.config.TLS.On())
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }()
	select {
	case err := <-failed:
		return &bridge.Error{Op: "http", Kind: bridge.KindUnavailable, Err: err}
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	if err := s.http.Shutdown(end); err != nil {
		_ = s.http.Close() // the time is up: what it says does not matter any more
	}
	_ = <-failed // http.ErrServerClosed
	return nil
}

// Close gives the address back when Run is not going to be called. It is
// idempotent.
func (s *Server) Close() error {
	if s.listener == nil {
		return nil
	}
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	if s.opts.Metrics != nil {
		mux.Handle("GET /metrics", s.opts.Metrics)
	}
	mux.HandleFunc("GET /api/v1/status", s.needsToken(allowRead, s.status))
	mux.HandleFunc("GET /{$}", s.needsToken(allowRead, s.page))
	return s.guard(mux)
}

func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "ok")
}
