package bridge

import (
	"maps"
	"slices"
	"strings"
)

// Explanation tells people where an event goes, and why.
type Explanation struct {
	Rule                int         // index of the rule that took it; -1 when none did
	Implied             bool        // the sink has no rules: everything matches
	Match               string      // the rule's pattern
	Rejected            []Rejection // the rules before it, or all
	Destination         string
	DestinationTemplate string
	Key                 string
	KeyTemplate         string
	Format              Format
}

// Rejection tells why a rule did not match.
type Rejection struct {
	Rule   int
	Match  string
	Reason string
}

// Explain tells what Route and Address do with e.
func (r *Router) Explain(e *Event) Explanation {
	topic, pretends := topicOf(e)
	own, frame := origin(e) == OriginBridge, unparsed(e)
	x := Explanation{Rule: -1, Implied: r.implied}
	for i := range r.rules {
		c := &r.rules[i]
		if !c.takes(topic, own, frame) {
			reason := "only the bridge's own events match a pattern that begins with bridge: this one comes from a source"
			switch {
			case frame && c.pattern.Match(topic):
				reason = "a frame that is not a notification is taken only by a route that names bridge.unparsed"
			case !pretends || !c.pattern.Match(topic):
				reason = c.pattern.mismatch(topic)
			}
			x.Rejected = append(x.Rejected, Rejection{Rule: i, Match: c.rule.Match, Reason: reason})
			continue
		}
		x.Rule, x.Match, x.Format = i, c.pattern.String(), c.format
		if c.dest != nil {
			x.Destination, x.DestinationTemplate = string(c.dest.Append(nil, e)), c.dest.String()
		}
		x.Key, x.KeyTemplate = string(c.key.Append(nil, e)), c.key.String()
		return x
	}
	return x
}

// Destinations returns every destination that events with these topics from
// these sources can have, sorted, where that can be told beforehand: where the
// rule's template depends on nothing else than topic and source. Topics of the
// bridge's own count as its own events about each source, and, with
// TopicUnparsed, as frames of it. It lists at most 100,000.
func (r *Router) Destinations(topics []string, sources []*Source) []string {
	out := make(map[string]bool)
	for _, topic := range topics {
		if topic == "" {
			continue
		}
		frame := topic == TopicUnparsed
		own := !frame && (topic == bridgeFamily || strings.HasPrefix(topic, bridgeFamily+"."))
		found := r.candidates([]byte(topic), own, frame)
		for _, i := range found {
			t := r.rules[i].dest
			if t == nil || t.in&fromPayload != 0 {
				continue
			}
			e := topicEvent(topic)
			for _, src := range sourcesFor(t, own, sources) {
				if e.Source = src; len(out) < maxDestinationsOut {
					out[string(t.Append(nil, &e))] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// topicEvent returns an event that has a topic and nothing else.
func topicEvent(topic string) Event {
	if topic == TopicUnparsed {
		return Event{Flags: FlagUnparsed}
	}
	raw := appendJSONString([]byte(`{"topic":`), topic)
	raw = append(raw, '}')
	note, err := ParseNotification(raw)
	if err != nil { // an empty topic
		return Event{Flags: FlagUnparsed}
	}
	return Event{Raw: raw, Note: note}
}

// sourcesFor returns the sources that an event can carry, or one that stands
// for all where the template does not ask.
func sourcesFor(t *Template, own bool, sources []*Source) []*Source {
	if t.in&fromSource == 0 {
		if own {
			return []*Source{{Origin: OriginBridge}}
		}
		return []*Source{{Origin: OriginHub}}
	}
	var out []*Source
	for _, s := range sources {
		switch {
		case own && s.Origin != OriginBridge:
			out = append(out, &Source{Origin: OriginBridge, ID: s.ID, Name: s.Name})
		case own || s.Origin != OriginBridge:
			out = append(out, s)
		}
	}
	return out
}
