package bridge

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

func TestTemplate(t *testing.T) {
	hub := newEvent(sampleNotification)
	bare := newEvent(`{"topic":"infrastructure.provider.*"}`)
	pretender := newEvent(`{"topic":"bridge.gap","object":{"id":"_"}}`)
	frame := newEvent("garbage")
	gap := NewBridgeEvent(&Source{Origin: OriginBridge, Name: "cycle-bridge"}, TopicGap, "5f1f", "5f1f", MemberGap, Gap{Reason: "start"}, time.Unix(1, 0))
	sourceless := newEvent(`{"topic":"a.b"}`)
	sourceless.Source = nil
	const subject, kafka, none, url = DestinationSubject, DestinationKafka, DestinationNone, DestinationURL
	for _, tt := range []struct {
		template string
		kind     DestinationKind
		event    *Event
		want     string
	}{
		{"cycle.{hub}.{object}.{topic}", subject, hub, "cycle.5f1f1f1f1f1f1f1f1f1f1f1f.651586fca6078e98982dbd90.container.instance.state.changed"},
		{"cycle.{hub}.{object}.{topic}", subject, bare, "cycle.5f1f1f1f1f1f1f1f1f1f1f1f._.infrastructure.provider.%2A"},
		{"cycle.{hub}.{object}.{topic}", subject, pretender, "cycle.5f1f1f1f1f1f1f1f1f1f1f1f.%5F.%62ridge.gap"},
		{"cycle.{hub}.{object}.{topic}", subject, frame, "cycle.5f1f1f1f1f1f1f1f1f1f1f1f._.bridge.unparsed"},
		{"cycle.{hub}.{object}.{topic}", subject, &gap, "cycle.5f1f.5f1f.bridge.gap"},
		{"cycle.{hub}.{hub_name}.{source}", subject, sourceless, "cycle._._._"},
		{"x.{hub_name}.{source}", subject, hub, "x.production.production"},
		{"{family}.{kind}.{action}", subject, hub, "container.container%2Einstance.state%2Echanged"},
		{"{family}.{kind}.{action}", subject, pretender, "%62ridge.%62ridge.gap"},
		{"{family}.{kind}.{action}", subject, &gap, "bridge.bridge.gap"},
		{"x{topic}x", subject, hub, "xcontainer.instance.state.changedx"},
		{"{object|topic}", subject, bare, "infrastructure%2Eprovider%2E%2A"},
		{"{state}.{state_previous}.{environment}.{cluster}.{container}.{dns_zone}.{virtual_machine}.{account}.{label}", subject, hub,
			"running.starting.env1.production.con1.zone1.vm1.acc.web"},
		{"{state}.{state_previous}.{environment}.{cluster}.{container}.{dns_zone}.{virtual_machine}.{account}.{label}", subject, bare,
			"_._._._._._._._._"},
		{"{$.context.environments[1]}.{ $.object.missing | object }", subject, hub, "env2.651586fca6078e98982dbd90"},
		{`{container|object|"none"}`, subject, hub, "con1"},
		{`{container|object|"none"}`, subject, pretender, "%5F"},
		{`{container|object|"none"}`, subject, bare, "none"},
		{`{$.context["a|b}"]|"x"}`, subject, hub, "x"},
		{"plain.subject", subject, hub, "plain.subject"},

		{"cycle.{family}", kafka, hub, "cycle.container"},
		{"cycle.{family}", kafka, pretender, "cycle._x62ridge"},
		{"cycle.{family}", kafka, &gap, "cycle.bridge"},
		{"cycle.{family}", kafka, frame, "cycle.bridge"},
		{"{topic}", kafka, hub, "container.instance.state.changed"},
		{"{topic}", kafka, bare, "infrastructure.provider._x2a"},
		{"{object}{state}", kafka, bare, "__"},
		{"{object}", kafka, pretender, "_x5f"},
		{"{object}", kafka, newEvent(`{"topic":"a","object":{"id":".."}}`), "_x2e."},

		{"{object|topic}", none, hub, "651586fca6078e98982dbd90"},
		{"{object|topic}", none, bare, "infrastructure.provider.*"},
		{"{object}-{state}", none, bare, "-"},
		{"{topic}", none, pretender, "bridge.gap"},
		{"", none, hub, ""},
		{`{""}`, none, hub, ""},
		{"any text. *>", none, hub, "any text. *>"},

		{"https://example.com/{object}?l={label}&s={state}", url, hub, "https://example.com/651586fca6078e98982dbd90?l=web&s=running"},
		{"https://example.com/{object}/x", url, newEvent(`{"topic":"a","object":{"id":"../b?c"}}`), "https://example.com/..%2Fb%3Fc/x"},
		{"https://example.com/{object}/x", url, newEvent(`{"topic":"a","object":{"id":".."}}`), "https://example.com/%2E%2E/x"},
		{"https://example.com/{object}/x", url, bare, "https://example.com//x"},
		{"https://example.com/all", url, bare, "https://example.com/all"},
	} {
		tmpl, err := ParseTemplate(tt.template, tt.kind)
		if err != nil {
			t.Errorf("ParseTemplate(%q, %s): %v", tt.template, tt.kind, err)
			continue
		}
		got := string(tmpl.Append([]byte("keep"), tt.event))
		if got != "keep"+tt.want {
			t.Errorf("%s %q of %.30q: %q, want %q", tt.kind, tt.template, tt.event.Raw, got, "keep"+tt.want)
		}
		checkDestination(t, tt.kind, tt.want)
	}
}

func TestTemplateLong(t *testing.T) {
	long := newEvent(`{"topic":"` + strings.Repeat("topic.", 100) + `a","object":{"id":"` + strings.Repeat("%", 1<<20) + `"},"context":{"label":"` + strings.Repeat("l", 150) + `","account_id":"` + strings.Repeat("a", 150) + `"}}`)
	other := newEvent(strings.Replace(string(long.Raw), `"aaa`, `"baa`, 1))
	for _, tt := range []struct {
		template string
		kind     DestinationKind
	}{
		{"{label}-{account}", DestinationKafka},
		{"{topic}.{object}.{account}", DestinationKafka},
		{"{topic}.{object}.{label}.{account}", DestinationSubject},
		{"https://h/{topic}/{object}?{label}{account}", DestinationURL},
	} {
		tmpl, err := ParseTemplate(tt.template, tt.kind)
		if err != nil {
			t.Fatal(err)
		}
		got := string(tmpl.Append(nil, long))
		checkDestination(t, tt.kind, got)
		if len(got) > 4000 {
			t.Errorf("%s %q: %d bytes", tt.kind, tt.template, len(got))
		}
		if again := string(tmpl.Append(nil, other)); again == got {
			t.Errorf("%s %q: two events at %q", tt.kind, tt.template, got)
		}
	}
	tmpl, err := ParseTemplate("{label}", DestinationKafka)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tmpl.Append(nil, long)); got != strings.Repeat("l", 150) {
		t.Errorf("a Kafka topic that fits was changed to %q", got)
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, tt := range []struct {
		template string
		kind     DestinationKind
		offset   int
		msg      string
	}{
		{"cycle.{hubb}", DestinationSubject, 7, `did you mean "hub"`},
		{"cycle.{objet}", DestinationKafka, 7, `did you mean "object"`},
		{"{environmnt}", DestinationNone, 1, `did you mean "environment"`},
		{"{quite_other}", DestinationNone, 1, "known are account action"},
		{"{error}", DestinationNone, 1, "unknown name"},
		{"{HUB}", DestinationNone, 1, "unknown name"},
		{"{}", DestinationNone, 1, "empty placeholder"},
		{"{hub|}", DestinationNone, 5, "empty placeholder"},
		{"a{hub", DestinationNone, 1, "{ without }"},
		{"a}", DestinationNone, 1, "} without {"},
		{"{a{hub}}", DestinationNone, 2, "{ inside braces"},
		{`{"a"b"}`, DestinationNone, 0, "{ without }"},
		{`{"a"b}`, DestinationNone, 1, "between two quotes"},
		{"{$.a[}", DestinationNone, 5, "want an index"},
		{"{hub|$a}", DestinationNone, 6, "want . or ["},
		{"", DestinationSubject, 0, "empty subject"},
		{"", DestinationKafka, 0, "empty Kafka topic"},
		{".a", DestinationSubject, 0, "empty token"},
		{"a..b", DestinationSubject, 2, "empty token"},
		{"a.", DestinationSubject, 2, "empty token"},
		{"{hub}..b", DestinationSubject, 6, "empty token"},
		{"a.{hub}.", DestinationSubject, 8, "empty token"},
		{"a.*.b", DestinationSubject, 2, "wildcard"},
		{"a.{hub}.>", DestinationSubject, 8, "wildcard"},
		{"a b", DestinationSubject, 1, "without spaces"},
		{"{hub}.a\r\nb", DestinationSubject, 7, "without spaces"},
		{"é", DestinationSubject, 0, "printable ASCII"},
		{"$JS.API.{hub}", DestinationSubject, 0, "belong to the NATS server"},
		{`a.{hub|"b.c"}`, DestinationSubject, 9, "cannot stand in a subject"},
		{`a.{hub|""}`, DestinationSubject, 7, "empty text"},
		{strings.Repeat("{topic}", 8), DestinationSubject, 0, "could become"},
		{"a/b", DestinationKafka, 1, "a Kafka topic is made of"},
		{"{hub} b", DestinationKafka, 5, "a Kafka topic is made of"},
		{`{hub|"*"}`, DestinationKafka, 6, "cannot stand in a Kafka topic"},
		{`{hub|".."}`, DestinationKafka, 5, "alone cannot stand"},
		{".", DestinationKafka, 0, "is not a Kafka topic"},
		{"..", DestinationKafka, 0, "is not a Kafka topic"},
		{strings.Repeat("a", 250), DestinationKafka, 0, "at most 249"},
		{"ftp://h/", DestinationURL, 0, "https:// or http://"},
		{"{hub}", DestinationURL, 0, "https:// or http://"},
		{"https://{label}/x", DestinationURL, 8, "part of the host"},
		{"https://h{label}", DestinationURL, 9, "part of the host"},
		{"https:///x", DestinationURL, 8, "not a URL with a host"},
		{"https://user:secret@h/{hub}", DestinationURL, 8, "no user and password"},
		{"https://h/{hub}#x", DestinationURL, 15, "#"},
		{"https://h/a secret", DestinationURL, 11, "without spaces"},
	} {
		_, err := ParseTemplate(tt.template, tt.kind)
		e, ok := errors.AsType[*SyntaxError](err)
		if !ok {
			t.Errorf("ParseTemplate(%q, %s) = %v, want a *SyntaxError", tt.template, tt.kind, err)
			continue
		}
		if e.Offset != tt.offset || !strings.Contains(e.Msg, tt.msg) {
			t.Errorf("ParseTemplate(%q, %s): %q at %d, want %q at %d", tt.template, tt.kind, e.Msg, e.Offset, tt.msg, tt.offset)
		}
		if tt.kind == DestinationURL && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error quotes a URL: %v", err)
		}
	}
}

// TestTemplateKnownTopics: every known topic has a subject and a Kafka topic
// of its own.
func TestTemplateKnownTopics(t *testing.T) {
	for _, kind := range []DestinationKind{DestinationSubject, DestinationKafka} {
		tmpl, err := ParseTemplate("cycle.{topic}", kind)
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]string)
		for _, name := range append(topics.Names(), OwnTopics()...) {
			got := string(tmpl.Append(nil, topicEventOf(name)))
			checkDestination(t, kind, got)
			if other, ok := seen[got]; ok {
				t.Errorf("%s and %s have the same %s %q", other, name, kind, got)
			}
			seen[got] = name
			if !strings.ContainsAny(name, "*") && !strings.HasPrefix(name, "bridge.") && got != "cycle."+name {
				t.Errorf("%s has the %s %q", name, kind, got)
			}
		}
	}
}
