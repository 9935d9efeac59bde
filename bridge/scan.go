package bridge

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep a notification may nest; the object itself is depth 1.
// Real ones have three levels. A deeper frame is kept, but not parsed
// (facts/reliability.md §4 (52)).
const MaxDepth = 64

// scanner reads JSON (RFC 8259) in one pass. It accepts what encoding/json's
// Valid accepts, less invalid UTF-8 and nesting beyond MaxDepth. After a
// method has returned false, reason and i tell what is wrong and where.
type scanner struct {
	b      []byte
	i      int
	reason string
}

func (s *scanner) fail(reason string) bool {
	s.reason = reason
	return false
}

// space skips white space.
func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end. A NUL in the text is not JSON
// outside of strings, so the two need not be told apart.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// value skips one value in a container of the given depth.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		_, _, ok := s.str()
		return ok
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		if c == '-' || '0' <= c && c <= '9' {
			return s.number()
		}
		return s.fail(ReasonNotJSON)
	}
}

// open goes into an object or array; empty tells that it is over already.
func (s *scanner) open(depth int, end byte) (empty, ok bool) {
	if depth > MaxDepth {
		return false, s.fail(ReasonTooDeep)
	}
	s.i++
	s.space()
	if s.peek() == end {
		s.i++
		return true, true
	}
	return false, true
}

// next goes behind a value of an object or array to the next; done tells that
// there is none.
func (s *scanner) next(end byte) (done, ok bool) {
	s.space()
	switch s.peek() {
	case ',':
		s.i++
		s.space()
		return false, true
	case end:
		s.i++
		return true, true
	}
	return false, s.fail(ReasonNotJSON)
}

// key reads a member's name and goes to its value.
func (s *scanner) key() (name span, escaped, ok bool) {
	if s.peek() != '"' {
		return span{}, false, s.fail(ReasonNotJSON)
	}
	name, escaped, ok = s.str()
	if !ok {
		return span{}, false, false
	}
	s.space()
	if s.peek() != ':' {
		return span{}, false, s.fail(ReasonNotJSON)
	}
	s.i++
	s.space()
	return name, escaped, true
}

func (s *scanner) object(depth int) bool {
	done, ok := s.open(depth, '}')
	for ok && !done {
		if _, _, ok := s.key(); !ok || !s.value(depth) {
			return false
		}
		done, ok = s.next('}')
	}
	return ok
}

func (s *scanner) array(depth int) bool {
	done, ok := s.open(depth, ']')
	for ok && !done {
		if !s.value(depth) {
			return false
		}
		done, ok = s.next(']')
	}
	return ok
}

func (s *scanner) literal(want string) bool {
	if len(s.b)-s.i < len(want) || string(s.b[s.i:s.i+len(want)]) != want {
		return s.fail(ReasonNotJSON)
	}
	s.i += len(want)
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return s.fail(ReasonNotJSON)
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return s.fail(ReasonNotJSON)
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			return s.fail(ReasonNotJSON)
		}
	}
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str reads the string that begins at i. content is what stands between the
// quotes; escaped tells that it has escapes.
func (s *scanner) str() (content span, escaped, ok bool) {
	b, i := s.b, s.i+1
	start, wide := i, false
	for {
		// Eight bytes at a time: a byte's high bit is set in stop where it is
		// below 0x20, a quote or a backslash. Of a byte above 0x7f at least one
		// of the last two differences keeps the high bit. Borrows reach only
		// bytes behind such a one, so the first is exact.
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			stop := ((x - ones*0x20) | ((x ^ ones*'"') - ones) | ((x ^ ones*'\\') - ones)) & highs
			if stop != 0 {
				i += bits.TrailingZeros64(stop) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			s.i = i
			return span{}, false, s.fail(ReasonNotJSON)
		}
		switch c := b[i]; {
		case c == '"':
			if wide && !utf8.Valid(b[start:i]) {
				s.i = start
				return span{}, false, s.fail(ReasonUTF8)
			}
			s.i = i + 1
			return span{uint32(start), uint32(i)}, escaped, true
		case c == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				s.i = i
				return span{}, false, s.fail(ReasonNotJSON)
			}
			escaped = true
			i += n
		case c < 0x20:
			s.i = i
			return span{}, false, s.fail(ReasonNotJSON)
		default:
			wide = wide || c >= utf8.RuneSelf
			i++
		}
	}
}

// escapeLen returns the length of the escape that b begins with, 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendDecoded appends a string's content with its escapes decoded. A lone
// surrogate becomes U+FFFD, as in encoding/json.
func appendDecoded(dst, content []byte) []byte {
	for i := 0; i < len(content); {
		if content[i] != '\\' {
			dst = append(dst, content[i])
			i++
			continue
		}
		switch c := content[i+1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(content[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				var low rune
				if i+6 <= len(content) && content[i] == '\\' && content[i+1] == 'u' {
					low, _ = hex4(content[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		default:
			dst = append(dst, c)
		}
		i += 2
	}
	return dst
}
