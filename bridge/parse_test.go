package bridge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

const sampleNotification = `{"topic":"container.instance.state.changed","object":{"id":"651586fca6078e98982dbd90",` +
	`"state":"running","state_previous":"starting","error":"oom"},"context":{"label":"web","hub_id":"5f1f1f1f1f1f1f1f1f1f1f1f",` +
	`"account_id":"acc","environments":["env1","env2"],"dns_zones":["zone1"],"clusters":["production"],` +
	`"containers":["con1"],"virtual_machines":["vm1"]},"flags":null}`

// fieldsOf returns the fields that are not empty.
func fieldsOf(n *Notification) map[Field]string {
	out := make(map[Field]string)
	for f := range numFields {
		if v := n.Field(f); v != nil {
			out[f] = string(v)
		}
	}
	return out
}

func TestParseNotification(t *testing.T) {
	topic := map[Field]string{FieldTopic: "a.b"}
	with := func(f Field, v string) map[Field]string { return map[Field]string{FieldTopic: "a.b", f: v} }
	for _, tt := range []struct {
		name, raw string
		want      map[Field]string
		dup       bool
	}{
		{"all fields", sampleNotification, map[Field]string{
			FieldTopic: "container.instance.state.changed", FieldObject: "651586fca6078e98982dbd90", FieldState: "running",
			FieldStatePrevious: "starting", FieldError: "oom", FieldHub: "5f1f1f1f1f1f1f1f1f1f1f1f", FieldAccount: "acc",
			FieldLabel: "web", FieldEnvironment: "env1", FieldCluster: "production", FieldContainer: "con1",
			FieldDNSZone: "zone1", FieldVirtualMachine: "vm1",
		}, false},
		{"topic alone", `{"topic":"a.b"}`, topic, false},
		{"white space", " \t\r\n{ \"topic\" :\n\"a.b\" , \"object\" : { } , \"context\" : { \"environments\" : [ ] } } \n", topic, false},
		{"nulls", `{"topic":"a.b","object":null,"context":null}`, topic, false},
		{"null members", `{"topic":"a.b","object":{"id":null,"state":null},"context":{"hub_id":null,"environments":null}}`, topic, false},
		{"wrong types", `{"topic":"a.b","object":{"id":17,"state":{"id":"x"},"error":["x"]},"context":{"label":true,"environments":"e","clusters":{"0":"x"}}}`, topic, false},
		{"object is a list", `{"topic":"a.b","object":["id","x"],"context":"context"}`, topic, false},
		{"list of others", `{"topic":"a.b","context":{"environments":[null,"e"],"clusters":[1],"containers":[["c"]],"dns_zones":[{"a":"z"}]}}`, topic, false},
		{"string first", `{"topic":"a.b","context":{"environments":["e",5,null]}}`, with(FieldEnvironment, "e"), false},
		{"empty strings", `{"topic":"a.b","object":{"id":""},"context":{"environments":[""]}}`, topic, false},
		{"names are exact", `{"Topic":"x","TOPIC":"x","topic":"a.b","Object":{"id":"x"},"object":{"ID":"x"}}`, topic, false},
		{"members in other places", `{"id":"x","hub_id":"h","topic":"a.b","object":{"topic":"x","hub_id":"h"},"context":{"id":"x"},"flags":{"topic":"x"}}`, topic, false},
		{"flags as object", `{"topic":"a.b","flags":{"quiet":true}}`, topic, false},
		{"flags as list", `{"topic":"a.b","flags":[{"quiet":true}]}`, topic, false},
		{"escaped name", `{"\u0074opic":"a.b","object":{"i\u0064":"x"}}`, with(FieldObject, "x"), false},
		{"escaped value", `{"topic":"a\u002eb","object":{"id":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}}`, with(FieldObject, "\"\\/\b\f\n\r\té😀"), false},
		{"lone surrogates", `{"topic":"a.b","object":{"id":"\ud800x\udc00\ud800\u0041"}}`, with(FieldObject, "\ufffdx\ufffd\ufffdA"), false},
		{"last topic", `{"topic":"x","topic":"a.b"}`, topic, true},
		{"last topic after escapes", `{"topic":"\u0078","topic":"a.b"}`, topic, true},
		{"last id", `{"topic":"a.b","object":{"id":"x","id":"y"}}`, with(FieldObject, "y"), true},
		{"last id null", `{"topic":"a.b","object":{"id":"x","id":null}}`, topic, true},
		{"last object", `{"topic":"a.b","object":{"id":"x","state":"s"},"object":{"id":"y"}}`, with(FieldObject, "y"), true},
		{"last context null", `{"topic":"a.b","context":{"label":"x"},"context":null}`, topic, true},
		{"last list", `{"topic":"a.b","context":{"environments":["x"],"environments":[]}}`, topic, true},
		{"others twice", `{"topic":"a.b","x":1,"x":2,"flags":1,"flags":2}`, topic, false},
		{"deepest", `{"topic":"a.b","x":` + strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1) + `}`, topic, false},
		{"numbers", `{"topic":"a.b","x":[0,-0,1.5,1e400,-1E-7,12345678901234567890123,0.0e+0]}`, topic, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := []byte(tt.raw)
			n, err := ParseNotification(raw)
			if err != nil {
				t.Fatalf("ParseNotification: %v", err)
			}
			if diff := cmp.Diff(tt.want, fieldsOf(&n)); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if got := n.Duplicates(); got != tt.dup {
				t.Errorf("Duplicates = %v, want %v", got, tt.dup)
			}
			if !n.Parsed() {
				t.Error("Parsed = false")
			}
			if string(raw) != tt.raw {
				t.Errorf("raw was changed to %q", raw)
			}
		})
	}
}

func TestNotificationAccessors(t *testing.T) {
	n, err := ParseNotification([]byte(sampleNotification))
	if err != nil {
		t.Fatal(err)
	}
	for f, got := range map[Field][]byte{
		FieldTopic: n.Topic(), FieldObject: n.Object(), FieldState: n.State(), FieldStatePrevious: n.StatePrevious(),
		FieldError: n.Error(), FieldHub: n.Hub(), FieldAccount: n.Account(), FieldLabel: n.Label(),
		FieldEnvironment: n.Environment(), FieldCluster: n.Cluster(), FieldContainer: n.Container(),
		FieldDNSZone: n.DNSZone(), FieldVirtualMachine: n.VirtualMachine(),
	} {
		if want := n.Field(f); len(want) == 0 || !bytes.Equal(got, want) {
			t.Errorf("field %d: got %q, want %q", f, got, want)
		}
	}
	if got := n.Field(numFields); got != nil {
		t.Errorf("a field that does not exist is %q", got)
	}
	var zero Notification
	if zero.Parsed() || zero.Topic() != nil || zero.Duplicates() {
		t.Error("the zero Notification is not empty")
	}
	if size := unsafe.Sizeof(n); size > 160 {
		t.Errorf("a Notification has %d bytes, want at most 160: each event holds one", size)
	}
}

func TestParseNotificationErrors(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth)
	for _, tt := range []struct {
		raw    string
		reason string
		offset int
	}{
		{"", ReasonNotJSON, 0},
		{"  ", ReasonNotJSON, 2},
		{"hello", ReasonNotJSON, 0},
		{"\xef\xbb\xbf{\"topic\":\"a\"}", ReasonNotJSON, 0},
		{`{"topic":"a"`, ReasonNotJSON, 12},
		{`{"topic":"a",}`, ReasonNotJSON, 13},
		{`{"topic" "a"}`, ReasonNotJSON, 9},
		{`{topic:"a"}`, ReasonNotJSON, 1},
		{`{"topic":'a'}`, ReasonNotJSON, 9},
		{`{"topic":"a","x":NaN}`, ReasonNotJSON, 17},
		{`{"topic":"a","x":nul}`, ReasonNotJSON, 17},
		{`{"topic":"a","x":01}`, ReasonNotJSON, 18},
		{`{"topic":"a","x":-}`, ReasonNotJSON, 18},
		{`{"topic":"a","x":1.}`, ReasonNotJSON, 19},
		{`{"topic":"a","x":1e}`, ReasonNotJSON, 19},
		{`{"topic":"a","x":[1,]}`, ReasonNotJSON, 20},
		{`{"topic":"a","x":[1}`, ReasonNotJSON, 19},
		{"{\"topic\":\"a\nb\"}", ReasonNotJSON, 11},
		{"{\"topic\":\"a\x00b\"}", ReasonNotJSON, 11},
		{"{\"topic\":\"a\"\x00}", ReasonNotJSON, 12},
		{`{"topic":"a\x"}`, ReasonNotJSON, 11},
		{`{"topic":"a\u12g4"}`, ReasonNotJSON, 11},
		{`{"topic":"a\`, ReasonNotJSON, 11},
		{`{"topic":"a"} {"topic":"b"}`, ReasonTrailing, 14},
		{`{"topic":"a"}x`, ReasonTrailing, 13},
		{`[{"topic":"a"}]`, ReasonNotObject, 0},
		{` "topic"`, ReasonNotObject, 0},
		{`12`, ReasonNotObject, 0},
		{`12 13`, ReasonTrailing, 3},
		{`null`, ReasonNotObject, 0},
		{`{"topic":"a","x":` + deep + strings.Repeat("]", MaxDepth) + `}`, ReasonTooDeep, 17 + MaxDepth - 1},
		{`{"topic":"a","object":` + strings.Repeat(`{"id":`, MaxDepth), ReasonTooDeep, 22 + 6*(MaxDepth-1)},
		{"{\"topic\":\"a\xff\"}", ReasonUTF8, 10},
		{"{\"topic\":\"a\",\"x\":[\"\xed\xa0\x80\"]}", ReasonUTF8, 19},
		{`{}`, ReasonNoTopic, 0},
		{`{"object":{"topic":"a"}}`, ReasonNoTopic, 0},
		{`{"topic":""}`, ReasonEmpty, 9},
		{`{"topic":null}`, ReasonTopicType, 9},
		{`{"topic":7}`, ReasonTopicType, 9},
		{`{"topic":["a"]}`, ReasonTopicType, 9},
		{`{"topic":"a","topic":{}}`, ReasonTopicType, 21},
		{`{"topic":"a","topic":""}`, ReasonEmpty, 21},
	} {
		t.Run(tt.raw[:min(len(tt.raw), 40)], func(t *testing.T) {
			n, err := ParseNotification([]byte(tt.raw))
			pe, ok := errors.AsType[*ParseError](err)
			if !ok {
				t.Fatalf("ParseNotification = %v, want a *ParseError", err)
			}
			if diff := cmp.Diff(ParseError{Offset: tt.offset, Reason: tt.reason}, *pe); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if n.Parsed() || len(fieldsOf(&n)) != 0 {
				t.Errorf("fields %v, want the zero Notification", fieldsOf(&n))
			}
			if got := err.Error(); !strings.Contains(got, tt.reason) {
				t.Errorf("Error() = %q, want the reason in it", got)
			}
		})
	}
}

// TestBadFrames has the cases of facts/reliability.md §4 by number, as far as
// parsing, routing and encoding decide them.
func TestBadFrames(t *testing.T) {
	router := mustRouter(t, Plan{Kind: DestinationSubject, Destination: "cycle.{hub}.{object}.{topic}"})
	enc := NewEncoder("journal")
	src := &Source{Origin: OriginHub, ID: "5f1f1f1f1f1f1f1f1f1f1f1f", Name: "production"}
	const prefix = "cycle.5f1f1f1f1f1f1f1f1f1f1f1f."
	huge := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name, raw string
		reason    string // "" when it is a notification
		subject   string // "" when it is not looked at
		key       string // likewise
	}{
		{"48 empty frame", "", ReasonNotJSON, "", ""},
		{"49 invalid UTF-8", "{\"topic\":\"a.b\",\"object\":{\"id\":\"\xc3\x28\"}}", ReasonUTF8, "", ""},
		{"50 not JSON", "garbage", ReasonNotJSON, "", ""},
		{"50 truncated JSON", sampleNotification[:80], ReasonNotJSON, "", ""},
		{"50 two JSON values", `{"topic":"a.b"}{"topic":"a.b"}`, ReasonTrailing, "", ""},
		{"50 NaN", `{"topic":"a.b","x":NaN}`, ReasonNotJSON, "", ""},
		{"51 array", `[]`, ReasonNotObject, "", ""},
		{"51 string", `"a.b"`, ReasonNotObject, "", ""},
		{"51 number", `1e400`, ReasonNotObject, "", ""},
		{"51 null", `null`, ReasonNotObject, "", ""},
		{"52 nesting 100 k", `{"topic":"a.b","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, ReasonTooDeep, "", ""},
		{"53 topic twice", `{"topic":"a.b","topic":"c.d"}`, "", prefix + "_.c.d", "c.d"},
		{"54 missing topic", `{"object":{"id":"x"}}`, ReasonNoTopic, "", ""},
		{"54 missing object", `{"topic":"a.b"}`, "", prefix + "_.a.b", "a.b"},
		{"54 missing object.id", `{"topic":"a.b","object":{}}`, "", prefix + "_.a.b", "a.b"},
		{"54 null object", `{"topic":"a.b","object":null}`, "", prefix + "_.a.b", "a.b"},
		{"55 id of wrong type", `{"topic":"a.b","object":{"id":17}}`, "", prefix + "_.a.b", "a.b"},
		{"55 id of 1 MB", `{"topic":"a.b","object":{"id":"` + huge + `"}}`, "", "", huge},
		{"55 id of odd characters", `{"topic":"a.b","object":{"id":".*>/\u0000\n\u200f"}}`, "",
			prefix + "%2E%2A%3E%2F%00%0A%E2%80%8F.a.b", ".*>/\x00\n\u200f"},
		{"56 new topic", `{"topic":"never.seen.before"}`, "", prefix + "_.never.seen.before", "never.seen.before"},
		{"56 topic of spaces and wildcards", `{"topic":"a b.*.>.c"}`, "", prefix + "_.a%20b.%2A.%3E.c", ""},
		{"56 topic of dots", `{"topic":"..a."}`, "", prefix + "_._._.a._", ""},
		{"56 empty topic", `{"topic":""}`, ReasonEmpty, "", ""},
		{"57 another hub's id", `{"topic":"a.b","context":{"hub_id":"somebody"}}`, "", prefix + "_.a.b", ""},
		{"58 100 k ids", `{"topic":"a.b","context":{"containers":["c"` + strings.Repeat(`,"c"`, 100_000) + `]}}`, "", prefix + "_.a.b", ""},
		{"59 unknown fields and numbers", `{"topic":"a.b","flags":[{"x":null}],"x":9223372036854775808,"y":1e400,"z":{"topic":1}}`, "", prefix + "_.a.b", ""},
		{"69 looks like a record of the bridge", `{"topic":"bridge.gap","object":{"id":"x"},"gap":{}}`, "", prefix + "x.%62ridge.gap", ""},
		{"69 looks like an unparsed frame", `{"topic":"bridge.unparsed"}`, "", prefix + "_.%62ridge.unparsed", ""},
		{"70 NUL and lone surrogates", `{"topic":"a.b","object":{"id":"\u0000\ud800"}}`, "", prefix + "%00%EF%BF%BD.a.b", ""},
		{"71 CR LF in an id", `{"topic":"a.b","object":{"id":"x\r\nEvil: 1"}}`, "", prefix + "x%0D%0AEvil%3A%201.a.b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := []byte(tt.raw)
			e := Event{ID: ID{Epoch: "k3v9q0x7m2", Offset: 7}, Source: src, Raw: raw}
			note, err := ParseNotification(raw)
			pe, _ := errors.AsType[*ParseError](err)
			if got := reasonOf(pe); got != tt.reason {
				t.Fatalf("reason %q, want %q", got, tt.reason)
			}
			e.Note = note
			if err != nil {
				e.Flags |= FlagUnparsed
			}
			var m Message
			format, ok := router.Target(&e, &m)
			if want := tt.reason == ""; ok != want {
				t.Fatalf("routed = %v, want %v", ok, want)
			}
			enc.Encode(&e, format, &m)
			if string(m.Payload) != tt.raw {
				t.Error("the payload is not the frame")
			}
			for _, h := range m.Headers {
				if bytes.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r > '~' }) || len(h.Value) > maxHeaderValue {
					t.Errorf("header %s is %.80q (%d bytes)", h.Name, h.Value, len(h.Value))
				}
			}
			if tt.subject != "" && m.Destination != tt.subject {
				t.Errorf("subject %q, want %q", m.Destination, tt.subject)
			}
			if tt.key != "" && string(m.Key) != tt.key {
				t.Errorf("key %.80q, want %.80q", m.Key, tt.key)
			}
			if len(m.Destination) > maxSubject {
				t.Errorf("the subject has %d bytes", len(m.Destination))
			}
		})
	}
}

// TestParseEveryByte puts every byte at every place of the eight that are
// looked at together.
func TestParseEveryByte(t *testing.T) {
	for c := range 256 {
		for before := range 10 {
			raw := append([]byte(`{"topic":"`), strings.Repeat("a", before)...)
			raw = append(append(raw, byte(c)), "Bcdefghijk\"}"...)
			want := json.Valid(raw) && utf8.Valid(raw)
			n, err := ParseNotification(raw)
			if (err == nil) != want {
				t.Errorf("%q: %v, want it taken: %v", raw, err, want)
			}
			if topic := bytes.TrimSuffix(raw[len(`{"topic":"`):], []byte(`"}`)); want && c != '"' && !bytes.Equal(n.Topic(), topic) {
				t.Errorf("%q: topic %q", raw, n.Topic())
			}
		}
	}
}

func reasonOf(e *ParseError) string {
	if e == nil {
		return ""
	}
	return e.Reason
}

func mustRouter(tb testing.TB, plan Plan) *Router {
	tb.Helper()
	r, err := NewRouter(plan, nil)
	if err != nil {
		tb.Fatalf("NewRouter: %v", err)
	}
	return r
}

// newEvent returns an event from a hub, flagged as the ingest does.
func newEvent(raw string) *Event {
	e := &Event{
		ID:     ID{Epoch: "k3v9q0x7m2", Offset: 184467},
		Source: &Source{Origin: OriginHub, ID: "5f1f1f1f1f1f1f1f1f1f1f1f", Name: "production"},
		Raw:    []byte(raw),
	}
	var err error
	if e.Note, err = ParseNotification(e.Raw); err != nil {
		e.Flags |= FlagUnparsed
	}
	return e
}

func topicEventOf(topic string) *Event { return newEvent(fmt.Sprintf(`{"topic":%q}`, topic)) }
