package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/segmentio/kafka-go/compress"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// limits of one Publish. Measured against Kafka 4.1.1 on two cores with
// 400-byte events: from 2,000 messages on the broker is the limit (250-310
// thousand a second), and CPU an event does not fall any further.
var limits = bridge.Limits{Messages: 3000, Bytes: 2 << 20}

// Sink publishes to a Kafka cluster. Its methods may be called concurrently;
// they take turns.
type Sink struct {
	cfg   Config
	log   *slog.Logger
	codec compress.Codec

	turn chan struct{} // holds a token while nobody works; guards all that follows

	closed   bool
	cluster  *cluster
	producer producerID
	pool     batchPool
	warned   map[string]bool // topics whose weak replication was told

	// Of the Publish under way, kept for reuse.
	active  []*partition
	leaders map[int32][]*partition
}

// Open returns a sink that connects when it is first used. It returns a
// KindMisconfigured error when the configuration is not valid, or names files
// that cannot be read now.
func Open(_ context.Context, cfg Config, env bridge.Env) (*Sink, error) {
	if err := checkConfig(cfg); err != nil {
		return nil, err
	}
	codec, err := parseCompression(cfg.Compression)
	if err != nil {
		return nil, &bridge.Error{Op: "kafka open", Kind: bridge.KindMisconfigured, Err: err}
	}
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{
		cfg: cfg, log: log, codec: codec, turn: make(chan struct{}, 1),
		warned: map[string]bool{}, leaders: map[int32][]*partition{},
	}
	s.cluster = newCluster(&s.cfg, log)
	s.turn <- struct{}{}
	return s, nil
}

// checkConfig tells every mistake at once.
func checkConfig(cfg Config) error {
	fail := func(text string) error {
		return &bridge.Error{Op: "kafka open", Kind: bridge.KindMisconfigured, Err: fmt.Errorf("configuration: %s", text)}
	}
	var texts []string
	for _, m := range cfg.Validate() {
		texts = append(texts, m.Error())
	}
	if len(texts) > 0 {
		return fail(strings.Join(texts, "; "))
	}
	if _, err := cfg.TLS.Client(); err != nil {
		return fail("tls: " + err.Error())
	}
	if _, err := cfg.SASL.mechanism(); err != nil {
		return fail("sasl: " + err.Error())
	}
	return nil
}

// Limits returns how much one Publish should hold.
func (s *Sink) Limits() bridge.Limits { return limits }

// take waits for the sink to be free. The returned func gives it back.
func (s *Sink) take(ctx context.Context) (func(), error) {
	select {
	case <-s.turn:
		return func() { s.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, &bridge.Error{Op: "kafka", Kind: bridge.KindOf(ctx.Err()), Err: ctx.Err()}
	}
}

// Close ends all connections. Every batch has had its answer by then, or is
// in doubt and its messages are not settled: there is nothing to flush. It is
// idempotent, and waits for a Publish under way until ctx is done.
func (s *Sink) Close(ctx context.Context) error {
	done, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.closed = true
	s.cluster.close()
	return nil
}

var (
	_ bridge.Sink     = (*Sink)(nil)
	_ bridge.Limiter  = (*Sink)(nil)
	_ bridge.Preparer = (*Sink)(nil)
)
