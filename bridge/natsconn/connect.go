package natsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	dialTimeout  = 5 * time.Second
	pingInterval = 20 * time.Second
)

// reconnect spreads the reconnects of many clients of one server.
var reconnect = bridge.Backoff{Base: 200 * time.Millisecond, Max: 5 * time.Second}

// Connect makes one attempt at every server of c and returns an open
// connection, or an *bridge.Error that names the servers without
// credentials. It is bounded by ctx, which has no effect on the connection
// afterwards. The connection reconnects for ever with full jitter and never
// buffers while it is disconnected; close it with Close. name is what the
// server's administrator sees. extra options come last and override.
//
// With URL Embedded, extra must hold nats.InProcessServer.
func (c Config) Connect(ctx context.Context, name string, extra ...nats.Option) (*nats.Conn, error) {
	const op = "nats connect"
	if err := ctx.Err(); err != nil {
		return nil, Classify(op, err)
	}
	auth, err := c.authOptions()
	if err != nil {
		return nil, &bridge.Error{Op: op, Kind: bridge.KindMisconfigured, Err: err}
	}
	secure, err := c.tlsOptions()
	if err != nil {
		return nil, &bridge.Error{Op: op, Kind: bridge.KindMisconfigured, Err: fmt.Errorf("tls: %w", err)}
	}
	d := &dialer{ctx: ctx}
	defer d.connected()
	opts := []nats.Option{
		nats.Name(name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(func(n int) time.Duration { return reconnect.Delay(n, nil) }),
		nats.IgnoreAuthErrorAbort(), // credentials may be put right while we wait
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second),
		nats.SetCustomDialer(d),
		nats.SkipHostLookup(), // the dialer does it, bounded by ctx
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	if c.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	opts = append(opts, auth...)
	opts = append(opts, secure...)
	opts = append(opts, extra...)

	urls := nats.DefaultURL // not dialled with an in-process server
	if !c.IsEmbedded() {
		parts := splitURLs(c.URL)
		if len(parts) == 0 {
			return nil, bridge.Errorf(bridge.KindMisconfigured, op, "no url")
		}
		urls = strings.Join(parts, ",")
	}
	nc, err := nats.Connect(urls, opts...)
	if err == nil {
		return nc, nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		err = ctxErr
	} else if dialErr := d.lastError(); dialErr != nil && errors.Is(err, nats.ErrNoServers) {
		err = dialErr
	}
	e := Classify(op, err)
	if !c.IsEmbedded() {
		e.Err = fmt.Errorf("%s: %w", c.Where(), cleaned{err, c.URL})
	}
	return nil, e
}

// JetStream returns a JetStream context on nc in the domain or with the API
// prefix of c. Calls without a deadline end after 5 s.
func (c Config) JetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	var js jetstream.JetStream
	var err error
	switch {
	case c.Domain != "":
		js, err = jetstream.NewWithDomain(nc, c.Domain)
	case c.APIPrefix != "":
		js, err = jetstream.NewWithAPIPrefix(nc, c.APIPrefix)
	default:
		js, err = jetstream.New(nc)
	}
	if err != nil {
		return nil, &bridge.Error{Op: "jetstream", Kind: bridge.KindMisconfigured, Err: err}
	}
	return js, nil
}

// API returns the prefix of JetStream's API subjects for c, with its dot.
func (c Config) API() string {
	switch {
	case c.Domain != "":
		return "$JS." + c.Domain + ".API."
	case c.APIPrefix != "":
		return c.APIPrefix + "."
	}
	return "$JS.API."
}

// Problem tells why nc is not connected, or nil when it is.
func Problem(op string, nc *nats.Conn) error {
	if nc.IsConnected() {
		return nil
	}
	err := nc.LastError()
	if err == nil || errors.Is(err, nats.ErrPermissionViolation) {
		if d, ok := nc.Opts.CustomDialer.(*dialer); ok {
			err = d.lastError()
		}
	}
	if err == nil {
		err = nats.ErrDisconnected
	}
	e := Classify(op, err)
	if e.Kind != bridge.KindMisconfigured {
		e.Kind = bridge.KindUnavailable
	}
	return e
}

// authOptions reads every secret once, so that a missing file is told as
// such, and returns options that read them again at every connect.
func (c Config) authOptions() ([]nats.Option, error) {
	switch {
	case c.CredsFile != "":
		if err := readCreds(c.CredsFile); err != nil {
			return nil, fmt.Errorf("creds_file: %w", err)
		}
		return []nats.Option{nats.UserCredentials(c.CredsFile)}, nil
	case !c.NKeySeed.IsZero():
		pub, err := c.publicKey()
		if err != nil {
			return nil, fmt.Errorf("nkey_seed: %w", err)
		}
		return []nats.Option{nats.Nkey(pub, c.sign)}, nil
	case !c.Token.IsZero():
		if _, err := c.Token.Read(); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		return []nats.Option{nats.TokenHandler(func() string {
			v, _ := c.Token.Read() // an unreadable file shows as a refused token
			return v
		})}, nil
	case c.Username != "":
		if _, err := c.Password.Read(); err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		return []nats.Option{nats.UserInfoHandler(func() (string, string) {
			v, _ := c.Password.Read()
			return c.Username, v
		})}, nil
	}
	return nil, nil
}

func (c Config) publicKey() (string, error) {
	kp, err := c.keyPair()
	if err != nil {
		return "", err
	}
	defer kp.Wipe()
	return kp.PublicKey()
}

func (c Config) keyPair() (nkeys.KeyPair, error) {
	seed, err := c.NKeySeed.Read()
	if err != nil {
		return nil, err
	}
	kp, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return nil, errors.New("is not an nkey seed")
	}
	return kp, nil
}

func (c Config) sign(nonce []byte) ([]byte, error) {
	kp, err := c.keyPair()
	if err != nil {
		return nil, err
	}
	defer kp.Wipe()
	return kp.Sign(nonce)
}

// tlsOptions reads the files once, and again at every connect.
func (c Config) tlsOptions() ([]nats.Option, error) {
	conf, err := c.TLS.Client()
	if err != nil || conf == nil {
		return nil, err
	}
	base := &tls.Config{MinVersion: conf.MinVersion, ServerName: conf.ServerName}
	opts := []nats.Option{nats.Secure(base)}
	var cert nats.TLSCertHandler
	var roots nats.RootCAsHandler
	if c.TLS.CertFile != "" {
		cert = func() (tls.Certificate, error) {
			conf, err := c.TLS.Client()
			if err != nil {
				return tls.Certificate{}, err
			}
			return conf.Certificates[0], nil
		}
	}
	if c.TLS.CAFile != "" {
		roots = func() (*x509.CertPool, error) {
			conf, err := c.TLS.Client()
			if err != nil {
				return nil, err
			}
			return conf.RootCAs, nil
		}
	}
	if cert != nil || roots != nil {
		opts = append(opts, nats.ClientTLSConfig(cert, roots))
	}
	return opts, nil
}

// dialer bounds the first connect by a context, handshake included, and
// remembers why a dial failed: nats.go says only "no servers available".
type dialer struct {
	mu   sync.Mutex
	ctx  context.Context // of Connect; nil afterwards
	stop []func() bool
	last error
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	parent := d.ctx
	d.mu.Unlock()
	first := parent != nil
	if !first {
		parent = context.Background() // a reconnect: its own timeout bounds it
	}
	ctx, cancel := context.WithTimeout(parent, dialTimeout)
	defer cancel()
	var nd net.Dialer
	conn, err := nd.DialContext(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = err
	if err != nil {
		return nil, err
	}
	if first {
		d.stop = append(d.stop, context.AfterFunc(parent, func() { conn.Close() }))
	}
	return conn, nil
}

func (d *dialer) connected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, stop := range d.stop {
		stop()
	}
	d.ctx, d.stop = nil, nil
}

func (d *dialer) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// cleaned shows an error without the credentials of a URL that it may quote.
type cleaned struct {
	err  error
	urls string
}

func (c cleaned) Unwrap() error { return c.err }

func (c cleaned) Error() string {
	s := c.err.Error()
	for _, u := range splitURLs(c.urls) {
		_, rest, ok := strings.Cut(u, "://")
		if !ok {
			rest = u
		}
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			s = strings.ReplaceAll(s, rest[:i], "[redacted]")
		}
	}
	return s
}
