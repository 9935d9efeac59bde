package bridge

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func headersOf(m *Message) map[string]string {
	out := make(map[string]string)
	for _, h := range m.Headers {
		if _, ok := out[h.Name]; ok {
			out[h.Name] += " and again"
		}
		out[h.Name] += string(h.Value)
	}
	return out
}

func TestEncodeHeaders(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 80_900, time.UTC)
	hub := newEvent(sampleNotification)
	hub.ReceivedAt = at.UnixNano()
	hub.Flags = FlagPossibleDuplicate | FlagLate
	bare := newEvent(`{"topic":"a\r\nCycle-Flags: late","object":{"id":"50% \u00e9"}}`)
	frame := newEvent("garbage")
	gap := NewBridgeEvent(&Source{Origin: OriginBridge, Name: "b"}, TopicGap, "5f1f", "5f1f", MemberGap, Gap{Reason: "start"}, at)
	started := NewBridgeEvent(&Source{Origin: OriginBridge, Name: "b"}, TopicStarted, "b", "", MemberStarted, Started{}, at)
	foreign := newEvent(`{"topic":"a.b"}`)
	foreign.Source = &Source{Origin: "webhook", ID: "w", Name: "w"}
	const epoch = "1970-01-01T00:00:00.000000000Z"
	const id, hubID = "k3v9q0x7m2-184467", "5f1f1f1f1f1f1f1f1f1f1f1f"
	enc := NewEncoder("j0urnal")
	for _, tt := range []struct {
		name  string
		event *Event
		want  map[string]string
		ctype string
	}{
		{"notification", hub, map[string]string{
			HeaderEventID: id, HeaderJournalID: "j0urnal", HeaderTopic: "container.instance.state.changed", HeaderHubID: hubID,
			HeaderObjectID: "651586fca6078e98982dbd90", HeaderReceivedAt: "2026-03-04T05:06:07.000080900Z", HeaderOrigin: "hub",
			HeaderFlags: "possible_duplicate,late",
		}, ContentTypeJSON},
		{"nothing gets out of a value", bare, map[string]string{
			HeaderEventID: id, HeaderJournalID: "j0urnal", HeaderTopic: "a%0D%0ACycle-Flags: late", HeaderHubID: hubID,
			HeaderObjectID: "50%25 %C3%A9", HeaderReceivedAt: epoch, HeaderOrigin: "hub",
		}, ContentTypeJSON},
		{"frame", frame, map[string]string{
			HeaderEventID: id, HeaderJournalID: "j0urnal", HeaderTopic: "bridge.unparsed", HeaderHubID: hubID,
			HeaderReceivedAt: epoch, HeaderOrigin: "hub", HeaderFlags: "unparsed",
		}, ContentTypeBytes},
		{"gap of a hub", &gap, map[string]string{
			HeaderEventID: "-0", HeaderJournalID: "j0urnal", HeaderTopic: "bridge.gap", HeaderHubID: "5f1f", HeaderObjectID: "5f1f",
			HeaderReceivedAt: "2026-03-04T05:06:07.000080900Z", HeaderOrigin: "bridge",
		}, ContentTypeJSON},
		{"record of the bridge", &started, map[string]string{
			HeaderEventID: "-0", HeaderJournalID: "j0urnal", HeaderTopic: "bridge.started", HeaderObjectID: "b",
			HeaderReceivedAt: "2026-03-04T05:06:07.000080900Z", HeaderOrigin: "bridge",
		}, ContentTypeJSON},
		{"another source", foreign, map[string]string{
			HeaderEventID: id, HeaderJournalID: "j0urnal", HeaderTopic: "a.b", HeaderReceivedAt: epoch, HeaderOrigin: "webhook",
		}, ContentTypeJSON},
	} {
		var m Message
		enc.Encode(tt.event, FormatRaw, &m)
		if diff := cmp.Diff(tt.want, headersOf(&m)); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", tt.name, diff)
		}
		if m.Event != tt.event || &m.Payload[0] != &tt.event.Raw[0] || m.ContentType != tt.ctype {
			t.Errorf("%s: event %p, payload %.20q, type %s", tt.name, m.Event, m.Payload, m.ContentType)
		}
	}
}

func TestEncodeEnvelope(t *testing.T) {
	enc := NewEncoder("j")
	hub := newEvent(sampleNotification)
	hub.Flags = FlagPossibleDuplicate | FlagReplay
	own := ownEvent(TopicStopped)
	own.ID = ID{Epoch: "e", Offset: 1}
	for _, tt := range []struct {
		name  string
		event *Event
		want  string
	}{
		{"notification", hub, `{"id":"k3v9q0x7m2-184467","offset":184467,"hub_id":"5f1f1f1f1f1f1f1f1f1f1f1f",` +
			`"topic":"container.instance.state.changed","object_id":"651586fca6078e98982dbd90",` +
			`"received_at":"1970-01-01T00:00:00.000000000Z","origin":"hub","flags":["possible_duplicate","replay"],` +
			`"notification":` + sampleNotification + `}`},
		{"record of the bridge", own, `{"id":"e-1","offset":1,"hub_id":null,"topic":"bridge.stopped","object_id":"o",` +
			`"received_at":"1970-01-01T00:00:01.000000000Z","origin":"bridge","flags":[],"notification":` + string(own.Raw) + `}`},
		{"odd values", newEvent(`{"topic":"a\"\\\u0001\u007f\u00e9"}`), `{"id":"k3v9q0x7m2-184467","offset":184467,` +
			`"hub_id":"5f1f1f1f1f1f1f1f1f1f1f1f","topic":"a\"\\\u0001\u007fé","object_id":null,"received_at":"1970-01-01T00:00:00.000000000Z",` +
			`"origin":"hub","flags":[],"notification":{"topic":"a\"\\\u0001\u007f\u00e9"}}`},
	} {
		var m Message
		enc.Encode(tt.event, FormatEnvelope, &m)
		if diff := cmp.Diff(tt.want, string(m.Payload)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if !json.Valid(m.Payload) || m.ContentType != ContentTypeJSON {
			t.Errorf("%s: not JSON, or not said so (%s)", tt.name, m.ContentType)
		}
		if headersOf(&m)[HeaderEventID] != tt.event.ID.String() {
			t.Errorf("%s: headers %v", tt.name, headersOf(&m))
		}
	}
}

// TestEncodeFrames: an envelope gives back every frame byte for byte.
func TestEncodeFrames(t *testing.T) {
	deep := `{"topic":"a","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`
	for raw, member := range map[string]string{
		"":                       "raw",
		"garbage \"\\\n\x00é":    "raw",
		`"a string"`:             "raw",
		`["list"]`:               "raw",
		`null`:                   "raw",
		`{"topic":"a"}{}`:        "raw",
		deep:                     "raw",
		"\xff\xfe":               "raw_base64",
		"{\"topic\":\"\xff\"}":   "raw_base64",
		`{"base64":"x"}`:         "notification",
		` {"topic":"", "a":1} `:  "notification",
		`{"topic":null,"x":[1]}`: "notification",
	} {
		var m Message
		e := newEvent(raw)
		NewEncoder("j").Encode(e, FormatEnvelope, &m)
		var got struct {
			Topic        string
			Flags        []string
			Notification json.RawMessage
			Raw          *string
			Base64       *string `json:"raw_base64"`
		}
		if err := json.Unmarshal(m.Payload, &got); err != nil {
			t.Errorf("%.20q: %v in %.80q", raw, err, m.Payload)
			continue
		}
		back, where := strings.TrimSpace(raw), "notification" // white space around a value is not part of it
		switch {
		case got.Raw != nil:
			back, where = *got.Raw, "raw"
		case got.Base64 != nil:
			b, err := base64.StdEncoding.DecodeString(*got.Base64)
			if err != nil {
				t.Error(err)
			}
			back, where = string(b), "raw_base64"
		case string(got.Notification) != back:
			back = string(got.Notification)
		}
		if want := strings.TrimSpace(raw); where == "notification" && back != want || where != "notification" && back != raw {
			t.Errorf("%.20q came back as %.20q", raw, back)
		}
		if where != member || where != "notification" && string(got.Notification) != "null" {
			t.Errorf("%.20q stands in %s, notification %.20q, want it in %s", raw, where, got.Notification, member)
		}
		if got.Topic != TopicUnparsed || !cmp.Equal(got.Flags, []string{"unparsed"}) {
			t.Errorf("%.20q: topic %q, flags %q", raw, got.Topic, got.Flags)
		}
	}
}

// TestEncodeStays: what Encode gave out is not overwritten before Reset, also
// while its memory grows.
func TestEncodeStays(t *testing.T) {
	enc := NewEncoder("j")
	for round := range 3 {
		msgs := make([]Message, 5000)
		for i := range msgs {
			e := newEvent(fmt.Sprintf(`{"topic":"a.b","object":{"id":"%d-%d"}}`, round, i))
			e.ID.Offset = uint64(i)
			enc.Encode(e, Format(i%2), &msgs[i])
		}
		for i := range msgs { // what a sink appends must not reach other messages
			m := &msgs[i]
			_ = append(m.Headers, Header{Name: "X"})
			for _, h := range m.Headers {
				_ = append(h.Value, "XXXX"...)
			}
			if i%2 == int(FormatEnvelope) {
				_ = append(m.Payload, "XXXX"...)
			}
		}
		for i := range msgs {
			h := headersOf(&msgs[i])
			if want := fmt.Sprintf("%d-%d", round, i); h[HeaderObjectID] != want || !bytes.Contains(msgs[i].Payload, []byte(want)) {
				t.Fatalf("message %d: object %q, payload %q, want %q", i, h[HeaderObjectID], msgs[i].Payload, want)
			}
			if want := fmt.Sprintf("k3v9q0x7m2-%d", i); h[HeaderEventID] != want || len(h) != 7 {
				t.Fatalf("message %d: headers %v", i, h)
			}
		}
		enc.Reset()
	}
}

// TestEncodeTruncated: half a notification is not passed off as JSON, even if
// its topic is known.
func TestEncodeTruncated(t *testing.T) {
	e := newEvent(sampleNotification)
	e.Raw, e.Flags = e.Raw[:100], FlagTruncated
	var m Message
	enc := NewEncoder("j")
	enc.Encode(e, FormatEnvelope, &m)
	var got struct {
		Notification any
		Raw          string
	}
	if err := json.Unmarshal(m.Payload, &got); err != nil || got.Notification != nil || got.Raw != sampleNotification[:100] {
		t.Errorf("envelope %s: %v, %+v", m.Payload, err, got)
	}
	enc.Encode(e, FormatRaw, &m)
	if m.ContentType != ContentTypeBytes || headersOf(&m)[HeaderFlags] != "truncated" {
		t.Errorf("content type %s, headers %v", m.ContentType, headersOf(&m))
	}
}

func TestFormat(t *testing.T) {
	for text, want := range map[string]Format{"": FormatRaw, "raw": FormatRaw, "envelope": FormatEnvelope} {
		if got, err := ParseFormat(text); err != nil || got != want {
			t.Errorf("ParseFormat(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"cloudevents", "RAW", "json"} {
		if _, err := ParseFormat(text); err == nil || !strings.Contains(err.Error(), "raw or envelope") {
			t.Errorf("ParseFormat(%q) = %v, want the formats there are", text, err)
		}
	}
}

func TestClock(t *testing.T) {
	var c clock
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(0, 1), time.Unix(1, 999_999_999), time.Unix(2, 0), time.Unix(1, 0), time.Unix(-1, 5),
		time.Unix(0, -1), time.Date(2026, 12, 31, 23, 59, 59, 123_456_789, time.UTC), time.Unix(0, 1<<63-1), time.Unix(0, -1<<63),
	} {
		want := at.UTC().Format("2006-01-02T15:04:05.000000000Z")
		if got := string(c.append(nil, at.UnixNano())); got != want {
			t.Errorf("%d: %s, want %s", at.UnixNano(), got, want)
		}
		if got := Timestamp(at.UnixNano()).String(); got != want {
			t.Errorf("Timestamp %d: %s, want %s", at.UnixNano(), got, want)
		}
	}
}

// TestEncodeCut: an envelope tells what a message that was cut was like.
func TestEncodeCut(t *testing.T) {
	e := newEvent(`{"topic":"a","x":"the beginn`)
	e.Flags |= FlagTruncated | FlagUnparsed
	e.Cut = &Cut{Length: 5 << 30, SHA256: [32]byte{0xab, 31: 0xcd}}
	var m Message
	NewEncoder("j").Encode(e, FormatEnvelope, &m)
	var got struct {
		Truncated struct {
			Length uint64
			SHA256 string
		}
		Raw   string
		Flags []string
	}
	if err := json.Unmarshal(m.Payload, &got); err != nil {
		t.Fatalf("%v: %s", err, m.Payload)
	}
	if got.Truncated.Length != 5<<30 || len(got.Truncated.SHA256) != 64 || got.Truncated.SHA256[:2] != "ab" ||
		got.Raw != string(e.Raw) || !slices.Contains(got.Flags, "truncated") {
		t.Errorf("got %+v", got)
	}
}
