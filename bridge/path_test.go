package bridge

import (
	"errors"
	"strings"
	"testing"
)

func TestPath(t *testing.T) {
	n, err := ParseNotification([]byte(` {"topic":"a.b", "x" : [ 1 , "two", [3, 4.50e+1] , true, false, null, "", "e\u0301\n"],
		"context":{"environments":["e0","e1"],"a.b":"dotted","d":1,"d":"last"},"\u0079":"why"}`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		`$.topic`:                   "a.b",
		`$.context.environments[0]`: "e0",
		`$.context.environments[1]`: "e1",
		`$.context.environments[2]`: "",
		`$.context.environments`:    "",
		`$.context`:                 "",
		`$.context["a.b"]`:          "dotted",
		`$['context']['a.b']`:       "dotted",
		`$.context.d`:               "last",
		`$.x[0]`:                    "1",
		`$.x[1]`:                    "two",
		`$.x[2][1]`:                 "4.50e+1",
		`$.x[3]`:                    "true",
		`$.x[4]`:                    "false",
		`$.x[5]`:                    "",
		`$.x[6]`:                    "",
		`$.x[7]`:                    "e\u0301\n",
		`$.x.topic`:                 "",
		`$.topic[0]`:                "",
		`$.topic.x`:                 "",
		`$.y`:                       "why",
		`$.missing.more[3]`:         "",
	} {
		p, err := ParsePath(path)
		if err != nil {
			t.Errorf("ParsePath(%s): %v", path, err)
			continue
		}
		got := n.Path(p)
		if string(got) != want || (got == nil) != (want == "") {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
		if p.String() != path {
			t.Errorf("String() = %q, want %q", p, path)
		}
	}
	var zero Notification
	if p, _ := ParsePath("$.topic"); zero.Path(p) != nil {
		t.Error("a path into the zero Notification leads somewhere")
	}
}

func TestPathErrors(t *testing.T) {
	for _, tt := range []struct {
		path   string
		offset int
		msg    string
	}{
		{"", 0, "begins with $"},
		{"topic", 0, "begins with $"},
		{"$", 1, "no member"},
		{"$topic", 1, "want . or ["},
		{"$.", 2, "want a name"},
		{"$..a", 2, "want a name"},
		{"$.a b", 3, "want . or ["},
		{"$.a[", 4, "want an index"},
		{"$.a[x]", 4, "want an index"},
		{"$.a[-1]", 4, "want an index"},
		{"$.a[1", 5, "want ]"},
		{"$.a[1000001]", 4, "above"},
		{"$.a[99999999999999999999]", 4, "above"},
		{`$.a["b]`, 4, "not closed"},
		{`$.a["b"x`, 7, "want ]"},
	} {
		_, err := ParsePath(tt.path)
		e, ok := errors.AsType[*SyntaxError](err)
		if !ok || e.Offset != tt.offset || !strings.Contains(e.Msg, tt.msg) {
			t.Errorf("ParsePath(%q) = %v, want %q at offset %d", tt.path, err, tt.msg, tt.offset)
		}
	}
}
