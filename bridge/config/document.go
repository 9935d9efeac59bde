package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxFileBytes bounds the file: a real one has a few KiB, and 1 MiB holds
	// more hubs and sinks than one process can run.
	maxFileBytes = 1 << 20
	// maxNodes bounds the tree after aliases are resolved, against the
	// "billion laughs". 1 MiB of plain YAML has at most half as many.
	maxNodes = 1 << 20
	// maxDepth bounds nesting. The configuration's own depth is six.
	maxDepth = 64
)

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mappingNode
	listNode
)

func (k nodeKind) String() string { return [...]string{"a single value", "a mapping", "a list"}[k] }

// node is a YAML value with its place, aliases and merges resolved.
type node struct {
	kind      nodeKind
	line, col int
	text      string // of a scalar
	null      bool   // a scalar without a value
	literal   bool   // not to be expanded
	variable  string // the variable it came from, when not from the file
	pairs     []pair
	items     []*node
}

type pair struct {
	key       string
	line, col int
	value     *node
}

func (n *node) get(key string) *pair {
	if n == nil || n.kind != mappingNode {
		return nil
	}
	for i := range n.pairs {
		if n.pairs[i].key == key {
			return &n.pairs[i]
		}
	}
	return nil
}

// place is where a path stands in the file.
type place struct {
	line, col int
	variable  string
}

// locate returns the place of path or, where that is not written, of the
// nearest thing that it would stand in.
func (n *node) locate(path string) place {
	if n == nil {
		return place{}
	}
	at := place{n.line, n.col, n.variable}
	for path != "" && n != nil {
		var seg string
		if path[0] == '[' {
			num, rest, ok := strings.Cut(path[1:], "]")
			i, err := strconv.Atoi(num)
			if !ok || err != nil || i < 0 || n.kind != listNode || i >= len(n.items) {
				return at
			}
			n, path = n.items[i], strings.TrimPrefix(rest, ".")
			at = place{n.line, n.col, n.variable}
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		seg, path = path[:end], strings.TrimPrefix(path[end:], ".")
		p := n.get(seg)
		if p == nil { // a secret is written as either of two keys
			p = n.get(seg + "_file")
		}
		if p == nil {
			return at
		}
		n = p.value
		at = place{p.line, p.col, n.variable}
	}
	return at
}

// parser turns YAML text into a node.
type parser struct {
	file     string
	problems *problems
	nodes    int
	active   map[*yaml.Node]bool // aliases being resolved
	tooMany  bool
}

// parseDocument parses data. It returns nil when there is nothing to decode:
// the text is not YAML (then it has reported why) or is empty (then not).
func parseDocument(file string, data []byte, ps *problems) *node {
	p := &parser{file: file, problems: ps, active: map[*yaml.Node]bool{}}
	if line, col := invalidUTF8(data); line > 0 {
		p.fail(line, col, "", "the file is not UTF-8 text")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		p.syntax(data, err)
		return nil
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case err == nil:
		p.fail(more.Line, more.Column, "", "a second document (---): one file is one configuration")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(data, err)
		return nil
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	n := p.build(doc.Content[0], "", 0)
	if n != nil && n.kind != mappingNode {
		p.fail(n.line, n.col, "", "the file holds %s: want a mapping (hubs:, sinks:, ...)", n.kind)
		return nil
	}
	if p.tooMany {
		return nil
	}
	return n
}

func (p *parser) fail(line, col int, key, format string, args ...any) {
	p.problems.add(Problem{File: p.file, Line: line, Column: col, Key: key, Text: fmt.Sprintf(format, args...)})
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)`)

// parserError matches the errors whose line yaml counts from 0: those of its
// parser, not those of its scanner (yaml v3, decode.go, parser.fail).
var parserError = regexp.MustCompile(`^did not find expected (<|node content|key|'-'|',')|^found undefined tag handle`)

// syntax reports an error of the YAML parser. A tab in an indentation is
// looked for here, as the parser's own words for it point elsewhere.
func (p *parser) syntax(data []byte, err error) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
		if t := bytes.IndexByte(indent, '\t'); t >= 0 && len(indent) < len(bytes.TrimRight(line, "\r")) {
			p.fail(i+1, t+1, "", "a tab in the indentation: YAML wants spaces")
			return
		}
	}
	m := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	line, _ := strconv.Atoi(m[1])
	if parserError.MatchString(m[2]) {
		line = min(line+1, bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n"))+1)
	}
	p.fail(max(line, 1), 0, "", "not YAML: %s", m[2])
}

func (p *parser) build(y *yaml.Node, path string, depth int) *node {
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		if !p.tooMany {
			p.tooMany = true
			p.fail(y.Line, y.Column, "", "too deeply nested, or too many aliases (at most %d levels and %d values)", maxDepth, maxNodes)
		}
		return nil
	}
	n := &node{line: y.Line, col: y.Column}
	switch y.Kind {
	case yaml.AliasNode:
		if p.active[y.Alias] {
			p.fail(y.Line, y.Column, path, "an alias inside its own anchor")
			return nil
		}
		p.active[y.Alias] = true
		defer delete(p.active, y.Alias)
		return p.build(y.Alias, path, depth+1)
	case yaml.ScalarNode:
		n.text, n.null = y.Value, isNull(y)
	case yaml.SequenceNode:
		n.kind = listNode
		for i, c := range y.Content {
			if item := p.build(c, fmt.Sprintf("%s[%d]", path, i), depth+1); item != nil {
				n.items = append(n.items, item)
			}
			if p.tooMany {
				return nil
			}
		}
	case yaml.MappingNode:
		n.kind = mappingNode
		p.mapping(n, y, path, depth)
	default:
		return nil
	}
	if y.Style&yaml.TaggedStyle != 0 && !strings.HasPrefix(y.Tag, "!!") {
		p.fail(y.Line, y.Column, path, "a YAML tag (%s): none is known here", y.Tag)
	}
	return n
}

func (p *parser) mapping(n *node, y *yaml.Node, path string, depth int) {
	lines := map[string]int{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		if k.Kind != yaml.ScalarNode {
			p.fail(k.Line, k.Column, path, "a key that is not a word")
			continue
		}
		key := join(path, shownKey(k.Value))
		if first, dup := lines[k.Value]; dup {
			p.fail(k.Line, k.Column, key, "the key stands twice: first in line %d", first)
			continue
		}
		lines[k.Value] = k.Line
		if c := p.build(v, key, depth+1); c != nil {
			n.pairs = append(n.pairs, pair{k.Value, k.Line, k.Column, c})
		}
		if p.tooMany {
			return
		}
	}
	for _, m := range merges {
		p.merge(n, m, lines, path, depth)
		if p.tooMany {
			return
		}
	}
}

// merge adds the pairs of a merge key ("<<"): what is written beside it wins,
// then the earlier of several. taken has the keys of n.
func (p *parser) merge(n *node, y *yaml.Node, taken map[string]int, path string, depth int) {
	from := p.build(y, path, depth+1)
	if from == nil {
		return
	}
	list := []*node{from}
	if from.kind == listNode {
		list = from.items
	}
	for _, m := range list {
		if m.kind != mappingNode {
			p.fail(y.Line, y.Column, path, "<< wants a mapping, or a list of mappings")
			continue
		}
		for _, pr := range m.pairs {
			if _, ok := taken[pr.key]; !ok {
				taken[pr.key] = pr.line
				n.pairs = append(n.pairs, pr)
			}
		}
	}
}

// shownKey is a key as messages show it: what follows a colon may be a
// secret that lost its space ("token:abc" is one key, not a key and a value).
func shownKey(key string) string {
	key, _, _ = strings.Cut(key, ":")
	if len(key) > 64 {
		key = key[:64] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, key)
}

func isNull(y *yaml.Node) bool { return y.Kind == yaml.ScalarNode && y.ShortTag() == "!!null" }

// invalidUTF8 returns the place of the first byte that is not UTF-8, or zeros.
func invalidUTF8(data []byte) (line, col int) {
	if utf8.Valid(data) {
		return 0, 0
	}
	line, col = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, col
		case r == '\n':
			line, col = line+1, 1
		default:
			col++
		}
		data = data[size:]
	}
	return 0, 0
}

// at returns the value at a path of mappings, or nil.
func (n *node) at(path string) *node {
	for seg := range strings.SplitSeq(path, ".") {
		p := n.get(seg)
		if p == nil {
			return nil
		}
		n = p.value
	}
	return n
}
