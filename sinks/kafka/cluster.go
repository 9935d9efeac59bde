package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// metadataMaxAge bounds how long added partitions go unseen. Everything else
// that changes shows as an error, and is asked for at once then.
const metadataMaxAge = 30 * time.Second

// broker is one broker and the connection to it. One goroutine uses it at a time.
type broker struct {
	id   int32 // -1 while only its address is known
	addr string
	conn *conn
	// mutedUntil is when the broker takes requests again (a quota).
	mutedUntil time.Time
}

// connect returns a usable connection, made anew where needed.
func (b *broker) connect(ctx context.Context, cfg *Config) (*conn, error) {
	if b.conn != nil && b.conn.usable(time.Now()) {
		return b.conn, nil
	}
	b.close()
	c, err := dial(ctx, cfg, b.addr)
	if err != nil {
		return nil, err
	}
	b.conn = c
	return c, nil
}

func (b *broker) close() {
	if b.conn != nil {
		b.conn.close()
		b.conn = nil
	}
}

// cluster is what is known of the brokers and Kafka topics. It is for one
// goroutine, except that different brokers may be used at the same time
// while nothing else is.
type cluster struct {
	cfg        *Config
	log        *slog.Logger
	seeds      []*broker
	brokers    map[int32]*broker
	controller int32
	id         string // the cluster's
	topics     map[string]*topic
	refreshed  time.Time
	stale      bool // something said that what is known is out of date
}

func newCluster(cfg *Config, log *slog.Logger) *cluster {
	c := &cluster{cfg: cfg, log: log, brokers: map[int32]*broker{}, topics: map[string]*topic{}}
	for _, addr := range cfg.Brokers {
		c.seeds = append(c.seeds, &broker{id: -1, addr: addr})
	}
	return c
}

func (c *cluster) close() {
	for _, b := range c.seeds {
		b.close()
	}
	for _, b := range c.brokers {
		b.close()
	}
}

// request sends a request to a broker and waits for the answer, at most for
// the configured timeout and what a network takes. sent is false when the
// request certainly did not leave.
func (c *cluster) request(ctx context.Context, b *broker, req protocol.Message) (res protocol.Message, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout+2*time.Second)
	defer cancel()
	conn, err := b.connect(ctx, c.cfg)
	if err != nil {
		return nil, false, err
	}
	if err := conn.supports(req.ApiKey()); err != nil {
		return nil, false, err
	}
	res, err = conn.roundTrip(ctx, req)
	return res, true, err
}

// any sends a request that every broker can answer, to one that is connected
// if possible.
func (c *cluster) any(ctx context.Context, op string, req protocol.Message) (protocol.Message, error) {
	var errs []error
	var worst error
	for _, b := range c.candidates() {
		res, _, err := c.request(ctx, b, req)
		if err == nil {
			return res, nil
		}
		err = netError(ctx, op, err)
		switch bridge.KindOf(err) {
		case bridge.KindCanceled:
			return nil, err
		case bridge.KindMisconfigured:
			worst = err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if worst != nil {
		return nil, worst
	}
	if len(errs) == 1 && bridge.KindOf(errs[0]) == bridge.KindUnavailable {
		return nil, errs[0]
	}
	return nil, &bridge.Error{Op: op, Kind: bridge.KindUnavailable, Hint: hintHungUp, Err: fmt.Errorf("no broker answers: %w", errors.Join(dedupe(errs)...))}
}

// dedupe drops errors that say the same of the same broker.
func dedupe(errs []error) []error {
	var out []error
	for _, e := range errs {
		if !slices.ContainsFunc(out, func(o error) bool { return o.Error() == e.Error() }) {
			out = append(out, e)
		}
	}
	return out
}

// candidates returns brokers to ask: the connected ones, then the configured
// addresses, then the others.
func (c *cluster) candidates() []*broker {
	var up, down []*broker
	for _, b := range c.brokers {
		if b.conn != nil && b.conn.usable(time.Now()) {
			up = append(up, b)
		} else {
			down = append(down, b)
		}
	}
	byID := func(a, b *broker) int { return int(a.id - b.id) }
	slices.SortFunc(up, byID)
	slices.SortFunc(down, byID)
	known := func(s *broker) bool {
		return slices.ContainsFunc(down, func(b *broker) bool { return b.addr == s.addr }) ||
			slices.ContainsFunc(up, func(b *broker) bool { return b.addr == s.addr })
	}
	for _, s := range c.seeds {
		if !known(s) {
			up = append(up, s)
		}
	}
	return append(up, down...)
}

// fresh makes sure that what is known is recent, and nothing said otherwise.
// A refresh for age alone may fail without harm.
func (c *cluster) fresh(ctx context.Context) error {
	if c.stale || len(c.brokers) == 0 {
		return c.refresh(ctx)
	}
	if time.Since(c.refreshed) > metadataMaxAge {
		if err := c.refresh(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// refresh asks for the brokers and for all Kafka topics in use.
func (c *cluster) refresh(ctx context.Context) error {
	names := make([]string, 0, len(c.topics))
	for name := range c.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	msg, err := c.any(ctx, "kafka metadata", &metadata.Request{TopicNames: names})
	if err != nil {
		return err
	}
	c.apply(msg.(*metadata.Response))
	return nil
}

func (c *cluster) apply(res *metadata.Response) {
	seen := make(map[int32]bool, len(res.Brokers))
	for _, b := range res.Brokers {
		addr := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		seen[b.NodeID] = true
		old := c.brokers[b.NodeID]
		if old != nil && old.addr == addr {
			continue
		}
		if old != nil {
			old.close()
		}
		nb := &broker{id: b.NodeID, addr: addr}
		for _, s := range c.seeds {
			if s.addr == addr {
				nb.conn, s.conn = s.conn, nil
			}
		}
		c.brokers[b.NodeID] = nb
	}
	for id, b := range c.brokers {
		if !seen[id] && len(res.Brokers) > 0 {
			b.close()
			delete(c.brokers, id)
		}
	}
	now := time.Now()
	c.controller, c.id = res.ControllerID, res.ClusterID
	for i := range res.Topics {
		if t := c.topics[res.Topics[i].Name]; t != nil {
			t.apply(&res.Topics[i], now, c.log)
		}
	}
	c.refreshed, c.stale = now, false
}

// control sends a request to the controller.
func (c *cluster) control(ctx context.Context, op string, req protocol.Message) (protocol.Message, error) {
	b := c.brokers[c.controller]
	if b == nil {
		return c.any(ctx, op, req)
	}
	res, _, err := c.request(ctx, b, req)
	if err != nil {
		c.stale = true
		return nil, netError(ctx, op, err)
	}
	return res, nil
}
