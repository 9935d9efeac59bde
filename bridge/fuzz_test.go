package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// depthOf returns how deep valid JSON nests.
func depthOf(raw []byte) int {
	depth, most, inside := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			depth++
			most = max(most, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return most
}

// FuzzParseNotification compares the parser with encoding/json.
func FuzzParseNotification(f *testing.F) {
	for _, s := range []string{
		sampleNotification, "", "null", "{}", `{"topic":"a"}`, `{"topic":"\u00e9\ud83d\ude00\ud800"}`, `{"topic":"a","topic":null}`,
		`{"topic":"a","object":{"id":"x"},"object":null,"context":{"environments":["a",1]}}`, "{\"topic\":\"\xff\"}",
		`{"topic":"a","x":[1,-0.5e+7,true,false,null,{"y":[]}]} `, `{"topic":"a"}{`, `{"t\u006fpic":"a"}`,
		`{"topic":"a","x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		n, err := ParseNotification(raw)
		if !bytes.Equal(before, raw) {
			t.Fatalf("raw was changed: %q, want %q", raw, before)
		}
		reason := ""
		if pe, ok := errors.AsType[*ParseError](err); ok {
			reason = pe.Reason
			if pe.Offset < 0 || pe.Offset > len(raw) {
				t.Errorf("offset %d of %d bytes", pe.Offset, len(raw))
			}
		}
		valid := json.Valid(raw)
		switch reason {
		case ReasonNotJSON, ReasonTrailing:
			if valid {
				t.Fatalf("%q: %s, but encoding/json takes it", raw, reason)
			}
			return
		case ReasonUTF8:
			if utf8.Valid(raw) {
				t.Fatalf("%q: %s, but it is UTF-8", raw, reason)
			}
			return
		case ReasonTooDeep:
			if valid && depthOf(raw) <= MaxDepth {
				t.Fatalf("%q: %s, but its depth is %d", raw, reason, depthOf(raw))
			}
			return
		}
		if !valid || !utf8.Valid(raw) || depthOf(raw) > MaxDepth {
			t.Fatalf("%q: parsed (%q), but valid JSON %v, UTF-8 %v, depth %d", raw, reason, valid, utf8.Valid(raw), depthOf(raw))
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
				t.Fatal(err)
			}
			return
		}
		top, isObject := v.(map[string]any)
		if isObject == (reason == ReasonNotObject) {
			t.Fatalf("%q: reason %q, but an object is %v", raw, reason, isObject)
		}
		topic, isString := top["topic"].(string)
		if want := isString && topic != ""; want != n.Parsed() || want != (err == nil) {
			t.Fatalf("%q: Parsed = %v, error %v, want %v", raw, n.Parsed(), err, want)
		}
		if !n.Parsed() {
			return
		}
		object, _ := top["object"].(map[string]any)
		context, _ := top["context"].(map[string]any)
		for field, want := range map[Field]any{
			FieldTopic: topic, FieldObject: object["id"], FieldState: object["state"], FieldStatePrevious: object["state_previous"],
			FieldError: object["error"], FieldHub: context["hub_id"], FieldAccount: context["account_id"], FieldLabel: context["label"],
			FieldEnvironment: first(context["environments"]), FieldCluster: first(context["clusters"]),
			FieldContainer: first(context["containers"]), FieldDNSZone: first(context["dns_zones"]),
			FieldVirtualMachine: first(context["virtual_machines"]),
		} {
			s, _ := want.(string)
			if got := string(n.Field(field)); got != s {
				t.Errorf("%q: field %d is %q, want %q", raw, field, got, s)
			}
		}
		for _, p := range []string{"$.topic", "$.object.state", "$.context.environments[0]", "$.context.environments[1]", "$.flags.x"} {
			checkPath(t, &n, p, top)
		}
	})
}

func first(list any) any {
	if l, ok := list.([]any); ok && len(l) > 0 {
		return l[0]
	}
	return nil
}

// checkPath compares a path's string with what encoding/json has there.
func checkPath(t *testing.T, n *Notification, text string, v any) {
	t.Helper()
	p, err := ParsePath(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range p.steps {
		if st.named {
			m, _ := v.(map[string]any)
			v = m[st.name]
		} else if l, _ := v.([]any); st.index < len(l) {
			v = l[st.index]
		} else {
			v = nil
		}
	}
	switch got := n.Path(p); v := v.(type) {
	case string:
		if string(got) != v {
			t.Errorf("%s of %q is %q, want %q", text, n.raw, got, v)
		}
	case bool, float64:
		if !json.Valid(got) || len(got) == 0 || got[0] == '"' {
			t.Errorf("%s of %q is %q, want the text of %v", text, n.raw, got, v)
		}
	default:
		if got != nil {
			t.Errorf("%s of %q is %q, want nothing", text, n.raw, got)
		}
	}
}

// naiveMatch turns a pattern into a regular expression.
func naiveMatch(pattern, topic string) bool {
	var b strings.Builder
	b.WriteString(`(?s)\A(?:`)
	if pattern == ">" {
		return true
	}
	inside := false
	for i := range len(pattern) {
		switch c := pattern[i]; c {
		case '*':
			b.WriteString(`[^.]*`)
		case '>':
			b.WriteString(`.*`)
		case '{':
			inside = true
			b.WriteString(`(?:`)
		case '}':
			inside = false
			b.WriteString(`)`)
		case ',':
			if !inside {
				return false
			}
			b.WriteString(`|`)
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		}
	}
	b.WriteString(`)\z`)
	return regexp.MustCompile(b.String()).MatchString(topic)
}

// FuzzPattern compares patterns with a naive matcher.
func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{
		{">", "a"},
		{"a.>", "a.b.c"},
		{"a.>", "a"},
		{"a.*.c", "a.b.c"},
		{"*", "a.b"},
		{"a.{b,c}.{,x}d", "a.c.d"},
		{"a.>", "a."},
		{"x{,s}{1,2}.>", "xs1.."},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, topic string) {
		p, err := ParsePattern(pattern)
		if err != nil {
			if e, ok := errors.AsType[*SyntaxError](err); !ok || e.Offset < 0 || e.Offset > len(pattern) {
				t.Errorf("ParsePattern(%q) = %v", pattern, err)
			}
			return
		}
		if p.String() != pattern {
			t.Errorf("String() = %q, want %q", p, pattern)
		}
		for i := range len(pattern + topic) {
			if (pattern + topic)[i] >= utf8.RuneSelf {
				return // regular expressions count characters, patterns bytes
			}
		}
		got := p.Match([]byte(topic))
		if want := naiveMatch(pattern, topic); topic != "" && got != want {
			t.Errorf("pattern %q, topic %q: %v, want %v", pattern, topic, got, want)
		}
		if !got && topic != "" && p.mismatch([]byte(topic)) == "" {
			t.Errorf("pattern %q, topic %q: no reason", pattern, topic)
		}
	})
}

// FuzzTemplate checks that whatever a payload holds, a template gives a legal
// destination, and that a template that parses gives nothing illegal.
func FuzzTemplate(f *testing.F) {
	f.Add("cycle.{hub}.{object}.{topic}", "a.b", "id", "label")
	f.Add("{family}-{kind}.{action}", "bridge.gap", "..", "_INBOX")
	f.Add(`x.{container|object|"none"}`, "a..b", "\r\n", "*.>")
	f.Add(`x{$.context.label}`, "a", "", "$JS")
	f.Add(`https://h/{object}?l={label}`, "a", "../..", "x&y=z")
	f.Fuzz(func(t *testing.T, text, topic, object, label string) {
		raw := appendJSONString([]byte(`{"topic":`), topic)
		raw = appendJSONString(append(raw, `,"object":{"id":`...), object)
		raw = appendJSONString(append(raw, `},"context":{"label":`...), label)
		raw = append(raw, `}}`...)
		e := newEvent(string(raw))
		e.Source = &Source{Origin: OriginHub, ID: object, Name: label}
		for kind := range DestinationURL + 1 {
			tmpl, err := ParseTemplate(text, kind)
			if err != nil {
				if se, ok := errors.AsType[*SyntaxError](err); !ok || se.Offset < 0 || se.Offset > len(text) {
					t.Errorf("ParseTemplate(%q, %s) = %v", text, kind, err)
				}
				continue
			}
			got := string(tmpl.Append([]byte("prefix "), e))
			rest, ok := strings.CutPrefix(got, "prefix ")
			if !ok {
				t.Fatalf("Append changed what stood before: %q", got)
			}
			checkDestination(t, kind, rest)
		}
	})
}

func checkDestination(t *testing.T, kind DestinationKind, s string) {
	t.Helper()
	switch kind {
	case DestinationSubject:
		if !legalSubject(s) {
			t.Errorf("%q is not a subject", s)
		}
	case DestinationKafka:
		if !legalKafkaTopic(s) {
			t.Errorf("%q is not a Kafka topic", s)
		}
	case DestinationURL:
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%q is not a URL", s)
		}
	}
}

// FuzzEscape checks that every escaping can be undone, and so is injective.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "_", "__consumer_offsets", ".", "..", "a.b", "_x", "a_x5f", "%", "%2E", "~", "é\x00\xff", "infrastructure.provider.*", " a "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		if len(v) > 50 {
			return // longer values may be cut, and then a hash tells them apart
		}
		for name, x := range map[string]*escaping{
			"subject": &subjectEscaping, "kafka": &kafkaEscaping, "url": &urlEscaping, "header": &headerEscaping,
		} {
			got := string(appendValue(nil, v, x, x.limit))
			if x == &headerEscaping {
				got = string(appendHeaderValue(nil, v))
			}
			if back, ok := unescape(got, x); !ok || back != v {
				t.Errorf("%s: %q became %q, and back %q (%v)", name, v, got, back, ok)
			}
			switch {
			case x == &subjectEscaping && (!legalSubject(got) || strings.Contains(got, ".")):
				t.Errorf("%q is not a subject token", got)
			case x == &kafkaEscaping && !legalKafkaTopic(got):
				t.Errorf("%q is not a Kafka topic", got)
			case x == &headerEscaping && strings.TrimSpace(got) != got:
				t.Errorf("header value %q would be trimmed", got)
			}
		}
		if got, ok := unescapeSegments(string(appendSegments(nil, []byte(v)))); v != "" && (!ok || got != v) {
			t.Errorf("topic %q came back as %q (%v)", v, got, ok)
		}
	})
}
