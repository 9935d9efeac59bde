package bridge

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNewBridgeEvent(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.FixedZone("", 3600))
	own := &Source{Origin: OriginBridge, Name: "b"}
	hub := &Source{Origin: OriginHub, ID: "5f1f", Name: "production"}
	const context = `"context":{"label":null,"hub_id":null,"account_id":null,"environments":null,"dns_zones":null,` +
		`"clusters":null,"containers":null,"virtual_machines":null}`
	const hubContext = `"context":{"label":null,"hub_id":"5f1f","account_id":null,"environments":null,"dns_zones":null,` +
		`"clusters":null,"containers":null,"virtual_machines":null}`
	for _, tt := range []struct {
		name   string
		event  Event
		raw    string
		source Source
	}{
		{
			"started", NewBridgeEvent(own, TopicStarted, "b", "", MemberStarted, Started{"1.0", "ep", 7, TimestampOf(at)}, at),
			`{"topic":"bridge.started","object":{"id":"b"},` + context +
				`,"started":{"version":"1.0","epoch":"ep","first_offset":7,"from":"2026-03-04T04:06:07.000000008Z"}}`, *own,
		},
		{
			"first start", NewBridgeEvent(nil, TopicStarted, "b", "", MemberStarted, Started{FirstOffset: 1}, at),
			`{"topic":"bridge.started","object":{"id":"b"},` + context + `,"started":{"version":"","epoch":"","first_offset":1}}`,
			Source{Origin: OriginBridge},
		},
		{
			"gap", NewBridgeEvent(hub, TopicGap, "5f1f", "5f1f", MemberGap, Gap{
				From: 1, To: 2, After: "ep-6", Reason: "connection lost", CloseCode: 1006, UncertainMS: 20, Source: "production",
			}, at),
			`{"topic":"bridge.gap","object":{"id":"5f1f"},` + hubContext + `,"gap":{"from":"1970-01-01T00:00:00.000000001Z",` +
				`"to":"1970-01-01T00:00:00.000000002Z","after":"ep-6","reason":"connection lost","close_code":1006,"uncertain_ms":20,"source":"production"}}`,
			Source{Origin: OriginBridge, ID: "5f1f", Name: "production"},
		},
		{
			"gap without a beginning", NewBridgeEvent(own, TopicGap, "w<1>", "", MemberGap, Gap{Reason: "a < b"}, at),
			`{"topic":"bridge.gap","object":{"id":"w<1>"},` + context + `,"gap":{"reason":"a < b","uncertain_ms":0,"source":""}}`, *own,
		},
		{
			"suspect", NewBridgeEvent(own, TopicSuspect, "o", "5f1f", MemberSuspect, Suspect{"a.b", "x", "y"}, at),
			`{"topic":"bridge.suspect","object":{"id":"o"},` + hubContext + `,"suspect":{"topic":"a.b","expected":"x","found":"y"}}`,
			Source{Origin: OriginBridge, ID: "5f1f", Name: "b"},
		},
		{
			"heartbeat", NewBridgeEvent(own, TopicHeartbeat, "w", "", MemberHeartbeat, Heartbeat{3, 9}, at),
			`{"topic":"bridge.heartbeat","object":{"id":"w"},` + context + `,"heartbeat":{"complete_to":"1970-01-01T00:00:00.000000003Z","offset":9}}`, *own,
		},
		{
			"overrun", NewBridgeEvent(own, TopicSinkOverrun, "s", "", MemberOverrun, Overrun{1, 3, 3}, at),
			`{"topic":"bridge.sink.overrun","object":{"id":"s"},` + context + `,"overrun":{"first":1,"last":3,"count":3}}`, *own,
		},
		{
			"lost", NewBridgeEvent(own, TopicJournalLost, "j\n\"", "", MemberLost, Lost{1, 3, "bad CRC", "old"}, at),
			`{"topic":"bridge.journal.lost","object":{"id":"j\u000a\""},` + context + `,"lost":{"first":1,"last":3,"cause":"bad CRC","old_epoch":"old"}}`, *own,
		},
		{
			"stopped", NewBridgeEvent(own, TopicStopped, "b", "", MemberStopped, Stopped{"signal"}, at),
			`{"topic":"bridge.stopped","object":{"id":"b"},` + context + `,"stopped":{"reason":"signal"}}`, *own,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.raw, string(tt.event.Raw)); diff != "" {
				t.Errorf("raw (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.source, *tt.event.Source); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
			if !tt.event.Note.Parsed() || !tt.event.Time().Equal(at) || tt.event.Flags != 0 || !tt.event.ID.IsZero() {
				t.Errorf("event %+v", tt.event)
			}
		})
	}
	if own.ID != "" || hub.Origin != OriginHub {
		t.Error("a source was changed")
	}
	if e := NewBridgeEvent(own, TopicStopped, "b", "", MemberStopped, Stopped{}, at); e.Source != own {
		t.Error("a fitting source was copied")
	}
}

func TestOwnTopics(t *testing.T) {
	if got := OwnTopics(); !slices.IsSorted(got) || len(got) != 7 || slices.Contains(got, TopicUnparsed) {
		t.Errorf("OwnTopics() = %q", got)
	}
}

func TestTimestampJSON(t *testing.T) {
	in := Heartbeat{CompleteTo: TimestampOf(time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)), Offset: 1}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out Heartbeat
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%s came back as %+v, %v", text, out, err)
	}
	if err := json.Unmarshal([]byte(`{"complete_to":"yesterday"}`), &out); err == nil {
		t.Error("a wrong timestamp was taken")
	}
	if TimestampOf(time.Time{}) != 0 || !Timestamp(0).Time().IsZero() || !Timestamp(0).IsZero() {
		t.Error("no time is not the zero Timestamp")
	}
}
