package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	segment "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Bits of the authorised operations in a metadata answer (KIP-430).
const (
	opRead     = 1 << 3
	opWrite    = 1 << 4
	opDescribe = 1 << 8
)

// Probe tries every configured broker, and what the user may do with the
// Kafka topics that the configuration names without placeholders. It writes
// nothing and takes no producer id. It returns every problem found, as one
// error with the Kind of the worst.
func Probe(ctx context.Context, cfg Config, env bridge.Env) error {
	s, err := Open(ctx, cfg, env)
	if err != nil {
		return err
	}
	defer s.cluster.close()
	var errs []error
	for _, b := range s.cluster.seeds {
		c, err := b.connect(ctx, &s.cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, key := range needed {
			if err := c.supports(key); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := s.probeTopics(ctx); err != nil {
		errs = append(errs, err)
	}
	errs = dedupe(errs)
	if len(errs) < 2 {
		return errors.Join(errs...)
	}
	worst := bridge.KindUnavailable
	for _, e := range errs {
		worst = max(worst, bridge.KindOf(e))
	}
	return &bridge.Error{Op: "kafka probe", Kind: worst, Err: errors.Join(errs...)}
}

func (s *Sink) probeTopics(ctx context.Context) error {
	names := s.cfg.fixedTopics()
	for _, n := range names {
		s.cluster.topics[n] = newTopic(n)
	}
	if err := s.cluster.refresh(ctx); err != nil {
		return err
	}
	var there, missing []string
	for _, n := range names {
		switch t := s.cluster.topics[n]; segment.Error(t.code) {
		case 0:
			there = append(there, n)
		case segment.UnknownTopicOrPartition:
			missing = append(missing, n)
		default:
			return codeError("kafka metadata of "+n, t.code, "")
		}
	}
	if len(missing) > 0 && s.cfg.Create == createNever {
		return s.missingError(missing)
	}
	return s.checkAccess(ctx, there)
}

// fixedTopics returns the Kafka topics that templates without placeholders name.
func (c Config) fixedTopics() []string {
	var names []string
	add := func(t string) {
		if t != "" && !strings.Contains(t, "{") && legalTopic(t) == nil && !slices.Contains(names, t) {
			names = append(names, t)
		}
	}
	for _, r := range c.Route {
		if r.Topic != "" {
			add(r.Topic)
		} else {
			add(c.Topic)
		}
	}
	if len(c.Route) == 0 {
		add(c.Topic)
	}
	return names
}

// checkAccess asks what the user may do with existing topics. Brokers without
// authorisation, and those before Kafka 2.3, do not tell; then nothing is wrong.
func (s *Sink) checkAccess(ctx context.Context, names []string) error {
	const op = "kafka check access"
	msg, err := s.cluster.any(ctx, op, &metadata.Request{
		TopicNames: append([]string{}, names...), IncludeTopicAuthorizedOperations: true,
	})
	if err != nil {
		return err
	}
	var refused, unread []string
	for _, t := range msg.(*metadata.Response).Topics {
		ops := t.TopicAuthorizedOperations
		if t.ErrorCode != 0 || ops == math.MinInt32 || ops == 0 {
			continue
		}
		for _, o := range []struct {
			bit  int32
			name string
		}{{opWrite, "WRITE"}, {opDescribe, "DESCRIBE"}} {
			if ops&o.bit == 0 {
				refused = append(refused, o.name+" on "+t.Name)
			}
		}
		if ops&opRead == 0 {
			unread = append(unread, t.Name)
		}
	}
	if len(unread) > 0 {
		s.log.Warn("kafka user may not READ these topics: should a broker ever forget the producer, the sink stops until it may",
			"kafka_topics", strings.Join(unread, " "))
	}
	if len(refused) == 0 {
		return nil
	}
	return &bridge.Error{
		Op: op, Kind: bridge.KindMisconfigured, Hint: hintTopicACL,
		Err: fmt.Errorf("the user lacks %s", strings.Join(refused, ", ")),
	}
}
