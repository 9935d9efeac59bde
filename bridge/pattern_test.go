package bridge

import (
	"errors"
	"strings"
	"testing"
)

func TestPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern    string
		yes, no    []string
		wild, name bool // wildFirst, literal
	}{
		{">", []string{"a", "a.b.c", "a..b"}, nil, true, false},
		{"*", []string{"a"}, []string{"a.b", "a."}, true, false},
		{"*.>", []string{"a.b", "a.b.c", "a."}, []string{"a"}, true, false},
		{"container.>", []string{"container.new", "container.state.changed"}, []string{"container", "containers.new", "stack.container.new"}, false, false},
		{"container.new", []string{"container.new"}, []string{"container", "container.new.x", "container.newer", "xcontainer.new"}, false, true},
		{"*.state.changed", []string{"stack.state.changed"}, []string{"state.changed", "stack.build.state.changed", "stack.state.error"}, true, false},
		{"container.{created,new}", []string{"container.created", "container.new"}, []string{"container.error", "container.{created,new}", "container."}, false, true},
		{"container.instance{,s}.>", []string{"container.instance.error", "container.instances.reconfigured"}, []string{"container.instanced.x", "container.instance"}, false, false},
		{"{a,b}{1,2}.x", []string{"a1.x", "a2.x", "b1.x", "b2.x"}, []string{"a.x", "1.x", "ab1.x"}, false, true},
		{"infrastructure.provider.*", []string{"infrastructure.provider.*", "infrastructure.provider.new"}, []string{"infrastructure.provider"}, false, false},
		{"virtual-machine.ssh-key.error_reset", []string{"virtual-machine.ssh-key.error_reset"}, []string{"virtual-machine.ssh-key.error"}, false, true},
	} {
		p, err := ParsePattern(tt.pattern)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tt.pattern, err)
			continue
		}
		for _, topic := range tt.yes {
			if !p.Match([]byte(topic)) {
				t.Errorf("%q does not match %q", tt.pattern, topic)
			}
		}
		for _, topic := range tt.no {
			if p.Match([]byte(topic)) {
				t.Errorf("%q matches %q", tt.pattern, topic)
			}
			if p.mismatch([]byte(topic)) == "" {
				t.Errorf("%q, topic %q: no reason", tt.pattern, topic)
			}
		}
		if p.wildFirst() != tt.wild || p.literal() != tt.name {
			t.Errorf("%q: wildFirst %v, literal %v, want %v, %v", tt.pattern, p.wildFirst(), p.literal(), tt.wild, tt.name)
		}
	}
}

func TestPatternErrors(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		offset  int
		msg     string
	}{
		{"", 0, "empty pattern"},
		{".a", 0, "empty segment"},
		{"a.", 2, "empty segment"},
		{"a..b", 2, "empty segment"},
		{"a.>.b", 2, "> must be the last"},
		{"a.b>", 3, "whole segment"},
		{"a*.b", 1, "whole segment"},
		{"*a.b", 0, "whole segment"},
		{"a.{*,b}", 3, "whole segment"},
		{"a.{b,c", 2, "{ without }"},
		{"a.b}", 3, "} without {"},
		{"a.{b,{c}}", 5, "{ inside braces"},
		{"a.{b.c}", 4, "within one segment"},
		{"a,b", 1, "comma"},
		{"a.{,}", 2, "empty segment"},
		{"a b", 1, "space"},
		{"a\n", 1, "control"},
		{"a." + strings.Repeat("{a,b}", 9), 2 + 5*8, "more than 256"},
	} {
		_, err := ParsePattern(tt.pattern)
		e, ok := errors.AsType[*SyntaxError](err)
		if !ok {
			t.Errorf("ParsePattern(%q) = %v, want a *SyntaxError", tt.pattern, err)
			continue
		}
		if e.Offset != tt.offset || !strings.Contains(e.Msg, tt.msg) {
			t.Errorf("ParsePattern(%q): %q at %d, want %q at %d", tt.pattern, e.Msg, e.Offset, tt.msg, tt.offset)
		}
	}
}
