// Package sinks is the table of the types of sink: what a configuration may
// name, and how each is opened and probed. There is no registration: a new
// sink is a new row here.
package sinks

import (
	"context"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/file"
	"github.com/cycle-bridge/cycle-bridge/sinks/jetstream"
	"github.com/cycle-bridge/cycle-bridge/sinks/kafka"
	"github.com/cycle-bridge/cycle-bridge/sinks/nats"
)

// Config is the configuration of one sink, beside its name and type.
type Config interface {
	// Validate returns every mistake that can be told without a connection.
	Validate() []setting.Mistake
	// Plan says how events are routed and encoded.
	Plan() bridge.Plan
}

// Type is a type of sink.
type Type struct {
	Name string
	Doc  string // one line, for the example file
	// New returns a pointer to a Config with the type's defaults.
	New func() Config
	// Open and Probe take what New returned. Probe tries the destination
	// and writes nothing there.
	Open  func(ctx context.Context, cfg Config, env bridge.Env) (bridge.Sink, error)
	Probe func(ctx context.Context, cfg Config, env bridge.Env) error
}

// Types returns every type of sink, in the order people are shown them.
func Types() []Type {
	return []Type{
		row("jetstream", "a NATS JetStream stream, each event once; url: embedded is the bridge's own server",
			jetstream.Defaults, jetstream.Open, jetstream.Probe),
		row("nats", "a NATS server, core publish: at most once", nats.Defaults, nats.Open, nats.Probe),
		row("kafka", "Apache Kafka and what speaks its protocol: idempotent, keyed by object", kafka.Defaults, kafka.Open, kafka.Probe),
		row("file", "JSON lines in a file, or on standard output", file.Defaults, file.Open, file.Probe),
	}
}

// ByName returns the type with that name.
func ByName(name string) (Type, bool) {
	for _, t := range Types() {
		if t.Name == name {
			return t, true
		}
	}
	return Type{}, false
}

// row fits one package's functions to the table. PC is *C. The sink it opens
// is typed S, so that a nil pointer never becomes a non-nil interface.
func row[C any, S bridge.Sink, PC interface {
	*C
	Config
}](name, doc string, defaults func() C,
	open func(context.Context, C, bridge.Env) (S, error), probe func(context.Context, C, bridge.Env) error,
) Type {
	return Type{
		Name: name, Doc: doc,
		New: func() Config { c := defaults(); return PC(&c) },
		Open: func(ctx context.Context, cfg Config, env bridge.Env) (bridge.Sink, error) {
			s, err := open(ctx, *cfg.(PC), env)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Probe: func(ctx context.Context, cfg Config, env bridge.Env) error {
			return probe(ctx, *cfg.(PC), env)
		},
	}
}
