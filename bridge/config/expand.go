package config

import (
	"fmt"
	"strings"
)

// lookup returns an environment variable.
type lookup func(name string) (value string, ok bool)

// expand replaces ${VAR}, ${VAR:-default} and ${VAR:?message} in s, and $$ by
// a dollar sign; any other dollar sign stays. The value of a variable is data:
// it is not expanded again, and keeps its newlines. A default is taken as it
// stands, up to the first closing brace.
//
// The two errors of a variable that is not set are told apart from that of a
// form which is none: an empty variable is set for ${VAR} and not for the other
// two, as in a POSIX shell.
func expand(s string, env lookup) (string, error) {
	if !strings.Contains(s, "$") {
		return s, nil
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String(), nil
		}
		out.WriteString(s[:i])
		switch s[i+1] {
		case '$':
			out.WriteByte('$')
			s = s[i+2:]
			continue
		case '{':
		default:
			out.WriteByte('$')
			s = s[i+1:]
			continue
		}
		expr, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", fmt.Errorf("${ without a closing brace; write $$ for a dollar sign")
		}
		value, err := expandOne(expr, env)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		s = rest
	}
}

func expandOne(expr string, env lookup) (string, error) {
	name, op, arg := expr, "", ""
	if i := strings.IndexByte(expr, ':'); i >= 0 {
		name = expr[:i]
		if i+1 < len(expr) {
			op, arg = expr[i:i+2], expr[i+2:]
		} else {
			op = ":"
		}
	}
	if !isVariable(name) {
		return "", fmt.Errorf("${...} without the name of a variable: want ${VAR}, ${VAR:-default} or ${VAR:?message}, or $$ for a dollar sign")
	}
	value, set := env(name)
	switch op {
	case "":
		if !set {
			return "", fmt.Errorf("environment variable %s is not set; ${%s:-default} gives a default", name, name)
		}
	case ":-":
		if value == "" {
			value = arg
		}
	case ":?":
		if value == "" {
			if arg == "" {
				arg = "it is needed here"
			}
			return "", fmt.Errorf("environment variable %s is not set: %s", name, arg)
		}
	default:
		return "", fmt.Errorf("${%s...}: want ${%s}, ${%s:-default} or ${%s:?message}", name, name, name, name)
	}
	return value, nil
}

func isVariable(name string) bool {
	for i, r := range name {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}
