package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	maxBody   = 64 << 10 // of a token's answer, after inflation
	maxHeader = 32 << 10 // of any answer
)

// dialer gets tokens and connections. It may be used concurrently.
type dialer struct {
	cfg       Config
	ep        endpoint
	timings   Timings
	agent     string
	transport *http.Transport
}

func newDialer(cfg Config, o Options) (*dialer, error) {
	ep, err := parseEndpoint(cfg.APIURL)
	if err != nil {
		return nil, fmt.Errorf("api_url %w", err)
	}
	tlsConfig, err := cfg.TLS.Client()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	// A WebSocket upgrade needs HTTP/1.1, also where the edge prefers 2.
	tlsConfig.NextProtos = []string{"http/1.1"}
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{
			Timeout:         o.Timings.Dial,
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 4},
		}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &dialer{
		cfg: cfg, ep: ep, timings: o.Timings,
		agent: "cycle-bridge/" + o.Version,
		transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        tlsConfig,
			TLSHandshakeTimeout:    o.Timings.Dial,
			Protocols:              protocols,
			MaxResponseHeaderBytes: maxHeader,
			// The upgrade that follows at once takes the token's connection over.
			MaxIdleConns:    1,
			IdleConnTimeout: 5 * time.Second,
		},
	}, nil
}

// client makes an HTTP client that follows no redirect: a token and a key go
// to the host that the configuration names, and to no other.
func (d *dialer) client(rt http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: rt,
		CheckRedirect: func(req *http.Request, _ []*http.Request) error {
			return bridge.Errorf(bridge.KindMisconfigured, "", "the answer redirects to %s, which is not followed", scrubText(req.URL.Host))
		},
	}
}

// credentials returns the key as it is to be sent.
func (d *dialer) credentials() (string, error) {
	key, err := d.cfg.APIKey.Read()
	if err != nil {
		return "", err
	}
	key = strings.TrimSpace(key)
	if len(key) >= 6 && strings.EqualFold(key[:6], "bearer") && (len(key) == 6 || key[6] == ' ') {
		key = strings.TrimSpace(key[6:])
	}
	if key == "" {
		return "", errors.New("api_key is empty")
	}
	for _, r := range key {
		if r <= ' ' || r > '~' {
			return "", errors.New("api_key holds a space, a line break or another character that no key has")
		}
	}
	return key, nil
}

const opToken = "hub token"

// grant gets a fresh token. The key is returned for scrubbing, and for the
// older form of the upgrade.
func (d *dialer) grant(ctx context.Context) (g grant, key string, err error) {
	key, err = d.credentials()
	if err != nil {
		return g, "", &bridge.Error{Op: opToken, Kind: bridge.KindMisconfigured, Err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.timings.Token, fmt.Errorf("no whole answer within %s", d.timings.Token))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.ep.tokenURL(), nil)
	if err != nil {
		return g, key, &bridge.Error{Op: opToken, Kind: bridge.KindMisconfigured, Err: scrub(err, key)}
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("X-Hub-Id", d.cfg.ID)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", d.agent)
	resp, err := d.client(d.transport).Do(req)
	if err != nil {
		return g, key, d.netError(ctx, opToken, err, key)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if resp.StatusCode != http.StatusOK {
		return g, key, refusal(opToken, resp.StatusCode, resp.Header, body, key)
	}
	if err != nil {
		return g, key, d.netError(ctx, opToken, err, key)
	}
	if len(body) > maxBody {
		return g, key, bridge.Errorf(bridge.KindTransient, opToken, "the answer is longer than %d bytes", maxBody)
	}
	if g, err = parseGrant(body); err != nil {
		return g, key, &bridge.Error{Op: opToken, Kind: bridge.KindTransient, Err: err}
	}
	return g, key, nil
}

// netError classes an error of the transport. ctx is the attempt's.
func (d *dialer) netError(ctx context.Context, op string, err error, secrets ...string) error {
	if e, ok := errors.AsType[*bridge.Error](err); ok {
		return &bridge.Error{
			Op: op, Kind: e.Kind, Err: scrub(e.Err, secrets...),
			Hint: "put the address that answers into api_url if it is Cycle's",
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.Canceled) {
			return &bridge.Error{Op: op, Kind: bridge.KindCanceled, Err: context.Canceled}
		}
		err = cause
	}
	e := &bridge.Error{Op: op, Kind: bridge.KindUnavailable, Err: scrub(err, secrets...)}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		e.Hint = "check api_url and this machine's name resolution"
	} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e.Hint = "the certificate is not trusted: set tls.ca_file for a private CA"
	}
	return e
}

// upgrader is a RoundTripper that puts a wire around an upgraded connection.
type upgrader struct {
	next http.RoundTripper
	wire *wire // set by a 101
}

func (u *upgrader) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := u.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if rwc, ok := resp.Body.(io.ReadWriteCloser); ok {
		u.wire = newWire(rwc)
		resp.Body = u.wire
	}
	return resp, nil
}

const opUpgrade = "hub upgrade"

// refused tells that the upgrade got a 4xx that other headers may cure.
type refused struct{ err *bridge.Error }

func (r refused) Error() string { return r.err.Error() }
func (r refused) Unwrap() error { return r.err }

// control is told of the control frames that come in, by whoever reads.
type control interface {
	onPing(ctx context.Context, payload []byte) (answer bool)
	onPong(ctx context.Context, payload []byte)
}

// connect uses a grant. With full, the headers of the older documentation
// are sent as well. The wire is the transport that the websocket.Conn owns.
func (d *dialer) connect(ctx context.Context, g grant, key string, full bool, c control) (*websocket.Conn, *wire, error) {
	url, err := d.ep.socketURL(g, d.cfg.Filter)
	if err != nil {
		return nil, nil, &bridge.Error{Op: opUpgrade, Kind: bridge.KindMisconfigured, Err: err}
	}
	h := http.Header{"User-Agent": {d.agent}}
	if full {
		h.Set("Authorization", "Bearer "+key)
		h.Set("X-Hub-Id", d.cfg.ID)
		h.Set("X-Cycle-Token", g.token)
		h.Set("Origin", d.ep.origin())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.timings.Dial, fmt.Errorf("no upgrade within %s", d.timings.Dial))
	defer cancel()
	up := &upgrader{next: d.transport}
	//nolint:bodyclose // the library gives a body without a connection behind it
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient: d.client(up), HTTPHeader: h,
		OnPingReceived: c.onPing, OnPongReceived: c.onPong,
	})
	secrets := []string{key, g.token, g.address}
	switch {
	case err == nil && up.wire == nil:
		_ = ws.CloseNow()
		return nil, nil, bridge.Errorf(bridge.KindTransient, opUpgrade, "the transport gave no connection")
	case err == nil:
		return ws, up.wire, nil
	case resp == nil || resp.StatusCode == http.StatusSwitchingProtocols || context.Cause(ctx) != nil:
		return nil, nil, d.netError(ctx, opUpgrade, err, secrets...)
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	e := refusal(opUpgrade, resp.StatusCode, resp.Header, body, secrets...)
	if resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout {
		return nil, nil, refused{e}
	}
	return nil, nil, e
}

func (d *dialer) close() { d.transport.CloseIdleConnections() }
