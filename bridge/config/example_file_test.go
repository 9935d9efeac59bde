package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestExampleIsTheDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.example.yaml")
	o := testOptions(t)
	if err := WriteExample(path, o); err != nil {
		t.Fatal(err)
	}
	if err := CheckExample(path, o); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"max_age: 168h  # ", "  # - name: my-broker\n", "listen: 127.0.0.1:4222  # ", "api_key: ${CYCLE_API_KEY}  # ",
		"    # - name: \"\"  # user name\n", "  #   sasl:  # sign in\n", "  cluster: {}  # ",
	} {
		if !bytes.Contains(data, []byte(want)) {
			t.Errorf("the example lacks %q:\n%s", want, data)
		}
	}
	// With every commented sink in force it is YAML still, with the same keys once.
	var off []string
	for l := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(l, "  # "); ok && !strings.HasPrefix(rest, "type ") {
			l = "  " + rest
		}
		off = append(off, l)
	}
	var tree any
	if err := yaml.Unmarshal([]byte(strings.Join(off, "")), &tree); err != nil {
		t.Errorf("the example with its sinks in force: %v\n%s", err, strings.Join(off, ""))
	}
	changed := bytes.Replace(data, []byte("max_age: 168h"), []byte("max_age: 24h"), 1)
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckExample(path, o); err == nil {
		t.Error("an example with another value was accepted")
	}
}

// TestPrintLoadsAgain proves that Print writes every key in the form that
// Load takes.
func TestPrintLoadsAgain(t *testing.T) {
	c, err := loadText(t, hubYAML+"sinks:\n  - {name: s, type: broker, brokers: [a:1], route: [{match: '>'}], topic: \"a\\nb #{x}: 'y'\"}\n  - {name: t, type: stream, url: ''}\n")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	again, err := loadText(t, out.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if got, want := again.text(), c.text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestQuote(t *testing.T) {
	for _, s := range []string{
		"", "a", "~", "null", "NULL", "true", "a: b", "a:", "- a", "#a", "a #b", "{a}", "[a]", "a,b", "'", `"`, "\\", "a\nb",
		" a", "a ", "168h", "127.0.0.1:8080", ":8080", "*", "&a", "!a", "%a", "@a", "`a", "|", ">", "?", "\u00e9", "\t", "0x1", "-1", "/a/b", "a.b>", "=", "<<",
	} {
		for _, form := range []string{"k: " + quote(s) + "\n", "k: [" + quote(s) + "]\n", "k: " + quote(s) + "  # doc\n"} {
			ps := &problems{}
			root := parseDocument("", []byte(form), ps)
			if root == nil {
				t.Fatalf("%q: %v", form, ps.errors)
			}
			n := root.pairs[0].value
			if n.kind == listNode {
				n = n.items[0]
			}
			if n.text != s || n.null || n.kind != scalarNode {
				t.Errorf("%q: got %q (null %v), want %q", form, n.text, n.null, s)
			}
		}
	}
}
