package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func TestLoadFull(t *testing.T) {
	text := `
hubs:
  - name: production
    id: ` + hubID + `
    api_key: ${KEY}
    connections: auto
    filter: {containers: [], topic: "container.state.changed"}
  - id: 5f1e0c0ffee0c0ffee0c0fff
    api_key: "pa$$word"
journal:
  dir: ${DIR:-/var/lib/cycle}
  max_age: 24h
  max_bytes: 2GiB
sinks:
  - &base
    name: one
    type: broker
    brokers: [a:9092, "${HOST}:9092"]
    sasl: {username: u, password: "${KEY}"}
    compression: zstd
    partitions: "6"
  - <<: *base
    name: two
    timeout: 1m30s
    route:
      - {match: ">", topic: x}
  - {name: three, type: stream}
shutdown_timeout: 5s
`
	c, err := loadText(t, text, "KEY="+canary, "HOST=line one\nline two: [x", "DIR=")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(c.Hubs), 2; got != want {
		t.Fatalf("hubs: got %d, want %d", got, want)
	}
	key, _ := c.Hubs[0].APIKey.Read()
	second, _ := c.Hubs[1].APIKey.Read()
	one, two := c.Sinks[0].Config.(*brokerSink), c.Sinks[1].Config.(*brokerSink)
	password, _ := two.SASL.Password.Read()
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"key from a variable", key, canary},
		{"dollar escaped", second, "pa$word"},
		{"default of a list element", c.Hubs[0].APIURL, hub.Defaults().APIURL},
		{"topic", c.Hubs[0].Filter.Topic, "container.state.changed"},
		{"name of a hub without one", c.Hubs[1].Name, "5f1e0c0ffee0c0ffee0c0fff"},
		{"default for an empty variable", c.Journal.Dir, "/var/lib/cycle"},
		{"duration", c.Journal.MaxAge, 24 * time.Hour},
		{"size", c.Journal.MaxBytes, setting.Size(2 << 30)},
		{"newline in a variable is data", one.Brokers, []string{"a:9092", "line one\nline two: [x:9092"}},
		{"pointer", *one.Compression, "zstd"},
		{"quoted number", one.Partitions, 6},
		{"merged", two.Brokers, one.Brokers},
		{"merged secret", password, canary},
		{"beside the merge", two.Timeout, 90 * time.Second},
		{"default kept", one.Timeout, 10 * time.Second},
		{"route", two.Route, []rule{{Match: ">", Topic: "x"}}},
		{"names", []string{c.Sinks[0].Name, c.Sinks[1].Name, c.Sinks[2].Name}, []string{"one", "two", "three"}},
		{"type", c.Sinks[2].Type, "stream"},
		{"other default", c.NATS.Listen, "127.0.0.1:4222"},
		{"shutdown_timeout", c.ShutdownTimeout, 5 * time.Second},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestDefaultSinks(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int
	}{{"", 1}, {"sinks:\n", 1}, {"sinks: []\n", 0}} {
		c, err := loadText(t, hubYAML+tc.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.Sinks); got != tc.want {
			t.Errorf("sinks of %q: got %d, want %d", tc.text, got, tc.want)
		}
	}
}

// TestEncodings is (5): what is no mistake.
func TestEncodings(t *testing.T) {
	text := hubYAML + "journal:\n  dir: x\nlog: {level: debug}\n"
	for name, in := range map[string]string{
		"BOM":           "\ufeff" + text,
		"CRLF":          strings.ReplaceAll(text, "\n", "\r\n"),
		"tab in a line": strings.ReplaceAll(text, "dir: x", "dir: x\t# a comment"),
		"no newline":    strings.TrimSuffix(text, "\n"),
	} {
		c, err := loadText(t, in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.Journal.Dir != "x" || c.Log.Level != "debug" {
			t.Errorf("%s: got dir %q, level %q", name, c.Journal.Dir, c.Log.Level)
		}
	}
}

// TestBadBytes is (4) and the rest of (5).
func TestBadBytes(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	mergeBomb := "a: &a\n"
	for i := range 10_000 {
		mergeBomb += fmt.Sprintf("  k%d: 1\n", i)
	}
	mergeBomb += "b: {<<: [" + strings.TrimSuffix(strings.Repeat("*a, ", 80), ", ") + "]}\n"
	for name, tc := range map[string]struct{ text, want string }{
		"4 alias bomb":     {bomb, "too many aliases"},
		"4 deep":           {"a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "too deeply nested"},
		"4 very deep":      {"a: " + strings.Repeat("[", 500_000), "not YAML"},
		"4 large file":     {"# " + strings.Repeat("x", 1<<20), "the file is larger than 1MiB"},
		"5 not UTF-8":      {"hubs:\n  - name: \xff\n", "the file is not UTF-8 text"},
		"5 NUL":            {"hubs: \x00\n", "not YAML"},
		"4 merge bomb":     {mergeBomb, "unknown key"},
		"many mistakes":    {strings.Repeat("? [x]\n: y\n", 5000), " more mistakes"},
		"undefined anchor": {"a: *nope\n", "not YAML: unknown anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadText(t, tc.text)
			ps := problemsOf(t, err)
			if !slices.ContainsFunc(ps, func(p Problem) bool { return strings.Contains(p.Text, tc.want) }) {
				t.Errorf("got %v, want %q", ps[:min(len(ps), 5)], tc.want)
			}
			if len(ps) > maxProblems+1 {
				t.Errorf("got %d problems, want a bound", len(ps))
			}
		})
	}
}

func TestSearch(t *testing.T) {
	wd, xdg, home, named := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	t.Chdir(wd)
	write := func(path, level string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(hubYAML+"log: {level: "+level+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	o := testOptions(t)
	o.Env = []string{"HOME=" + home, "XDG_CONFIG_HOME=" + xdg}
	// From the weakest place to the strongest; each is found though the
	// weaker ones are there.
	steps := []struct {
		name string
		do   func() string
	}{
		{"home", func() string {
			o.Env = []string{"HOME=" + home}
			return write(filepath.Join(home, ".config/cycle-bridge/config.yaml"), "debug")
		}},
		{"xdg", func() string {
			o.Env = []string{"HOME=" + home, "XDG_CONFIG_HOME=" + xdg}
			return write(filepath.Join(xdg, "cycle-bridge/config.yaml"), "info")
		}},
		{"working directory", func() string { return write(filepath.Join(wd, "cycle-bridge.yaml"), "warn") }},
		{"variable", func() string {
			p := write(filepath.Join(named, "v.yaml"), "error")
			o.Env = append(o.Env, "CYCLE_BRIDGE_CONFIG="+p)
			return p
		}},
		{"flag", func() string { o.Path = write(filepath.Join(named, "f.yaml"), "debug"); return o.Path }},
	}
	for _, s := range steps {
		want := s.do()
		c, err := Load(o)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if c.File != want {
			t.Errorf("%s: got file %q, want %q", s.name, c.File, want)
		}
	}
	o.Path = "none.yaml"
	if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "none.yaml: cannot be read: no such file") {
		t.Errorf("a named file that is not there: got %v", err)
	}
	o.Path = wd
	if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory: got %v", err)
	}
	o.Path, o.Stdin = "-", strings.NewReader(hubYAML+"log: {level: loud}\n")
	if _, err := Load(o); err == nil || !strings.Contains(err.Error(), "<stdin>:2:7: log.level") {
		t.Errorf("standard input: got %v", err)
	}
}

// TestSecretFiles is (19), beside testdata/bad.
func TestSecretFiles(t *testing.T) {
	key := writeFile(t, "key", canary+"\n")
	text := "hubs: [{name: a, id: " + hubID + ", api_key_file: '" + key + "'}]\n"
	c, err := loadText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Hubs[0].APIKey.Read(); got != canary || err != nil {
		t.Errorf("key: got %q, %v; want it without the newline", got, err)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: got %v, want none", c.Warnings)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err = loadText(t, text); err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0].String(), "test.yaml:1:") || !strings.Contains(c.Warnings[0].Text, "chmod 600") {
		t.Errorf("warnings: got %v, want one about the file's mode", c.Warnings)
	}
	if err := os.WriteFile(key, []byte("rotated"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Hubs[0].APIKey.Read(); got != "rotated" {
		t.Errorf("key after rotation: got %q", got)
	}
}

func TestCheckHook(t *testing.T) {
	o := testOptions(t)
	o.Path = writeFile(t, "test.yaml", hubYAML+"sinks:\n  - {name: a, type: stream,\n     stream: S}\n")
	o.Check = func(c *Config) []setting.Mistake {
		return []setting.Mistake{{Key: "sinks[0].stream", Text: "taken"}, {Key: "sinks[0].url", Text: "none"}}
	}
	_, err := Load(o)
	checkProblems(t, problemsOf(t, err), []string{"3:5 sinks[0].url: none", "4:6 sinks[0].stream: taken"})
}

// TestSecretsStayHidden looks for a secret in everything that is printed.
func TestSecretsStayHidden(t *testing.T) {
	text := "hubs: [{name: a, id: " + hubID + ", api_key: " + canary + "}]\n" + `
sinks:
  - {name: t, type: stream, url: "nats://user:` + canary + `@host:4222,nats://u:` + canary + `@b?token=` + canary + `"}
  - {name: s, type: broker, brokers: [a:1], sasl: {username: u, password: ` + canary + `}}
`
	c, err := loadText(t, text, "CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY="+canary)
	if err != nil {
		if strings.Contains(err.Error(), canary) {
			t.Fatalf("the error shows a secret: %v", err)
		}
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Print(&out); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "%v %+v %#v", c.Hubs, c.Hubs, c.Hubs[0].APIKey)
	if strings.Contains(out.String(), canary) {
		t.Errorf("a secret is shown:\n%s", out.String())
	}
	for _, want := range []string{`api_key: "[redacted]"`, `encryption_key: "[redacted]"`, `"nats://[redacted]@host:4222`, "password: \"[redacted]\""} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("Print lacks %q:\n%s", want, out.String())
		}
	}
}

// TestSecretsInMessages gives a secret to keys whose mistakes show their value.
func TestSecretsInMessages(t *testing.T) {
	for name, text := range map[string]string{
		"inline":       "hubs: [{name: a, id: " + hubID + ", api_key: " + canary + "}]\nlog: {level: " + canary + "}\n",
		"in a list":    hubYAML + "sinks: [{name: " + canary + "!, type: broker, brokers: [x], sasl: {password: " + canary + "!}}]\n",
		"by variable":  hubYAML + "log: {level: '${SECRET}'}\n",
		"as a mapping": hubYAML + "log: " + canary + "\nsinks: [" + canary + "]\n",
		"as a key":     hubYAML + "log: {level:" + canary + ": info}\n",
	} {
		_, err := loadText(t, text, "SECRET="+canary)
		if err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v, want an error without the secret", name, err)
		}
	}
	_, err := loadText(t, hubYAML, "CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY="+canary, "CYCLE_BRIDGE_LOG_LEVEL="+canary)
	if err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("override: got %v, want an error without the secret", err)
	}
}

func TestHash(t *testing.T) {
	load := func(text string) string {
		t.Helper()
		c, err := loadText(t, text)
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash()
	}
	base := load(hubYAML)
	if got := load("# a comment\n" + strings.Replace(hubYAML, "api_key: k", "api_key: other", 1) + "log: {level: info}\n"); got != base {
		t.Errorf("hash with another secret and a written default: got %s, want %s", got, base)
	}
	if got := load(hubYAML + "log: {level: debug}\n"); got == base {
		t.Error("hash with another level is the same")
	}
}
