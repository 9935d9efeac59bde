package bridge

import (
	"fmt"
	"math"
)

// Reasons why a frame is not a notification. They are few and fixed, so that
// they can label a metric.
const (
	ReasonNotJSON   = "not JSON"
	ReasonTrailing  = "data after the JSON object"
	ReasonNotObject = "not a JSON object"
	ReasonTooDeep   = "nested too deep"
	ReasonUTF8      = "invalid UTF-8"
	ReasonNoTopic   = "no topic"
	ReasonEmpty     = "empty topic"
	ReasonTopicType = "topic is not a string"
	ReasonTooLong   = "too long"
)

// ParseError says why a frame is not a notification. It quotes nothing of the frame.
type ParseError struct {
	Offset int    // of the byte where it was noticed
	Reason string // one of the Reason constants
}

func (e *ParseError) Error() string {
	return fmt.Sprintf("notification: %s (at byte %d)", e.Reason, e.Offset)
}

// ParseNotification reads a frame in one pass. It keeps raw, and neither
// changes nor copies it. It allocates only where a field that is read has
// JSON escapes. Errors are *ParseError, with the zero Notification.
//
// A notification is a JSON object in UTF-8 with a topic that is a non-empty
// string. Names count in their exact case. Where a member stands twice, the
// last one counts. Members of another type than the protocol says are empty,
// never an error: the payload goes on byte for byte whatever it holds.
func ParseNotification(raw []byte) (Notification, error) {
	if len(raw) > math.MaxUint32 {
		return Notification{}, &ParseError{Reason: ReasonTooLong}
	}
	p := parser{scanner: scanner{b: raw}}
	p.note.raw = raw
	if !p.parse() {
		return Notification{}, &ParseError{Offset: p.i, Reason: p.reason}
	}
	return p.note, nil
}

type parser struct {
	scanner
	note  Notification
	seen  uint32 // bit f: Field f was seen; above them the scopes
	topic int    // where the topic's value begins; 0 if there is none
}

// scope says which object's members are being read.
type scope uint8

const (
	scopeTop scope = iota
	scopeObject
	scopeContext
)

const (
	objectFields  = 1<<FieldObject | 1<<FieldState | 1<<FieldStatePrevious | 1<<FieldError
	contextFields = 1<<numFields - 1 - objectFields - 1<<FieldTopic
)

func (p *parser) parse() bool {
	p.space()
	if p.peek() != '{' {
		if !p.value(0) {
			return false
		}
		if !p.end() {
			return false
		}
		p.i = 0
		return p.fail(ReasonNotObject)
	}
	if !p.members(1, scopeTop) || !p.end() {
		return false
	}
	if p.note.Parsed() {
		return true
	}
	switch p.i = p.topic; {
	case p.topic == 0:
		return p.fail(ReasonNoTopic)
	case p.b[p.topic] == '"':
		return p.fail(ReasonEmpty)
	default:
		return p.fail(ReasonTopicType)
	}
}

func (p *parser) end() bool {
	p.space()
	if p.i < len(p.b) {
		return p.fail(ReasonTrailing)
	}
	return true
}

// members reads an object whose members may be fields.
func (p *parser) members(depth int, in scope) bool {
	done, ok := p.open(depth, '}')
	for ok && !done {
		name, escaped, ok := p.key()
		if !ok {
			return false
		}
		key := p.b[name.start:name.end]
		if escaped {
			key = appendDecoded(nil, key)
		}
		if !p.member(depth, in, key) {
			return false
		}
		if done, ok = p.next('}'); !ok {
			return false
		}
	}
	return ok
}

func (p *parser) member(depth int, in scope, key []byte) bool {
	switch in {
	case scopeTop:
		switch string(key) {
		case "topic":
			p.topic = p.i
			return p.stringField(depth, FieldTopic)
		case "object":
			return p.nested(depth, scopeObject, objectFields)
		case "context":
			return p.nested(depth, scopeContext, contextFields)
		}
	case scopeObject:
		switch string(key) {
		case "id":
			return p.stringField(depth, FieldObject)
		case "state":
			return p.stringField(depth, FieldState)
		case "state_previous":
			return p.stringField(depth, FieldStatePrevious)
		case "error":
			return p.stringField(depth, FieldError)
		}
	case scopeContext:
		switch string(key) {
		case "hub_id":
			return p.stringField(depth, FieldHub)
		case "account_id":
			return p.stringField(depth, FieldAccount)
		case "label":
			return p.stringField(depth, FieldLabel)
		case "environments":
			return p.listField(depth, FieldEnvironment)
		case "clusters":
			return p.listField(depth, FieldCluster)
		case "containers":
			return p.listField(depth, FieldContainer)
		case "dns_zones":
			return p.listField(depth, FieldDNSZone)
		case "virtual_machines":
			return p.listField(depth, FieldVirtualMachine)
		}
	}
	return p.value(depth)
}

// nested reads object or context. A second one replaces the first as a whole.
func (p *parser) nested(depth int, in scope, fields uint32) bool {
	bit := uint32(1) << (uint8(numFields) + uint8(in))
	if p.seen&bit != 0 {
		p.note.dup = true
		for f := range numFields {
			if fields&(1<<f) != 0 {
				p.clear(f)
			}
		}
	}
	p.seen |= bit
	if p.peek() == '{' {
		return p.members(depth+1, in)
	}
	return p.value(depth)
}

func (p *parser) stringField(depth int, f Field) bool {
	p.begin(f)
	if p.peek() != '"' {
		return p.value(depth)
	}
	return p.take(f)
}

// listField takes a list's first element if it is a string.
func (p *parser) listField(depth int, f Field) bool {
	p.begin(f)
	if p.peek() != '[' {
		return p.value(depth)
	}
	done, ok := p.open(depth+1, ']')
	if ok && !done && p.peek() == '"' {
		if !p.take(f) {
			return false
		}
		done, ok = p.next(']')
	}
	for ok && !done {
		if !p.value(depth + 1) {
			return false
		}
		done, ok = p.next(']')
	}
	return ok
}

func (p *parser) begin(f Field) {
	if p.seen&(1<<f) != 0 {
		p.note.dup = true
		p.clear(f)
	}
	p.seen |= 1 << f
}

func (p *parser) clear(f Field) {
	p.note.spans[f] = span{}
	p.note.escaped &^= 1 << f
}

// take reads the string at i into a field.
func (p *parser) take(f Field) bool {
	content, escaped, ok := p.str()
	if !ok {
		return false
	}
	if escaped {
		start := len(p.note.extra)
		p.note.extra = appendDecoded(p.note.extra, p.b[content.start:content.end])
		content = span{uint32(start), uint32(len(p.note.extra))}
		p.note.escaped |= 1 << f
	}
	p.note.spans[f] = content
	return true
}
