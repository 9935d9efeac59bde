package jetstream

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/plan"
)

// Config is a sink of type jetstream.
type Config struct {
	natsconn.Config `yaml:",inline"`
	Stream          string  `yaml:"stream" doc:"the stream to publish into; CYCLE with url: embedded"`
	Subject         string  `yaml:"subject" doc:"template of the subject; the default of every route"`
	Exclusive       bool    `yaml:"exclusive" doc:"only this sink writes the stream; with url: embedded always"`
	Create          string  `yaml:"create" doc:"a stream that does not exist: missing creates it, never refuses to run without it"`
	Dedupe          string  `yaml:"dedupe" doc:"event: Nats-Msg-Id is the event id; sink: with the sink's name, for several sinks on one stream"`
	Key             string  `yaml:"key" doc:"template of the key that order is kept for; the default of every route"`
	Format          string  `yaml:"format" doc:"raw: the notification byte for byte; envelope: in a JSON envelope"`
	From            string  `yaml:"from" doc:"where a new sink begins: start or now; empty: start at the journal's first run, else now"`
	Route           []Route `yaml:"route" doc:"rules, the first match wins; none: everything matches"`
}

// Route is one rule of a JetStream sink.
type Route = plan.SubjectRoute

// Values of Config.Create and Config.Dedupe, and what the embedded stream is.
const (
	createMissing    = "missing"
	createNever      = "never"
	dedupeEvent      = "event"
	dedupeSink       = "sink"
	embeddedStream   = "CYCLE"
	embeddedSubjects = "cycle.>"
	defaultSubject   = "cycle.{hub}.{object}.{topic}"
	defaultKey       = "{object|topic}"
)

// Defaults returns a Config with every default.
func Defaults() Config {
	return Config{
		Subject: defaultSubject, Create: createNever, Dedupe: dedupeEvent, Key: defaultKey, Format: "raw",
	}
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
	switch {
	case c.IsEmbedded():
		if c.Stream != "" && c.Stream != embeddedStream {
			add("stream", "the embedded server has one stream, %s: remove the key", embeddedStream)
		}
		if c.Create == createMissing {
			add("create", "the embedded server makes its stream itself: remove the key")
		}
		for _, p := range c.patterns() {
			if !covers(embeddedSubjects, p) {
				add("subject", "%s is outside %s, which the embedded stream takes", p, embeddedSubjects)
			}
		}
	case c.Stream == "":
		add("stream", "required: the name of the stream to publish into")
	case strings.ContainsAny(c.Stream, " \t\r\n.*>/\\"):
		add("stream", "%q is not a stream's name: no white space and none of . * > / \\", c.Stream)
	}
	out = append(out, setting.OneOf("create", c.Create, createMissing, createNever)...)
	out = append(out, setting.OneOf("dedupe", c.Dedupe, dedupeEvent, dedupeSink)...)
	return append(out, plan.Mistakes(c.Plan(), "subject")...)
}

func (c Config) streamName() string {
	if c.IsEmbedded() {
		return embeddedStream
	}
	return c.Stream
}

func (c Config) exclusive() bool { return c.Exclusive || c.IsEmbedded() }

// patterns returns the subjects that the routes can produce, as
// subscriptions. They may be wider than what is produced, never narrower.
func (c Config) patterns() []string {
	var out []string
	add := func(template, match string) {
		if template == "" {
			template = c.Subject
		}
		if p := pattern(template, match); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(c.Route) == 0 {
		add("", ">")
	}
	for _, r := range c.Route {
		add(r.Subject, r.Match)
	}
	return out
}

// pattern turns a template into the subscription that takes all it produces
// for topics that match: a placeholder is one token, except {topic}.
func pattern(template, match string) string {
	var tokens []string
	for _, tok := range splitDots(template) {
		switch {
		case tok == "{topic}" && match != "":
			for _, m := range splitDots(match) {
				switch {
				case m == ">":
					return strings.Join(append(tokens, ">"), ".")
				case strings.Contains(m, "{"):
					m = "*"
				}
				tokens = append(tokens, m)
			}
		case strings.Contains(tok, "topic"):
			return strings.Join(append(tokens, ">"), ".")
		case strings.Contains(tok, "{"):
			tokens = append(tokens, "*")
		default:
			tokens = append(tokens, tok)
		}
	}
	return strings.Join(tokens, ".")
}

// splitDots splits at dots outside braces.
func splitDots(s string) []string {
	var out []string
	depth, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '.':
			if depth == 0 {
				out = append(out, s[start:i])
				start = i + 1
			}
		}
	}
	return append(out, s[start:])
}

// covers reports whether every subject that b matches is matched by a.
func covers(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i, t := range as {
		if t == ">" {
			return len(bs) > i
		}
		if i >= len(bs) || bs[i] == ">" {
			return false
		}
		if t != "*" && t != bs[i] {
			return false
		}
	}
	return len(as) == len(bs)
}

// overlaps reports whether some subject is matched by both.
func overlaps(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		switch {
		case i >= len(as) || i >= len(bs):
			return false
		case as[i] == ">" || bs[i] == ">":
			return true
		case as[i] != "*" && bs[i] != "*" && as[i] != bs[i]:
			return false
		}
	}
	return true
}
