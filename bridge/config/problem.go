package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with the configuration, and where.
type Problem struct {
	File     string // as shown to people; empty without a file
	Line     int    // from 1; 0 when unknown
	Column   int    // from 1, in characters; 0 when unknown
	Variable string // the environment variable or flag that set the value; then File is empty
	Key      string // path, for example sinks[2].brokers; empty for the whole
	Text     string // lower case, says what to do; never a secret
}

// String is file:line:column: key: text, or variable: key: text.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.Variable != "":
		b.WriteString(p.Variable)
		b.WriteString(": ")
	case p.File != "":
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&b, ":%d", p.Column)
			}
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Invalid is the error of a configuration that cannot be used. Load wraps it
// in a *bridge.Error of KindMisconfigured.
type Invalid struct {
	File     string // empty when there is none
	Problems []Problem
}

// Error has one line for each problem.
func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// problems collects what is wrong while loading.
type problems struct {
	errors, warnings []Problem
	more             int // not kept
}

// maxProblems bounds what is kept of one kind: nobody reads on, and a file that
// is not a configuration at all would give one for every line.
const maxProblems = 200

func (ps *problems) add(p Problem) {
	if len(ps.errors) == maxProblems {
		ps.more++
		return
	}
	ps.errors = append(ps.errors, p)
}

func (ps *problems) warn(p Problem) {
	if len(ps.warnings) < maxProblems {
		ps.warnings = append(ps.warnings, p)
	}
}

// touches reports whether there is a mistake at key, inside it, or at
// something that it stands in: whatever else is said about key would only be
// a consequence of that one.
func (ps *problems) touches(key string) bool {
	return slices.ContainsFunc(ps.errors, func(p Problem) bool {
		return p.Key != "" && (within(p.Key, key) || within(key, p.Key) || p.Key == key+"_file")
	})
}

// within reports whether the path inner is outer or stands in it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// sorted returns ps in the order of the file, without repetitions.
func sorted(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Variable, b.Variable),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(ps)
}
