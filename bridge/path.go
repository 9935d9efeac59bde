package bridge

import "strconv"

// maxPathIndex bounds an index, so that a typing error is seen as one.
const maxPathIndex = 1_000_000

// Path names a place in a notification: $.context.environments[0]. A name of
// other characters than letters, digits, _ and - stands in brackets and
// quotes: $.annotations["a.b"]. It is immutable and may be used concurrently.
type Path struct {
	text  string
	steps []step
}

// step is a member's name, or an index where the name is not set.
type step struct {
	name  string
	named bool
	index int
}

// ParsePath reads a path. Errors are *SyntaxError.
func ParsePath(s string) (*Path, error) {
	if s == "" || s[0] != '$' {
		return nil, syntaxErrorf(s, 0, "a path begins with $")
	}
	p := &Path{text: s}
	for i := 1; i < len(s); {
		var err error
		var st step
		switch s[i] {
		case '.':
			st, i, err = pathName(s, i+1)
		case '[':
			st, i, err = pathBracket(s, i+1)
		default:
			err = syntaxErrorf(s, i, "want . or [")
		}
		if err != nil {
			return nil, err
		}
		p.steps = append(p.steps, st)
	}
	if len(p.steps) == 0 {
		return nil, syntaxErrorf(s, len(s), "the path names no member")
	}
	return p, nil
}

func pathName(s string, start int) (step, int, error) {
	i := start
	for i < len(s) && (byteClass[s[i]]&subjectByte != 0) {
		i++
	}
	if i == start {
		return step{}, 0, syntaxErrorf(s, start, "want a name of letters, digits, _ and -")
	}
	return step{name: s[start:i], named: true}, i, nil
}

func pathBracket(s string, start int) (step, int, error) {
	if start < len(s) && (s[start] == '"' || s[start] == '\'') {
		for i := start + 1; i < len(s); i++ {
			if s[i] != s[start] {
				continue
			}
			if i+1 >= len(s) || s[i+1] != ']' {
				return step{}, 0, syntaxErrorf(s, i+1, "want ]")
			}
			return step{name: s[start+1 : i], named: true}, i + 2, nil
		}
		return step{}, 0, syntaxErrorf(s, start, "the quote is not closed")
	}
	i := start
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	n, err := strconv.Atoi(s[start:i])
	switch {
	case i == start:
		return step{}, 0, syntaxErrorf(s, start, "want an index or a quoted name")
	case err != nil || n > maxPathIndex:
		return step{}, 0, syntaxErrorf(s, start, "the index is above %d", maxPathIndex)
	case i >= len(s) || s[i] != ']':
		return step{}, 0, syntaxErrorf(s, i, "want ]")
	}
	return step{index: n}, i + 1, nil
}

// String returns the text the path was made from.
func (p *Path) String() string { return p.text }

// Path returns what stands at p: a string's content, or the text of a number,
// true or false as it is written. It returns nil where there is nothing, null,
// an object or an array. Of members that stand twice the last counts. It reads
// the raw bytes again, and allocates only for a string with escapes.
func (n *Notification) Path(p *Path) []byte {
	if !n.Parsed() {
		return nil
	}
	s := scanner{b: n.raw}
	s.space()
	for i := range p.steps {
		if !s.descend(&p.steps[i]) {
			return nil
		}
	}
	start := s.i
	switch s.peek() {
	case '"':
		content, escaped, ok := s.str()
		switch {
		case !ok || content.start == content.end:
			return nil
		case escaped:
			return appendDecoded(nil, s.b[content.start:content.end])
		}
		return s.b[content.start:content.end:content.end]
	case '{', '[', 'n':
		return nil
	}
	if !s.value(0) {
		return nil
	}
	return s.b[start:s.i:s.i]
}

// descend goes to the value that a step names.
func (s *scanner) descend(st *step) bool {
	if !st.named {
		if s.peek() != '[' {
			return false
		}
		done, ok := s.open(0, ']')
		for i := 0; ok && !done; i++ {
			if i == st.index {
				return true
			}
			if !s.value(0) {
				return false
			}
			done, ok = s.next(']')
		}
		return false
	}
	if s.peek() != '{' {
		return false
	}
	found := -1
	done, ok := s.open(0, '}')
	for ok && !done {
		name, escaped, ok := s.key()
		if !ok {
			return false
		}
		key := s.b[name.start:name.end]
		if escaped {
			key = appendDecoded(nil, key)
		}
		if string(key) == st.name {
			found = s.i
		}
		if !s.value(0) {
			return false
		}
		if done, ok = s.next('}'); !ok {
			return false
		}
	}
	if found < 0 {
		return false
	}
	s.i = found
	return true
}
