package bridge

import (
	"errors"
	"fmt"
	"slices"
)

// DestinationKind says for what a destination is escaped.
type DestinationKind uint8

// Kinds of destination.
const (
	DestinationNone    DestinationKind = iota // the sink has just one
	DestinationSubject                        // NATS subject
	DestinationKafka                          // Kafka topic
	DestinationURL
)

func (k DestinationKind) String() string {
	switch k {
	case DestinationNone:
		return "text"
	case DestinationSubject:
		return "subject"
	case DestinationKafka:
		return "Kafka topic"
	case DestinationURL:
		return "URL"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Rule is one route of a sink, as configured.
type Rule struct {
	Match       string // pattern over the topic
	When        string // CEL condition; "" means always
	Destination string // template
	Key         string // template
	Format      string // "" means the sink's
}

// Plan is what a sink's configuration says about routing and encoding.
type Plan struct {
	Kind   DestinationKind
	From   string // start, now
	Format string // raw, envelope
	Rules  []Rule // first match wins; empty: everything matches, with the sink's defaults below
	// Destination and Key are the defaults of rules that have none. An empty
	// Key means DefaultKey; `{""}` is the template for no key at all.
	Destination string
	Key         string
}

// DefaultKey keeps order for each object, and for each topic where there is none.
const DefaultKey = "{object|topic}"

// RouteError is a mistake in a Plan.
type RouteError struct {
	Rule  int    // index in Plan.Rules; -1 for the plan's own default
	Field string // match, when, destination, key or format
	Err   error
}

func (e *RouteError) Error() string {
	if e.Rule < 0 {
		return fmt.Sprintf("%s: %v", e.Field, e.Err)
	}
	return fmt.Sprintf("route[%d].%s: %v", e.Rule, e.Field, e.Err)
}

func (e *RouteError) Unwrap() error { return e.Err }

// Bounds of a Router's caches. When one is full it is cleared: the hub has
// about 240 topics, and what is cached is cheap to find again.
const (
	maxCachedTopics    = 4096
	maxCachedTopicLen  = 256
	maxInterned        = 16 << 10
	maxInternedLen     = 1024
	keyChunk           = 64 << 10
	maxDestinationsOut = 100_000
)

// Router chooses an event's rule, destination and key. Its cost does not grow
// with the number of rules: what a topic leads to is remembered. It is for one
// goroutine; Matches and Destinations do not touch what it remembers and may
// be called concurrently, as may Explain.
//
// The first rule that matches wins. Beside the topic, who made the event
// counts: a pattern that begins with the literal bridge matches only records
// of the bridge's own (OriginBridge), so that a notification whose topic
// pretends to be one is matched by wildcards alone. A frame that is not a
// notification is matched only by a pattern without wildcards that names
// bridge.unparsed.
type Router struct {
	kind     DestinationKind
	rules    []compiledRule
	implied  bool         // the plan had no rules
	topics   [2]topicMap  // by topic: of the bridge's own events, of all others
	unparsed []int        // candidates for frames that are not notifications
	dest     []byte       // scratch
	interned stringIntern // destinations
	keys     []byte       // the chunk that keys are appended to
}

// topicMap holds the rules that a topic can lead to: those that match, in
// order, up to and including the first without a condition.
type topicMap map[string][]int

type stringIntern map[string]string

type compiledRule struct {
	rule    Rule
	pattern *Pattern
	dest    *Template // nil for DestinationNone
	key     *Template
	format  Format
}

// NewRouter compiles a plan. known are topics to prepare for; others work as
// well. All mistakes are reported at once, joined, each a *RouteError.
func NewRouter(plan Plan, known []string) (*Router, error) {
	r := &Router{
		kind:     plan.Kind,
		topics:   [2]topicMap{make(topicMap), make(topicMap)},
		interned: make(stringIntern),
	}
	c := planCompiler{plan: plan}
	c.defaults()
	rules := plan.Rules
	if len(rules) == 0 {
		r.implied = true
		rules = []Rule{{Match: ">"}}
	}
	for i := range rules {
		r.rules = append(r.rules, c.compile(i, rules[i]))
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	r.unparsed = r.candidates(unparsedTopic, false, true)
	for _, topic := range known {
		if len(topic) <= maxCachedTopicLen && len(r.topics[0]) < maxCachedTopics {
			own := string(firstSegment([]byte(topic))) == bridgeFamily
			r.topics[index(own)][topic] = r.candidates([]byte(topic), own, false)
		}
	}
	return r, nil
}

// planCompiler collects the mistakes of a plan.
type planCompiler struct {
	plan   Plan
	dest   *Template
	key    *Template
	format Format
	errs   []error
}

func (c *planCompiler) fail(rule int, field string, err error) {
	c.errs = append(c.errs, &RouteError{Rule: rule, Field: field, Err: err})
}

func (c *planCompiler) defaults() {
	if c.plan.Key == "" {
		c.plan.Key = DefaultKey
	}
	c.dest = c.destination(-1, c.plan.Destination)
	c.key = c.template(-1, "key", c.plan.Key, DestinationNone)
	var err error
	if c.format, err = ParseFormat(c.plan.Format); err != nil {
		c.fail(-1, "format", err)
	}
	if c.plan.Kind != DestinationNone && c.plan.Destination == "" && len(c.plan.Rules) == 0 {
		c.fail(-1, "destination", fmt.Errorf("no %s", c.plan.Kind))
	}
}

func (c *planCompiler) template(rule int, field, text string, kind DestinationKind) *Template {
	t, err := ParseTemplate(text, kind)
	if err != nil {
		c.fail(rule, field, err)
	}
	return t
}

func (c *planCompiler) destination(rule int, text string) *Template {
	switch {
	case text == "":
		return nil
	case c.plan.Kind == DestinationNone:
		c.fail(rule, "destination", errors.New("this sink has just one destination"))
		return nil
	}
	return c.template(rule, "destination", text, c.plan.Kind)
}

func (c *planCompiler) compile(i int, rule Rule) compiledRule {
	out := compiledRule{rule: rule, dest: c.dest, key: c.key, format: c.format}
	var err error
	if out.pattern, err = ParsePattern(rule.Match); err != nil {
		c.fail(i, "match", err)
	}
	if rule.When != "" {
		c.fail(i, "when", errors.New("conditions (when) are not available in this version"))
	}
	switch {
	case rule.Destination != "":
		out.dest = c.destination(i, rule.Destination)
	case c.plan.Kind != DestinationNone && c.plan.Destination == "" && len(c.plan.Rules) > 0:
		c.fail(i, "destination", fmt.Errorf("no %s, and the sink has none for all routes", c.plan.Kind))
	}
	if rule.Key != "" {
		out.key = c.template(i, "key", rule.Key, DestinationNone)
	}
	if rule.Format != "" {
		if out.format, err = ParseFormat(rule.Format); err != nil {
			c.fail(i, "format", err)
		}
	}
	return out
}

// takes reports whether a rule's pattern takes an event with that topic. own
// tells that the bridge made it, frame that it is not a notification.
func (c *compiledRule) takes(topic []byte, own, frame bool) bool {
	switch {
	case frame:
		return c.pattern.literal() && c.pattern.Match(topic)
	case !own && !c.pattern.wildFirst() && string(firstSegment(topic)) == bridgeFamily:
		return false
	}
	return c.pattern.Match(topic)
}

func (r *Router) candidates(topic []byte, own, frame bool) []int {
	for i := range r.rules {
		if r.rules[i].takes(topic, own, frame) {
			// Rules with conditions will be listed before this one.
			return []int{i}
		}
	}
	return nil
}

// index returns the place of a topicMap.
func index(own bool) int {
	if own {
		return 1
	}
	return 0
}

// lookup returns the candidates for an event.
func (r *Router) lookup(e *Event) []int {
	if unparsed(e) {
		return r.unparsed
	}
	topic := e.Note.Topic()
	own := origin(e) == OriginBridge
	topics := r.topics[index(own)]
	found, ok := topics[string(topic)]
	if !ok {
		found = r.candidates(topic, own, false)
		if len(topic) <= maxCachedTopicLen {
			if len(topics) >= maxCachedTopics {
				clear(topics)
			}
			topics[string(topic)] = found
		}
	}
	return found
}

// Route returns the index of the rule that takes e. ok is false when none
// does. A plan without rules has one, that matches everything.
func (r *Router) Route(e *Event) (rule int, ok bool) {
	found := r.lookup(e)
	if len(found) == 0 {
		return 0, false
	}
	return found[0], true
}

// Format returns the format of a rule.
func (r *Router) Format(rule int) Format { return r.rules[rule].format }

// Address sets m's Destination and Key as a rule says. The key refers to the
// event's bytes or to memory that is never used again, so that it stays valid
// as long as it is referred to; it must not be changed.
func (r *Router) Address(rule int, e *Event, m *Message) {
	c := &r.rules[rule]
	m.Destination = ""
	if c.dest != nil {
		r.dest = c.dest.Append(r.dest[:0], e)
		m.Destination = r.intern(r.dest)
	}
	m.Key = r.key(c.key, e)
}

// Target routes e: it sets m's Destination and Key and returns the format to
// encode it in. ok is false when no rule takes e.
func (r *Router) Target(e *Event, m *Message) (f Format, ok bool) {
	rule, ok := r.Route(e)
	if !ok {
		return 0, false
	}
	r.Address(rule, e, m)
	return r.rules[rule].format, true
}

func (r *Router) key(t *Template, e *Event) []byte {
	if v, ok := t.view(e); ok {
		return v
	}
	if cap(r.keys)-len(r.keys) < keyChunk/16 {
		r.keys = make([]byte, 0, keyChunk)
	}
	start := len(r.keys)
	keys := t.Append(r.keys, e)
	if len(keys) == start {
		return nil
	}
	if len(keys) <= cap(r.keys) {
		r.keys = keys
	}
	return keys[start:len(keys):len(keys)]
}

// intern returns b as a string, the same one each time while it is remembered.
func (r *Router) intern(b []byte) string {
	if s, ok := r.interned[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(s) <= maxInternedLen {
		if len(r.interned) >= maxInterned {
			clear(r.interned)
		}
		r.interned[s] = s
	}
	return s
}

// Matches reports whether an event with that topic is routed. A topic of the
// bridge's own means its own event, TopicUnparsed a frame that is not a
// notification.
func (r *Router) Matches(topic string) bool {
	t := []byte(topic)
	frame := topic == TopicUnparsed
	own := !frame && string(firstSegment(t)) == bridgeFamily
	return slices.ContainsFunc(r.rules, func(c compiledRule) bool { return c.takes(t, own, frame) })
}
