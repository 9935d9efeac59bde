// Package nats is the sink that publishes core NATS messages, in order.
//
// The promise ends at the server: after the flush of a batch the server has
// taken every message, and gives it to whoever is subscribed in that moment.
// Nobody keeps it. After a connection that broke in the middle, the messages
// of that batch are published again, so a subscriber may see them twice. Use a
// jetstream sink where that is not enough.
package nats

import (
	"fmt"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/plan"
)

// Config is a sink of type nats.
type Config struct {
	natsconn.Config `yaml:",inline"`
	Subject         string  `yaml:"subject" doc:"template of the subject; the default of every route"`
	Key             string  `yaml:"key" doc:"template of the key that order is kept for; the default of every route"`
	Format          string  `yaml:"format" doc:"raw: the notification byte for byte; envelope: in a JSON envelope"`
	From            string  `yaml:"from" doc:"where a new sink begins: start or now; empty: start at the journal's first run, else now"`
	Route           []Route `yaml:"route" doc:"rules, the first match wins; none: everything matches"`
}

// Route is one rule of a NATS sink.
type Route = plan.SubjectRoute

// Defaults returns a Config with every default.
func Defaults() Config {
	return Config{Subject: "cycle.{hub}.{object}.{topic}", Key: "{object|topic}", Format: "raw"}
}

// Plan returns what the configuration says about routing and encoding.
func (c Config) Plan() bridge.Plan {
	return bridge.Plan{
		Kind: bridge.DestinationSubject, From: c.From, Format: c.Format, Destination: c.Subject, Key: c.Key,
		Rules: plan.SubjectRules(c.Route),
	}
}

// Validate returns everything that is wrong with the configuration and can
// be told without asking a server. Templates, patterns and conditions are
// checked by the router.
func (c Config) Validate() []setting.Mistake {
	out := c.Config.Validate()
	add := func(key, format string, args ...any) {
		out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if c.IsEmbedded() {
		add("url", "a nats sink on the embedded server has no use: whoever subscribes cycle.> there gets every event already; "+
			"use type: jetstream with url: embedded, or name another server")
	}
	if c.Domain != "" {
		add("domain", "belongs to JetStream: use type: jetstream")
	}
	if c.APIPrefix != "" {
		add("api_prefix", "belongs to JetStream: use type: jetstream")
	}
	return append(out, plan.Mistakes(c.Plan(), "subject")...)
}
