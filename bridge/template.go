package bridge

import (
	"errors"
	"strings"
)

// Template makes a destination or a key from an event: literal text, and
// placeholders in braces with alternatives, of which the first that has a
// value counts: "ops.{container|object|\"none\"}.{topic}". It is immutable and
// may be used concurrently.
//
// Values are escaped for the kind of destination, so that the result is
// always legal there and two values never meet. Where no alternative has a
// value, "_" stands in a subject and a Kafka topic, nothing elsewhere. A lone
// {topic} in a subject gives one token a segment; everything else one token.
// A Kafka topic of more than 249 bytes is cut and ends in a hash of the whole.
//
// A notification whose topic pretends to be one of the bridge's own
// (bridge.gap) gets that topic with its first letter escaped: %62ridge.gap.
type Template struct {
	text  string
	kind  DestinationKind
	x     *escaping // nil: no escaping
	parts []templatePart
	in    inputs
}

// templatePart is literal text, then a placeholder; either may be missing.
type templatePart struct {
	literal      string
	at           int // where the literal stands in the text
	alternatives []placeholder
}

// ParseTemplate reads a template for a kind of destination. DestinationNone
// is for keys and other texts that need no escaping. Errors are *SyntaxError.
//
// Errors about a URL do not quote it: it may hold a secret.
func ParseTemplate(s string, kind DestinationKind) (*Template, error) {
	t := &Template{text: s, kind: kind, x: escapingFor(kind)}
	err := t.parse()
	if err == nil {
		return t, nil
	}
	if e, ok := errors.AsType[*SyntaxError](err); ok && kind == DestinationURL {
		e.Text = ""
	}
	return nil, err
}

func (t *Template) parse() error {
	s := t.text
	if s == "" && t.kind != DestinationNone {
		return syntaxErrorf(s, 0, "empty %s", t.kind)
	}
	for i := 0; i < len(s); {
		part := templatePart{at: i}
		open := strings.IndexAny(s[i:], "{}")
		if open < 0 {
			open = len(s) - i
		}
		part.literal = s[i : i+open]
		i += open
		if i < len(s) {
			if s[i] == '}' {
				return syntaxErrorf(s, i, "} without {")
			}
			end, err := t.alternatives(&part, i)
			if err != nil {
				return err
			}
			i = end
		}
		t.parts = append(t.parts, part)
	}
	return t.check()
}

func escapingFor(kind DestinationKind) *escaping {
	switch kind {
	case DestinationSubject:
		return &subjectEscaping
	case DestinationKafka:
		return &kafkaEscaping
	case DestinationURL:
		return &urlEscaping
	default:
		return nil
	}
}

// alternatives reads the placeholder whose brace stands at open, and returns
// where it ends.
func (t *Template) alternatives(part *templatePart, open int) (int, error) {
	s := t.text
	quote := byte(0)
	for i, start := open+1, open+1; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			return 0, syntaxErrorf(s, i, "{ inside braces")
		case c == '|' || c == '}':
			p, err := parsePlaceholder(s, start, i)
			if err != nil {
				return 0, err
			}
			if p.what == whatText {
				if err := t.checkText(p.text, start); err != nil {
					return 0, err
				}
			}
			part.alternatives = append(part.alternatives, p)
			t.in |= p.what.inputs()
			if c == '}' {
				return i + 1, nil
			}
			start = i + 1
		}
	}
	return 0, syntaxErrorf(s, open, "{ without }")
}

// String returns the text the template was made from.
func (t *Template) String() string { return t.text }

// Append appends what the template gives for e. It allocates only when dst is
// full, and for paths to strings with escapes.
func (t *Template) Append(dst []byte, e *Event) []byte {
	start := len(dst)
	for i := range t.parts {
		part := &t.parts[i]
		dst = append(dst, part.literal...)
		if part.alternatives == nil {
			continue
		}
		ok := false
		for j := range part.alternatives {
			dst, ok = part.alternatives[j].append(dst, e, t.x, len(part.alternatives) == 1)
			if ok {
				break
			}
		}
		if !ok && t.x != nil {
			dst = append(dst, t.x.missing...)
		}
	}
	if t.kind == DestinationKafka && len(dst)-start > maxKafkaTopic {
		whole := dst[start:]
		return appendCut(dst[:start], whole, whole, t.x, maxKafkaTopic)
	}
	return dst
}

// view returns the value of a template that is nothing but one placeholder
// whose value stands in the event's own bytes, and so needs no copy.
func (t *Template) view(e *Event) (v []byte, ok bool) {
	if t.x != nil || len(t.parts) != 1 || t.parts[0].literal != "" {
		return nil, false
	}
	for i := range t.parts[0].alternatives {
		p := &t.parts[0].alternatives[i]
		switch p.what {
		case whatField:
			v = e.Note.Field(p.field)
		case whatPath:
			v = e.Note.Path(p.path)
		case whatTopic:
			v, _ = topicOf(e)
		default:
			return nil, false
		}
		if len(v) > 0 {
			return v, true
		}
	}
	return nil, true
}
