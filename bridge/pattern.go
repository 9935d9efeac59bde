package bridge

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// maxAlternatives bounds what the braces of one segment stand for.
const maxAlternatives = 256

// Pattern is a NATS-style pattern over topics: segments are separated by
// dots, "*" stands for one segment and ">", last, for one or more. Braces list
// alternatives for a segment or a part of one: "container.{created,new}",
// "container.instance{,s}.>". It is immutable and may be used concurrently.
type Pattern struct {
	text     string
	segments []segment
	rest     bool // ends in ">"
}

// segment is one segment of a pattern; no names means "*".
type segment struct{ names []string }

// ParsePattern reads a pattern. Errors are *SyntaxError.
func ParsePattern(s string) (*Pattern, error) {
	if s == "" {
		return nil, syntaxErrorf(s, 0, "empty pattern; > matches everything")
	}
	p := &Pattern{text: s}
	for start := 0; ; {
		end, err := segmentEnd(s, start)
		if err != nil {
			return nil, err
		}
		switch text := s[start:end]; text {
		case "":
			return nil, syntaxErrorf(s, start, "empty segment")
		case ">":
			if end < len(s) {
				return nil, syntaxErrorf(s, start, "> must be the last segment")
			}
			p.rest = true
		case "*":
			p.segments = append(p.segments, segment{})
		default:
			names, err := expandBraces(s, start, end)
			if err != nil {
				return nil, err
			}
			p.segments = append(p.segments, segment{names: names})
		}
		if end == len(s) {
			return p, nil
		}
		start = end + 1
	}
}

// segmentEnd returns where the segment that begins at start ends, having
// looked at every character of it.
func segmentEnd(s string, start int) (int, error) {
	brace := -1
	for i := start; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f:
			return 0, syntaxErrorf(s, i, "space or control character")
		case c == '{' && brace >= 0:
			return 0, syntaxErrorf(s, i, "{ inside braces")
		case c == '{':
			brace = i
		case c == '}' && brace < 0:
			return 0, syntaxErrorf(s, i, "} without {")
		case c == '}':
			brace = -1
		case c == ',' && brace < 0:
			return 0, syntaxErrorf(s, i, "a comma belongs inside braces")
		case c == '.' && brace >= 0:
			return 0, syntaxErrorf(s, i, "braces list alternatives within one segment")
		case c == '.':
			return i, nil
		case c == '*' || c == '>':
			if i > start || i+1 < len(s) && s[i+1] != '.' {
				return 0, syntaxErrorf(s, i, "%c stands only for a whole segment", c)
			}
		}
	}
	if brace >= 0 {
		return 0, syntaxErrorf(s, brace, "{ without }")
	}
	return len(s), nil
}

// expandBraces returns every name that the segment s[start:end] stands for.
func expandBraces(s string, start, end int) ([]string, error) {
	names := []string{""}
	extend := func(tails ...string) {
		var longer []string
		for _, n := range names {
			for _, t := range tails {
				longer = append(longer, n+t)
			}
		}
		names = longer
	}
	for i := start; i < end; {
		stop := len(s[i:end])
		if s[i] == '{' {
			stop = strings.IndexByte(s[i:end], '}')
			tails := strings.Split(s[i+1:i+stop], ",")
			if len(names)*len(tails) > maxAlternatives {
				return nil, syntaxErrorf(s, i, "more than %d alternatives", maxAlternatives)
			}
			extend(tails...)
			i += stop + 1
			continue
		}
		if next := strings.IndexByte(s[i:end], '{'); next >= 0 {
			stop = next
		}
		extend(s[i : i+stop])
		i += stop
	}
	if slices.Contains(names, "") {
		return nil, syntaxErrorf(s, start, "empty segment")
	}
	return names, nil
}

// String returns the text the pattern was made from.
func (p *Pattern) String() string { return p.text }

// Match reports whether the pattern matches a topic as text alone. It does not
// allocate. Routers also look at who made the event: see Router.
func (p *Pattern) Match(topic []byte) bool {
	for i := range p.segments {
		if topic == nil {
			return false
		}
		seg, rest, more := bytes.Cut(topic, dot)
		if !p.segments[i].match(seg) {
			return false
		}
		if topic = rest; !more {
			topic = nil
		}
	}
	return (topic != nil) == p.rest
}

var dot = []byte{'.'}

func (s *segment) match(seg []byte) bool {
	if s.names == nil {
		return true
	}
	return slices.Contains(s.names, string(seg))
}

// literal reports whether the pattern has no wildcard.
func (p *Pattern) literal() bool {
	return !p.rest && !slices.ContainsFunc(p.segments, func(s segment) bool { return s.names == nil })
}

// wildFirst reports whether the first segment is a wildcard.
func (p *Pattern) wildFirst() bool { return len(p.segments) == 0 || p.segments[0].names == nil }

// mismatch tells people why the pattern does not match the topic.
func (p *Pattern) mismatch(topic []byte) string {
	have := bytes.Split(topic, dot)
	for i, s := range p.segments {
		switch {
		case i >= len(have):
			return fmt.Sprintf("the topic ends after %d segments", len(have))
		case !s.match(have[i]):
			return fmt.Sprintf("segment %d is %q, not %s", i+1, have[i], strings.Join(s.names, " or "))
		}
	}
	if p.rest {
		return fmt.Sprintf("> needs one more segment than the topic's %d", len(have))
	}
	return fmt.Sprintf("the topic has %d segments, the pattern %d", len(have), len(p.segments))
}
