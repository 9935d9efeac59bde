package bridge

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

func ownEvent(topic string) *Event {
	e := NewBridgeEvent(&Source{Origin: OriginBridge, Name: "b"}, topic, "o", "", MemberStopped, Stopped{Reason: "x"}, time.Unix(1, 0))
	return &e
}

func TestRouterFirstMatch(t *testing.T) {
	plan := Plan{
		Kind: DestinationSubject, Destination: "default.{topic}", Format: "envelope",
		Rules: []Rule{
			{Match: "container.instance.>", Destination: "ops.{cluster}.{topic}", Key: "{container}", Format: "raw"},
			{Match: "container.>", Key: `{""}`},
			{Match: "bridge.gap", Destination: "gaps"},
			{Match: "*.state.changed"},
		},
	}
	r := mustRouter(t, plan)
	type result struct {
		Rule        int
		OK          bool
		Destination string
		Key         string
		Format      Format
	}
	none := result{}
	for _, tt := range []struct {
		event *Event
		want  result
	}{
		{newEvent(sampleNotification), result{0, true, "ops.production.container.instance.state.changed", "con1", FormatRaw}},
		{topicEventOf("container.new"), result{1, true, "default.container.new", "", FormatEnvelope}},
		{topicEventOf("stack.state.changed"), result{3, true, "default.stack.state.changed", "stack.state.changed", FormatEnvelope}},
		{topicEventOf("stack.new"), none},
		{topicEventOf("bridge.gap"), none},
		{topicEventOf("bridge.state.changed"), result{3, true, "default.%62ridge.state.changed", "bridge.state.changed", FormatEnvelope}},
		{ownEvent(TopicGap), result{2, true, "gaps", "o", FormatEnvelope}},
		{ownEvent(TopicStarted), none},
		{newEvent("garbage"), none},
	} {
		for range 2 { // the second time from the cache
			var m Message
			rule, ok := r.Route(tt.event)
			format, routed := r.Target(tt.event, &m)
			got := result{rule, ok, m.Destination, string(m.Key), format}
			if diff := cmp.Diff(tt.want, got); diff != "" || ok != routed {
				t.Errorf("%.40q (-want +got, routed %v):\n%s", tt.event.Raw, routed, diff)
			}
			if ok && r.Format(rule) != format {
				t.Errorf("%.40q: Format(%d) = %s, want %s", tt.event.Raw, rule, r.Format(rule), format)
			}
			x := r.Explain(tt.event)
			if ok != (x.Rule >= 0) || ok && (x.Rule != rule || x.Destination != m.Destination || x.Key != string(m.Key) || x.Format != format) {
				t.Errorf("%.40q: Explain = %+v, Route = %d, %v, %+v", tt.event.Raw, x, rule, ok, m)
			}
		}
	}
}

// TestRouterOrigin: who made the event decides what a topic of the form
// bridge.… means.
func TestRouterOrigin(t *testing.T) {
	hub, own, frame := topicEventOf(TopicGap), ownEvent(TopicGap), newEvent("garbage")
	pretender := topicEventOf(TopicUnparsed)
	foreign := topicEventOf(TopicGap)
	foreign.Source = &Source{Origin: "webhook", ID: "s"}
	for _, tt := range []struct {
		match                               string
		hub, own, frame, pretender, foreign bool
	}{
		{"", true, true, false, true, true}, // no rules
		{">", true, true, false, true, true},
		{"*.>", true, true, false, true, true},
		{"*.gap", true, true, false, false, true},
		{"bridge.>", false, true, false, false, false},
		{"bridge.*", false, true, false, false, false},
		{"bridge.gap", false, true, false, false, false},
		{"{bridge,x}.gap", false, true, false, false, false},
		{"bridge.unparsed", false, false, true, false, false},
		{"bridge.{gap,unparsed}", false, true, true, false, false},
		{"*.unparsed", false, false, false, true, false},
		{"bridg{e,}.gap", false, true, false, false, false},
		{"container.>", false, false, false, false, false},
	} {
		plan := Plan{Kind: DestinationSubject, Destination: "x"}
		if tt.match != "" {
			plan.Rules = []Rule{{Match: tt.match}}
		}
		r := mustRouter(t, plan)
		for _, c := range []struct {
			name  string
			event *Event
			want  bool
		}{
			{"notification", hub, tt.hub},
			{"own event", own, tt.own},
			{"frame", frame, tt.frame},
			{"notification bridge.unparsed", pretender, tt.pretender},
			{"of another source", foreign, tt.foreign},
		} {
			if _, got := r.Route(c.event); got != c.want {
				t.Errorf("%q takes the %s: %v, want %v", tt.match, c.name, got, c.want)
			}
		}
		if got := r.Matches(TopicGap); got != tt.own {
			t.Errorf("%q: Matches(bridge.gap) = %v, want %v", tt.match, got, tt.own)
		}
		if got := r.Matches(TopicUnparsed); got != tt.frame {
			t.Errorf("%q: Matches(bridge.unparsed) = %v, want %v", tt.match, got, tt.frame)
		}
	}
}

func TestRouterErrors(t *testing.T) {
	_, err := NewRouter(Plan{
		Kind: DestinationKafka, Format: "xml", Key: "{objekt}",
		Rules: []Rule{
			{Match: "a..b", Destination: "x", When: "true"},
			{Match: ">", Destination: "{nope}", Key: "{", Format: "cloudevents"},
			{Match: ">"},
		},
	}, nil)
	type at struct {
		Rule  int
		Field string
	}
	var got []at
	joined, _ := err.(interface{ Unwrap() []error })
	if joined == nil {
		t.Fatalf("NewRouter = %v, want joined errors", err)
	}
	for _, err := range joined.Unwrap() {
		e, ok := errors.AsType[*RouteError](err)
		if !ok {
			t.Fatalf("%v is not a *RouteError", err)
		}
		got = append(got, at{e.Rule, e.Field})
	}
	want := []at{
		{-1, "key"}, {-1, "format"}, {0, "match"}, {0, "when"}, {1, "destination"}, {1, "key"}, {1, "format"}, {2, "destination"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
	for _, part := range []string{
		"route[0].match: \"a..b\": empty segment", "conditions (when) are not available", "want raw or envelope", `did you mean "object"`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in:\n%v", part, err)
		}
	}
	for name, plan := range map[string]Plan{
		"no destination":  {Kind: DestinationSubject},
		"one destination": {Kind: DestinationNone, Destination: "x"},
	} {
		if _, err := NewRouter(plan, nil); err == nil {
			t.Errorf("%s: NewRouter took %+v", name, plan)
		}
	}
	if _, err := NewRouter(Plan{Kind: DestinationSubject, Rules: []Rule{{Match: ">", Destination: "x"}}}, nil); err != nil {
		t.Errorf("a destination in every rule: %v", err)
	}
}

func TestRouterNone(t *testing.T) {
	r := mustRouter(t, Plan{Kind: DestinationNone})
	m := Message{Destination: "old", Key: []byte("old")}
	if _, ok := r.Target(newEvent(sampleNotification), &m); !ok || m.Destination != "" || string(m.Key) != "651586fca6078e98982dbd90" {
		t.Errorf("Target = %v, %+v", ok, m)
	}
}

// TestRouterKeysStay: a key is not overwritten by those of later messages.
func TestRouterKeysStay(t *testing.T) {
	r := mustRouter(t, Plan{Kind: DestinationNone, Key: "{hub_name}-{object}"})
	msgs := make([]Message, 10_000)
	for i := range msgs {
		r.Target(newEvent(fmt.Sprintf(`{"topic":"a","object":{"id":"%d"}}`, i)), &msgs[i])
	}
	long := strings.Repeat("x", 2*keyChunk)
	var big Message
	r.Target(newEvent(`{"topic":"a","object":{"id":"`+long+`"}}`), &big)
	for i := range msgs {
		if got, want := string(msgs[i].Key), fmt.Sprintf("production-%d", i); got != want {
			t.Fatalf("key %d is %q, want %q", i, got, want)
		}
	}
	if string(big.Key) != "production-"+long {
		t.Error("the long key is wrong")
	}
}

// TestRouterBounds: caches stay bounded whatever topics and objects come.
func TestRouterBounds(t *testing.T) {
	r := mustRouter(t, Plan{Kind: DestinationSubject, Destination: "c.{topic}.{object}"})
	for i := range maxInterned + 100 {
		var m Message
		e := newEvent(fmt.Sprintf(`{"topic":"t%d","object":{"id":"o"}}`, i))
		if _, ok := r.Target(e, &m); !ok || m.Destination != fmt.Sprintf("c.t%d.o", i) {
			t.Fatalf("event %d: %v, %q", i, ok, m.Destination)
		}
	}
	long := topicEventOf(strings.Repeat("x", 10_000))
	var m Message
	if _, ok := r.Target(long, &m); !ok {
		t.Error("a long topic is not routed")
	}
	if len(r.topics[0]) > maxCachedTopics || len(r.interned) > maxInterned {
		t.Errorf("%d topics and %d destinations are remembered", len(r.topics[0]), len(r.interned))
	}
	if _, ok := r.topics[0][string(long.Note.Topic())]; ok {
		t.Error("a long topic is remembered")
	}
}

func TestDestinations(t *testing.T) {
	known := []string{"container.new", "container.state.changed", "stack.new", "", TopicGap, TopicUnparsed}
	sources := []*Source{
		{Origin: OriginHub, ID: "h1", Name: "one"}, {Origin: "webhook", ID: "w", Name: "w"}, {Origin: OriginBridge, Name: "b"},
	}
	for _, tt := range []struct {
		name string
		plan Plan
		want []string
	}{
		{"family", Plan{Destination: "cycle.{family}"}, []string{"cycle.bridge", "cycle.container", "cycle.stack"}},
		{"source", Plan{Destination: "{hub}.{source}.{kind}", Rules: []Rule{{Match: "container.*"}, {Match: "bridge.gap"}}},
			[]string{"_.b.bridge", "h1.one.bridge", "h1.one.container", "w.w.bridge", "w.w.container"}},
		{"rules", Plan{Destination: "rest", Rules: []Rule{{Match: "container.new", Destination: "new"}, {Match: "container.>", Destination: "{object}"}, {Match: ">"}}},
			[]string{"new", "rest"}},
		{"frames", Plan{Destination: "x", Rules: []Rule{{Match: "bridge.unparsed", Destination: "bad-{hub}"}}}, []string{"bad-h1", "bad-w"}},
		{"payload", Plan{Destination: `{container|"none"}`}, nil},
	} {
		tt.plan.Kind = DestinationKafka
		got := mustRouter(t, tt.plan).Destinations(known, sources)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	all := mustRouter(t, Plan{Kind: DestinationKafka, Destination: "cycle.{topic}"}).Destinations(topics.Names(), nil)
	if len(all) != 236 {
		t.Errorf("%d Kafka topics for all known topics, want 236", len(all))
	}
}

func TestExplain(t *testing.T) {
	r := mustRouter(t, Plan{
		Kind: DestinationKafka, Destination: "cycle.{family}",
		Rules: []Rule{{Match: "stack.>"}, {Match: "container.*"}, {Match: "bridge.>"}, {Match: "container.instance.>", Key: "{hub}"}, {Match: ">"}},
	})
	got := r.Explain(newEvent(sampleNotification))
	want := Explanation{
		Rule: 3, Match: "container.instance.>", Destination: "cycle.container", DestinationTemplate: "cycle.{family}",
		Key: "5f1f1f1f1f1f1f1f1f1f1f1f", KeyTemplate: "{hub}",
		Rejected: []Rejection{
			{0, "stack.>", `segment 1 is "container", not stack`},
			{1, "container.*", "the topic has 4 segments, the pattern 2"},
			{2, "bridge.>", `segment 1 is "container", not bridge`},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("explanation (-want +got):\n%s", diff)
	}
	if got := r.Explain(topicEventOf("bridge.gap")); got.Rule != 4 || !strings.Contains(got.Rejected[2].Reason, "only the bridge's own") {
		t.Errorf("a pretender: %+v", got)
	}
	if got := r.Explain(newEvent("garbage")); got.Rule != -1 || !strings.Contains(got.Rejected[4].Reason, "not a notification") {
		t.Errorf("a frame: %+v", got)
	}
	implied := mustRouter(t, Plan{Kind: DestinationNone}).Explain(newEvent(sampleNotification))
	if !implied.Implied || implied.Rule != 0 || implied.KeyTemplate != DefaultKey {
		t.Errorf("without rules: %+v", implied)
	}
}
