package config

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

const exampleHead = `# cycle-bridge: every key with its default.
#
# Only hubs (id, api_key) must be written; everything else may be left out.
# ${VAR}, ${VAR:-default} and ${VAR:?message} stand for environment variables
# in every value; $$ is a dollar sign. CYCLE_BRIDGE_<KEY> overrides a key outside
# lists, with dots as underscores: CYCLE_BRIDGE_NATS_LISTEN.
# "cycle-bridge check" tells what is wrong, all at once.
#
# Generated from the defaults in the code: do not edit.

`

// Example writes the example file: every key with its default and its doc,
// and a commented entry for every type of sink.
func Example(w io.Writer, o Options) error {
	_, err := w.Write(example(o))
	return err
}

func example(o Options) []byte {
	c := exampleConfig(o)
	e := emitter{docs: true, secrets: true}
	lines := e.fields(reflect.ValueOf(c), 0)
	var b bytes.Buffer
	b.WriteString(exampleHead)
	for _, l := range lines {
		if strings.HasPrefix(l, "http:") { // the section after "sinks"
			b.Truncate(b.Len() - 1)
			for _, t := range exampleSinks(e, o) {
				b.WriteString(t + "\n")
			}
			b.WriteString("\n")
		}
		b.WriteString(l + "\n")
	}
	return b.Bytes()
}

// exampleConfig is what the example says: the defaults, and one hub.
func exampleConfig(o Options) Config {
	c := Defaults()
	h := hub.Defaults()
	h.Name, h.ID, h.APIKey = "production", "${CYCLE_HUB_ID}", setting.NewSecret("${CYCLE_API_KEY}")
	c.Hubs = []hub.Config{h}
	if o.DefaultSinks != nil {
		c.Sinks = o.DefaultSinks()
	}
	return c
}

// exampleSinks returns a commented entry for each type of sink.
func exampleSinks(e emitter, o Options) []string {
	var out []string
	for _, typ := range slices.Sorted(maps.Keys(o.SinkTypes)) {
		out = append(out, "", "  # type "+typ+": "+o.SinkTypes[typ].Doc)
		out = append(out, commentOut(exampleSink(e, o, typ), 2)...)
	}
	return out
}

func exampleSink(e emitter, o Options, typ string) []string {
	s := Sink{Name: "my-" + typ, Type: typ, Config: o.SinkTypes[typ].New()}
	return e.element(reflect.ValueOf(s), 2)
}

// WriteExample writes the example to a file.
func WriteExample(path string, o Options) error {
	return os.WriteFile(path, example(o), 0o644)
}

// CheckExample proves the file at path: it is what Example writes, it loads
// to exactly the built-in defaults, and each commented sink decodes to exactly
// the defaults of its type. It is for tests.
func CheckExample(path string, o Options) error {
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, example(o)) {
		return fmt.Errorf("%s is not what the code says: generate it again", path)
	}
	const id, key = "0123456789abcdef01234567", "an-api-key"
	o.Path, o.Env = path, []string{"CYCLE_HUB_ID=" + id, "CYCLE_API_KEY=" + key}
	got, err := Load(o)
	if err != nil {
		return err
	}
	want := exampleConfig(o)
	want.Hubs[0].ID, want.Hubs[0].APIKey, want.File = id, setting.NewSecret(key), got.File
	if !reflect.DeepEqual(*got, want) {
		return fmt.Errorf("%s does not load to the defaults: got\n%s\nwant\n%s", path, got.text(), want.text())
	}
	for typ := range o.SinkTypes {
		if err := checkExampleSink(o, typ); err != nil {
			return err
		}
	}
	return nil
}

func checkExampleSink(o Options, typ string) error {
	ps := &problems{}
	text := "sinks:\n" + strings.Join(exampleSink(emitter{docs: true}, o, typ), "\n") + "\n"
	root := parseDocument("sink "+typ, []byte(text), ps)
	c := Defaults()
	o.decoder("sink "+typ, root, environment{}, &c, ps).document(&c)
	switch {
	case len(ps.errors) > 0:
		return &Invalid{Problems: ps.errors}
	case len(c.Sinks) != 1 || !reflect.DeepEqual(c.Sinks[0].Config, o.SinkTypes[typ].New()):
		return fmt.Errorf("the example of the sink type %s does not decode to its defaults:\n%s", typ, text)
	}
	return nil
}
