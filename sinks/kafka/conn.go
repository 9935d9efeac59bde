package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	dialTimeout = 5 * time.Second
	// connMaxIdle is shorter than what brokers (10 min) and common NAT boxes
	// (4 min) allow, so that a batch is not sent into a dead connection.
	connMaxIdle = 3 * time.Minute
)

// conn is one connection to a broker, signed in. It is for one goroutine and
// carries one request at a time, which is what keeps batches in order.
type conn struct {
	nc       net.Conn
	pc       *protocol.Conn
	versions map[protocol.ApiKey]apiversions.ApiKeyResponse
	lastUsed time.Time
	expires  time.Time // when the broker wants a new sign-in; zero: never
	broken   bool
}

// dial connects, negotiates versions and signs in. Secrets and certificate
// files are read now, so that rotated ones are picked up. Errors are classed.
func dial(ctx context.Context, cfg *Config, addr string) (_ *conn, err error) {
	op := "kafka connect " + addr
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	tlsConfig, err := cfg.TLS.Client()
	if err != nil {
		return nil, &bridge.Error{Op: op, Kind: bridge.KindMisconfigured, Hint: "check the key tls", Err: err}
	}
	mechanism, err := cfg.SASL.mechanism()
	if err != nil {
		return nil, &bridge.Error{Op: op, Kind: bridge.KindMisconfigured, Hint: hintSASL, Err: err}
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		e := netError(outer, op, err)
		if be, ok := errors.AsType[*bridge.Error](e); ok && be.Kind == bridge.KindTransient {
			be.Kind, be.Hint = bridge.KindUnavailable, hintDown
		}
		return nil, e
	}
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	if tlsConfig != nil {
		if tlsConfig.ServerName == "" {
			tlsConfig.ServerName, _, _ = net.SplitHostPort(addr)
		}
		tc := tls.Client(nc, tlsConfig)
		nc = tc
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, handshakeError(outer, op, "tls handshake", err)
		}
	}
	c := &conn{nc: nc, pc: protocol.NewConn(nc, cfg.ClientID), lastUsed: time.Now()}
	if err := c.negotiate(ctx); err != nil {
		return nil, handshakeError(outer, op, "api versions", err)
	}
	if mechanism != nil {
		if err := c.authenticate(ctx, mechanism); err != nil {
			return nil, handshakeError(outer, op, "sasl", err)
		}
	}
	return c, nil
}

// handshakeError classes an error before the first request: a broker that
// hangs up then has not taken the way we speak, or is on its way down.
func handshakeError(ctx context.Context, op, step string, err error) error {
	e := netError(ctx, op, fmt.Errorf("%s: %w", step, err))
	if be, ok := errors.AsType[*bridge.Error](e); ok && be.Kind == bridge.KindTransient {
		be.Kind = bridge.KindUnavailable
		be.Hint = hintHungUp
	}
	return e
}

// negotiate asks for the versions of the protocol that the broker speaks.
func (c *conn) negotiate(ctx context.Context) error {
	msg, err := c.roundTrip(ctx, &apiversions.Request{})
	if err != nil {
		return err
	}
	res := msg.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return brokerError(res.ErrorCode)
	}
	c.versions = make(map[protocol.ApiKey]apiversions.ApiKeyResponse, len(res.ApiKeys))
	chosen := make(map[protocol.ApiKey]int16, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		if k.ApiKey < 0 || !known(key) {
			continue
		}
		c.versions[key] = k
		chosen[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
	}
	c.pc.SetVersions(chosen)
	return nil
}

// needed are the requests that a producer makes.
var needed = []protocol.ApiKey{
	protocol.Produce, protocol.Fetch, protocol.ListOffsets, protocol.Metadata, protocol.InitProducerId,
}

// known reports whether this client can make a request of that kind.
func known(key protocol.ApiKey) bool {
	switch key {
	case protocol.Produce, protocol.Fetch, protocol.ListOffsets, protocol.Metadata, protocol.InitProducerId,
		protocol.ApiVersions, protocol.SaslHandshake, protocol.SaslAuthenticate,
		protocol.CreateTopics, protocol.DescribeConfigs:
		return true
	}
	return false
}

// supports returns an error when the broker speaks no version of a request
// that this client speaks.
func (c *conn) supports(key protocol.ApiKey) error {
	if key == protocol.ApiVersions {
		return nil
	}
	k, ok := c.versions[key]
	if ok && k.MaxVersion >= key.MinVersion() && k.MinVersion <= key.MaxVersion() {
		// Record batches with a producer id came with version 3.
		if key != protocol.Produce || k.MaxVersion >= 3 {
			return nil
		}
	}
	return &bridge.Error{
		Op: "kafka " + key.String(), Kind: bridge.KindMisconfigured, Hint: "Kafka 1.0 or later is needed, and this bridge's version must know it",
		Err: errors.New("the broker does not speak a common version of this request"),
	}
}

// usable reports whether a request may be sent on it now.
func (c *conn) usable(now time.Time) bool {
	return !c.broken && now.Sub(c.lastUsed) < connMaxIdle && (c.expires.IsZero() || now.Before(c.expires))
}

// roundTrip sends a request and waits for its answer until ctx is done; ctx
// must have a deadline. After an error the connection is closed, nothing of
// it goes on in the background, and the request may or may not have had its
// effect.
func (c *conn) roundTrip(ctx context.Context, req protocol.Message) (protocol.Message, error) {
	if err := c.supports(req.ApiKey()); err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		panic("kafka: request without a deadline")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.nc.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
	res, err := c.pc.RoundTrip(req)
	if !stop() || err != nil {
		c.close()
	}
	if err != nil {
		return nil, err
	}
	c.lastUsed = time.Now()
	return res, nil
}

func (c *conn) close() {
	c.broken = true
	c.nc.Close()
}
