package bridge

import "fmt"

// Format says how an event becomes a payload.
type Format uint8

const (
	// FormatRaw says that the payload is the notification byte for byte, and headers
	// carry the rest.
	FormatRaw Format = iota
	// FormatEnvelope says that the payload is a JSON object around the notification.
	// The headers are the same.
	FormatEnvelope
)

// ParseFormat reads a format's name; "" is raw.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "", "raw":
		return FormatRaw, nil
	case "envelope":
		return FormatEnvelope, nil
	}
	return 0, fmt.Errorf("unknown format %q: want raw or envelope", s)
}

func (f Format) String() string {
	switch f {
	case FormatRaw:
		return "raw"
	case FormatEnvelope:
		return "envelope"
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// Names of the headers that travel beside a payload. Those without a value
// are left out.
const (
	HeaderEventID    = "Cycle-Event-Id"    // ID's text form
	HeaderJournalID  = "Cycle-Journal-Id"  // of the journal, not of its epoch
	HeaderTopic      = "Cycle-Topic"       // TopicUnparsed for a frame that is not a notification
	HeaderHubID      = "Cycle-Hub-Id"      // from the configuration; of a bridge event the hub meant
	HeaderObjectID   = "Cycle-Object-Id"   // object.id
	HeaderReceivedAt = "Cycle-Received-At" // Timestamp's text form
	HeaderOrigin     = "Cycle-Origin"      // hub, bridge, or the source type
	HeaderFlags      = "Cycle-Flags"       // Flags' text form
	maxHeaders       = 8
)

// Content types of payloads.
const (
	ContentTypeJSON  = "application/json"
	ContentTypeBytes = "application/octet-stream" // raw, of a frame that is not a notification, or not a whole one
)

// Encoder turns events into messages. Values and payloads stand in memory of
// its own, which Reset takes back: a message is valid until then. It is for
// one goroutine.
type Encoder struct {
	journalID []byte
	buf       []byte // header values and envelopes
	headers   []Header
	clock     clock
}

// keptBytes and keptHeaders bound what an Encoder holds on to while nothing
// happens: twice what one Publish takes by default (DefaultLimits).
const (
	keptBytes   = 8 << 20
	keptHeaders = 16 << 10
)

// NewEncoder returns an Encoder for events of the journal with that id.
func NewEncoder(journalID string) *Encoder {
	return &Encoder{journalID: appendHeaderValue(nil, journalID)}
}

// Reset takes back everything that Encode has given out.
func (c *Encoder) Reset() {
	// An array that was outgrown stays with the messages that refer to it.
	c.buf, c.headers = c.buf[:0], c.headers[:0]
	if cap(c.buf) > keptBytes {
		c.buf = nil
	}
	if cap(c.headers) > keptHeaders {
		c.headers = nil
	}
}

// Encode sets m's Event, Payload, Headers and ContentType. A raw payload is
// e.Raw itself. Header values are printable ASCII without % and spaces at the
// ends: everything else in them is percent-encoded; one that would be longer
// than 1,024 bytes is cut and ends in %- and a hash.
func (c *Encoder) Encode(e *Event, format Format, m *Message) {
	m.Event = e
	m.Headers = c.appendHeaders(e)
	if format == FormatEnvelope {
		start := len(c.buf)
		c.buf = c.appendEnvelope(c.buf, e)
		m.Payload, m.ContentType = c.buf[start:len(c.buf):len(c.buf)], ContentTypeJSON
		return
	}
	m.Payload, m.ContentType = e.Raw, ContentTypeJSON
	if unparsed(e) || e.Flags&FlagTruncated != 0 {
		m.ContentType = ContentTypeBytes
	}
}

func (c *Encoder) appendHeaders(e *Event) []Header {
	first := len(c.headers)
	start := len(c.buf)
	c.buf = e.ID.Append(c.buf)
	start = c.header(HeaderEventID, start)
	if len(c.journalID) > 0 {
		c.headers = append(c.headers, Header{Name: HeaderJournalID, Value: c.journalID})
	}
	topic, _ := topicOf(e)
	c.buf = appendHeaderValue(c.buf, topic)
	start = c.header(HeaderTopic, start)
	if origin(e) == OriginBridge {
		c.buf = appendHeaderValue(c.buf, e.Note.Hub())
	} else {
		c.buf = appendHeaderValue(c.buf, hubOf(e))
	}
	start = c.header(HeaderHubID, start)
	c.buf = appendHeaderValue(c.buf, e.Note.Object())
	start = c.header(HeaderObjectID, start)
	c.buf = c.clock.append(c.buf, e.ReceivedAt)
	start = c.header(HeaderReceivedAt, start)
	c.buf = appendHeaderValue(c.buf, origin(e))
	start = c.header(HeaderOrigin, start)
	c.buf = e.Flags.Append(c.buf)
	c.header(HeaderFlags, start)
	return c.headers[first:len(c.headers):len(c.headers)]
}

// header makes a header of what stands in the buffer from start, if anything,
// and returns the buffer's end.
func (c *Encoder) header(name string, start int) int {
	end := len(c.buf)
	if end > start {
		c.headers = append(c.headers, Header{Name: name, Value: c.buf[start:end:end]})
	}
	return end
}

// hubOf returns the id of the hub that sent e, "" if none did.
func hubOf(e *Event) string {
	if e.Source == nil || e.Source.Origin != OriginHub {
		return ""
	}
	return e.Source.ID
}
