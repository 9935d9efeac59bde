package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Topics of the events that the bridge makes itself (DESIGN §6).
const (
	TopicStarted     = "bridge.started"
	TopicStopped     = "bridge.stopped"
	TopicGap         = "bridge.gap"
	TopicSuspect     = "bridge.suspect"
	TopicHeartbeat   = "bridge.heartbeat"
	TopicSinkOverrun = "bridge.sink.overrun"
	TopicJournalLost = "bridge.journal.lost"
)

// TopicUnparsed stands for the topic of a frame that is not a notification.
// Such a frame has the source's origin and the flag unparsed.
const TopicUnparsed = "bridge.unparsed"

// OwnTopics returns the topics of the events that the bridge makes itself,
// sorted, without TopicUnparsed.
func OwnTopics() []string {
	return []string{
		TopicGap, TopicHeartbeat, TopicJournalLost, TopicSinkOverrun, TopicStarted, TopicStopped, TopicSuspect,
	}
}

// Members that carry the details of the bridge's own events.
const (
	MemberStarted   = "started"
	MemberStopped   = "stopped"
	MemberGap       = "gap"
	MemberSuspect   = "suspect"
	MemberHeartbeat = "heartbeat"
	MemberOverrun   = "overrun"
	MemberLost      = "lost"
)

// Started says that a bridge has begun to write the journal.
type Started struct {
	Version     string    `json:"version"`
	Epoch       string    `json:"epoch"`
	FirstOffset uint64    `json:"first_offset"`
	From        Timestamp `json:"from,omitzero"` // the last proof of life before; absent the first time
}

// Stopped says that a bridge has ended in an orderly way.
type Stopped struct {
	Reason string `json:"reason"`
}

// Gap is an interval in which notifications may have been missed.
type Gap struct {
	From        Timestamp `json:"from,omitzero"` // absent where nothing is known of the time before
	To          Timestamp `json:"to,omitzero"`
	After       string    `json:"after,omitempty"` // id of the last event before it
	Reason      string    `json:"reason"`
	CloseCode   int       `json:"close_code,omitempty"` // of the WebSocket (RFC 6455 §7.4)
	UncertainMS int64     `json:"uncertain_ms"`         // by which From may be too early or late
	Source      string    `json:"source"`
}

// Suspect says that an object's previous state is not the last one seen.
type Suspect struct {
	Topic    string `json:"topic"`
	Expected string `json:"expected"`
	Found    string `json:"found"`
}

// Heartbeat says that all that was sent before CompleteTo has an offset below
// Offset, except what gaps declare.
type Heartbeat struct {
	CompleteTo Timestamp `json:"complete_to"`
	Offset     uint64    `json:"offset"`
}

// Overrun is a stretch of offsets that a sink did not get before retention
// removed it.
type Overrun struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Count uint64 `json:"count"`
}

// Lost is a stretch of offsets that the journal has lost.
type Lost struct {
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Cause    string `json:"cause"`
	OldEpoch string `json:"old_epoch,omitempty"`
}

// NewBridgeEvent makes an event of the bridge's own, in the shape of a
// notification with one more member that carries value as JSON. hubID is the
// hub that is meant, "" for none or several. The event's Source is src, or,
// where src has another origin or id, a copy of it with OriginBridge and the
// hub's id. The arrival time is at.
//
// value is one of the structs of this file as a rule; a value that cannot be
// JSON is a mistake in the program, and panics.
func NewBridgeEvent(src *Source, topic, objectID, hubID, member string, value any, at time.Time) Event {
	if src == nil {
		src = &Source{}
	}
	if id := hubID; src.Origin != OriginBridge || id != "" && src.ID != id {
		if id == "" {
			id = src.ID
		}
		src = &Source{Origin: OriginBridge, ID: id, Name: src.Name}
	}
	var detail bytes.Buffer
	enc := json.NewEncoder(&detail)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		panic(fmt.Sprintf("bridge event %s: %v", topic, err))
	}
	raw := append([]byte(nil), `{"topic":`...)
	raw = appendJSONString(raw, topic)
	raw = append(raw, `,"object":{"id":`...)
	raw = appendJSONString(raw, objectID)
	raw = append(raw, `},"context":{"label":null,"hub_id":`...)
	raw = appendJSONStringOrNull(raw, hubID)
	raw = append(raw, `,"account_id":null,"environments":null,"dns_zones":null,"clusters":null,`+
		`"containers":null,"virtual_machines":null},`...)
	raw = appendJSONString(raw, member)
	raw = append(raw, ':')
	raw = append(raw, bytes.TrimSuffix(detail.Bytes(), []byte{'\n'})...)
	raw = slices.Clip(append(raw, '}'))
	note, err := ParseNotification(raw)
	if err != nil {
		panic(fmt.Sprintf("bridge event %q: %v", topic, err))
	}
	return Event{ReceivedAt: at.UnixNano(), Source: src, Raw: raw, Note: note}
}
