package bridge

import (
	"errors"
	"slices"
	"strings"
)

// placeholder is one alternative of what stands in braces in a template.
type placeholder struct {
	what  what
	field Field
	path  *Path
	text  string
}

// what says where a placeholder's value comes from.
type what uint8

const (
	whatField what = iota
	whatPath
	whatText
	whatTopic
	whatFamily
	whatKind
	whatAction
	whatHub
	whatHubName
	whatSource
)

// inputs are what the outcome of a template depends on.
type inputs uint8

const (
	fromTopic   inputs = 1 << iota
	fromSource         // the event's Source
	fromPayload        // anything else in the payload
)

func (w what) inputs() inputs {
	switch w {
	case whatText:
		return 0
	case whatTopic, whatFamily, whatKind, whatAction:
		return fromTopic
	case whatHub, whatHubName, whatSource:
		return fromSource
	}
	return fromPayload
}

// placeholders are the names that may stand in braces (DESIGN §7).
var placeholders = map[string]placeholder{
	"hub":             {what: whatHub},
	"hub_name":        {what: whatHubName},
	"source":          {what: whatSource},
	"topic":           {what: whatTopic},
	"family":          {what: whatFamily},
	"kind":            {what: whatKind},
	"action":          {what: whatAction},
	"object":          {field: FieldObject},
	"state":           {field: FieldState},
	"state_previous":  {field: FieldStatePrevious},
	"environment":     {field: FieldEnvironment},
	"cluster":         {field: FieldCluster},
	"container":       {field: FieldContainer},
	"dns_zone":        {field: FieldDNSZone},
	"virtual_machine": {field: FieldVirtualMachine},
	"account":         {field: FieldAccount},
	"label":           {field: FieldLabel},
}

// Placeholders returns the names that templates know, sorted.
func Placeholders() []string {
	names := make([]string, 0, len(placeholders))
	for n := range placeholders {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// parsePlaceholder reads s[start:end], one alternative.
func parsePlaceholder(s string, start, end int) (placeholder, error) {
	for start < end && s[start] == ' ' {
		start++
	}
	for start < end && s[end-1] == ' ' {
		end--
	}
	name := s[start:end]
	switch {
	case name == "":
		return placeholder{}, syntaxErrorf(s, start, "empty placeholder")
	case name[0] == '"':
		if len(name) < 2 || name[len(name)-1] != '"' || strings.Contains(name[1:len(name)-1], `"`) {
			return placeholder{}, syntaxErrorf(s, start, "a text stands between two quotes, without quotes inside")
		}
		return placeholder{what: whatText, text: name[1 : len(name)-1]}, nil
	case name[0] == '$':
		p, err := ParsePath(name)
		if e, ok := errors.AsType[*SyntaxError](err); ok {
			return placeholder{}, syntaxErrorf(s, start+e.Offset, "%s", e.Msg)
		}
		return placeholder{what: whatPath, path: p}, nil
	}
	if p, ok := placeholders[name]; ok {
		return p, nil
	}
	names := Placeholders()
	if n := nearest(name, names); n != "" {
		return placeholder{}, syntaxErrorf(s, start, "unknown name %q, did you mean %q?", name, n)
	}
	return placeholder{}, syntaxErrorf(s, start, "unknown name %q; known are %s, a path {$.a.b} and a text {\"...\"}",
		name, strings.Join(names, " "))
}

// append appends the value, escaped by x, or as it is where x is nil. ok is
// false when there is none. alone is true when no other alternative stands
// beside it.
func (p *placeholder) append(dst []byte, e *Event, x *escaping, alone bool) (out []byte, ok bool) {
	var v []byte
	switch p.what {
	case whatField:
		v = e.Note.Field(p.field)
	case whatPath:
		v = e.Note.Path(p.path)
	case whatText:
		// Checked when it was parsed; it is the operator's own.
		return append(dst, p.text...), p.text != ""
	case whatHub, whatHubName, whatSource:
		return p.appendSource(dst, e, x)
	default:
		return p.appendTopic(dst, e, x, alone)
	}
	if len(v) == 0 {
		return dst, false
	}
	return appendEscaped(dst, v, x), true
}

func (p *placeholder) appendSource(dst []byte, e *Event, x *escaping) (out []byte, ok bool) {
	if e.Source == nil {
		return dst, false
	}
	v := e.Source.Name
	if p.what == whatHub {
		v = e.Source.ID
	}
	if v == "" {
		return dst, false
	}
	return appendEscaped(dst, v, x), true
}

func (p *placeholder) appendTopic(dst []byte, e *Event, x *escaping, alone bool) (out []byte, ok bool) {
	v, pretends := topicOf(e)
	switch p.what {
	case whatFamily:
		v = firstSegment(v)
	case whatKind:
		v, _ = splitTopic(v)
	case whatAction:
		_, v = splitTopic(v)
		pretends = false
	}
	if len(v) == 0 {
		return dst, false
	}
	if pretends && x != nil {
		// A payload may say bridge.gap, but only the bridge's own records
		// have that address: the first letter of others is escaped.
		dst, v = x.appendByte(dst, v[0]), v[1:]
	}
	if p.what == whatTopic && x == &subjectEscaping && alone {
		return appendSegments(dst, v), true
	}
	return appendEscaped(dst, v, x), true
}

func appendEscaped[T ~string | ~[]byte](dst []byte, v T, x *escaping) []byte {
	if x == nil {
		return append(dst, v...)
	}
	return appendValue(dst, v, x, x.limit)
}
