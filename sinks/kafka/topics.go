package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	segment "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	maxTopicName = 249
	// manyBrokers is from when on a single replica is refused: with so many
	// brokers it can only be an oversight.
	manyBrokers = 3
	// topicWait is how long a Kafka topic that was made may take to show.
	topicWait = 5 * time.Second
)

// Prepare checks all destinations, makes those that are missing if it may, and
// gets the producer id, so that what the settings lack shows at the start. It
// returns one KindMisconfigured error that names all that is missing.
func (s *Sink) Prepare(ctx context.Context, destinations []string) error {
	done, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if s.closed {
		return &bridge.Error{Op: "kafka prepare", Kind: bridge.KindCanceled, Err: bridge.ErrClosed}
	}
	var illegal []string
	var names []string
	for _, d := range destinations {
		if err := legalTopic(d); err != nil {
			illegal = append(illegal, fmt.Sprintf("%q", d))
			continue
		}
		if s.cluster.topics[d] == nil {
			s.cluster.topics[d] = newTopic(d)
		}
		s.cluster.topics[d].config.known = false
		names = append(names, d)
	}
	if len(illegal) > 0 {
		return &bridge.Error{
			Op: "kafka prepare", Kind: bridge.KindMisconfigured, Hint: "change the topic templates",
			Err: fmt.Errorf("not legal as Kafka topics: %s", strings.Join(illegal, ", ")),
		}
	}
	if err := s.cluster.refresh(ctx); err != nil {
		return err
	}
	if err := s.ensureTopics(ctx, names); err != nil {
		return err
	}
	if err := s.unusable(names); err != nil {
		return err
	}
	if err := s.checkAccess(ctx, names); err != nil {
		return err
	}
	s.warnWeak(names)
	return s.ensureProducer(ctx)
}

// legalTopic returns an error for a name that no broker takes.
func legalTopic(name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	if name == "" || name == "." || name == ".." || len(name) > maxTopicName || strings.ContainsFunc(name, bad) {
		return &bridge.Error{
			Op: "kafka publish", Kind: bridge.KindRejected, Hint: "check the topic template",
			Err: fmt.Errorf("%q is not legal as a Kafka topic", name[:min(len(name), maxTopicName)]),
		}
	}
	return nil
}

// usable returns why messages cannot be sent to a topic now, or nil.
func usable(t *topic, name string) error {
	if t == nil {
		return legalTopic(name)
	}
	switch {
	case t.code != 0 && t.err != nil:
		return t.err
	case t.code != 0:
		return codeError("kafka metadata of "+name, t.code, "")
	case len(t.parts) == 0:
		return bridge.Errorf(bridge.KindTransient, "kafka metadata of "+name, "no partitions yet")
	}
	return nil
}

// unusable sums up in one error what the topics lack.
func (s *Sink) unusable(names []string) error {
	var missing []string
	var errs []error
	for _, name := range names {
		t := s.cluster.topics[name]
		err := usable(t, name)
		switch {
		case err == nil:
		case segment.Error(t.code) == segment.UnknownTopicOrPartition && s.cfg.Create == createNever:
			missing = append(missing, name)
		default:
			errs = append(errs, err)
		}
	}
	if len(missing) > 0 {
		errs = append([]error{s.missingError(missing)}, errs...)
	}
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	all := &bridge.Error{Op: "kafka prepare", Kind: bridge.KindOf(errs[0]), Err: errors.Join(dedupe(errs)...)}
	for _, e := range errs {
		if bridge.KindOf(e) == bridge.KindMisconfigured {
			all.Kind = bridge.KindMisconfigured
		}
	}
	return all
}

// missingError names Kafka topics that do not exist, and how to make them.
func (s *Sink) missingError(names []string) error {
	var commands []string
	for _, n := range names {
		commands = append(commands, s.createCommand(n))
	}
	return &bridge.Error{
		Op: "kafka prepare", Kind: bridge.KindMisconfigured,
		Hint: "create them, or set create: missing: " + strings.Join(commands, "; "),
		Err:  fmt.Errorf("Kafka topics do not exist: %s", strings.Join(names, ", ")),
	}
}

func (s *Sink) createCommand(name string) string {
	partitions, replication := s.cfg.Partitions, s.cfg.Replication
	if partitions == 0 {
		partitions = 6
	}
	if replication == 0 {
		replication = max(1, min(manyBrokers, len(s.cluster.brokers)))
	}
	cmd := "kafka-topics.sh --bootstrap-server " + s.cfg.Brokers[0]
	if s.cfg.TLS.On() || s.cfg.SASL.On() {
		cmd += " --command-config client.properties"
	}
	return cmd + " --create --topic " + name + " --partitions " + strconv.Itoa(partitions) +
		" --replication-factor " + strconv.Itoa(replication)
}

// ensureTopics makes the missing ones among the topics if it may, and reads
// the configuration of those that are new. What is wrong with one topic is
// kept with it; the error returned concerns all.
func (s *Sink) ensureTopics(ctx context.Context, names []string) error {
	var missing []*topic
	var describe []string
	for _, name := range names {
		t := s.cluster.topics[name]
		if segment.Error(t.code) == segment.UnknownTopicOrPartition {
			missing = append(missing, t)
		}
		if !t.config.known {
			describe = append(describe, name)
		}
	}
	if len(missing) > 0 && s.cfg.Create == createNever {
		for _, t := range missing {
			t.err = s.missingError([]string{t.name})
		}
	} else if len(missing) > 0 {
		if err := s.createTopics(ctx, missing); err != nil {
			return err
		}
	}
	return s.describeTopics(ctx, describe)
}

// createTopics makes the topics and waits until they show.
func (s *Sink) createTopics(ctx context.Context, ts []*topic) error {
	const op = "kafka create topics"
	c := s.cluster
	refuse := func(how string) {
		for _, t := range ts {
			t.err = &bridge.Error{
				Op: op, Kind: bridge.KindMisconfigured, Hint: "set replication: 3, or create it by hand: " + s.createCommand(t.name),
				Err: fmt.Errorf("%s would have one replica (%s) on %d brokers: one broker's disk would hold the only copy", t.name, how, len(c.brokers)),
			}
		}
	}
	if s.cfg.Replication == 1 && len(c.brokers) >= manyBrokers {
		refuse("replication: 1")
		return nil
	}
	req := &createtopics.Request{TimeoutMs: int32(s.cfg.Timeout.Milliseconds())}
	for _, t := range ts {
		rt := createtopics.RequestTopic{Name: t.name, NumPartitions: -1, ReplicationFactor: -1}
		if s.cfg.Partitions > 0 {
			rt.NumPartitions = int32(s.cfg.Partitions)
		}
		if s.cfg.Replication > 0 {
			rt.ReplicationFactor = int16(s.cfg.Replication)
		}
		req.Topics = append(req.Topics, rt)
	}
	if s.cfg.Replication == 0 && len(c.brokers) >= manyBrokers {
		// What the brokers' default is shows in a trial without effect.
		trial := *req
		trial.Topics, trial.ValidateOnly = req.Topics[:1], true
		msg, err := c.control(ctx, op, &trial)
		if err != nil {
			return err
		}
		if res := msg.(*createtopics.Response); len(res.Topics) == 1 && res.Topics[0].ErrorCode == 0 && res.Topics[0].ReplicationFactor == 1 {
			refuse("default.replication.factor of the brokers")
			return nil
		}
	}
	msg, err := c.control(ctx, op, req)
	if err != nil {
		return err
	}
	var made []*topic
	for _, rt := range msg.(*createtopics.Response).Topics {
		t := c.topics[rt.Name]
		if t == nil {
			continue
		}
		switch segment.Error(rt.ErrorCode) {
		case 0, segment.TopicAlreadyExists:
			t.err = nil
			made = append(made, t)
		default:
			e := codeError("kafka create topic "+rt.Name, rt.ErrorCode, rt.ErrorMessage)
			e.Hint = strings.TrimPrefix(e.Hint+"; create it by hand: "+s.createCommand(rt.Name), "; ")
			t.err = e
			c.stale = c.stale || classify(rt.ErrorCode).stale
		}
	}
	return s.awaitTopics(ctx, made)
}

// awaitTopics waits until topics that were made have partitions with leaders.
func (s *Sink) awaitTopics(ctx context.Context, made []*topic) error {
	if len(made) == 0 {
		return nil
	}
	names := make([]string, len(made))
	for i, t := range made {
		names[i] = t.name
	}
	limit := time.Now().Add(topicWait)
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		if err := s.cluster.refresh(ctx); err != nil {
			return err
		}
		ready := !slices.ContainsFunc(made, func(t *topic) bool {
			return t.code != 0 || len(t.parts) == 0 || slices.ContainsFunc(t.parts, func(p *partition) bool { return p.leader < 0 })
		})
		if ready && s.leadersKnow(ctx, made) {
			s.log.Info("kafka topics created", "kafka_topics", strings.Join(names, " "))
			return nil
		}
		if time.Now().After(limit) {
			s.cluster.stale = true
			return nil // their messages get the metadata's error
		}
		if err := bridge.Sleep(ctx, wait); err != nil {
			return netError(ctx, "kafka create topics", err)
		}
	}
}

// leadersKnow reports whether the leaders of new partitions know that they
// are: a moment after the metadata says so.
func (s *Sink) leadersKnow(ctx context.Context, made []*topic) bool {
	byLeader := map[int32][]*partition{}
	for _, t := range made {
		for _, p := range t.parts {
			byLeader[p.leader] = append(byLeader[p.leader], p)
		}
	}
	for id, parts := range byLeader {
		b := s.cluster.brokers[id]
		if b == nil {
			return false
		}
		offsets, err := s.listOffsets(ctx, b, parts, latestOffset)
		if err != nil || slices.ContainsFunc(offsets, func(o offsetOrError) bool { return o.err != nil }) {
			return false
		}
	}
	return true
}

const resourceTopic = 2

// describeTopics reads the topics' limits. A user who may not read them gets
// the defaults: that is not an error.
func (s *Sink) describeTopics(ctx context.Context, names []string) error {
	req := &describeconfigs.Request{}
	for _, name := range names {
		t := s.cluster.topics[name]
		if t.code != 0 {
			continue
		}
		t.configured(t.config) // asked for once, whatever the answer
		req.Resources = append(req.Resources, describeconfigs.RequestResource{
			ResourceType: resourceTopic, ResourceName: name,
			ConfigNames: []string{"max.message.bytes", "min.insync.replicas"},
		})
	}
	if len(req.Resources) == 0 {
		return nil
	}
	msg, err := s.cluster.any(ctx, "kafka describe configs", req)
	if err != nil {
		if bridge.KindOf(err) == bridge.KindMisconfigured {
			return nil
		}
		for _, r := range req.Resources {
			s.cluster.topics[r.ResourceName].config.known = false
		}
		return err
	}
	for _, r := range msg.(*describeconfigs.Response).Resources {
		t := s.cluster.topics[r.ResourceName]
		if t == nil || r.ErrorCode != 0 {
			continue
		}
		var c topicConfig
		for _, e := range r.ConfigEntries {
			switch e.ConfigName {
			case "max.message.bytes":
				c.maxBytes, _ = strconv.Atoi(e.ConfigValue)
			case "min.insync.replicas":
				c.minInSync, _ = strconv.Atoi(e.ConfigValue)
			}
		}
		t.configured(c)
	}
	return nil
}

// warnWeak tells once of each topic that can lose acknowledged records when
// one broker fails, where there are brokers for better.
func (s *Sink) warnWeak(names []string) {
	var weak []string
	for _, name := range names {
		t := s.cluster.topics[name]
		if len(s.cluster.brokers) < manyBrokers || s.warned[name] || t.code != 0 {
			continue
		}
		if t.replication < manyBrokers || t.config.minInSync == 1 {
			s.warned[name] = true
			weak = append(weak, name)
		}
	}
	if len(weak) > 0 {
		s.log.Warn("kafka topics can lose acknowledged records with one broker: want replication 3 and min.insync.replicas 2",
			"kafka_topics", strings.Join(weak, " "))
	}
}
