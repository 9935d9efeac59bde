package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

const (
	hubID  = "5f1e0c0ffee0c0ffee0c0ffe"
	canary = "canary-7Hq2xW9"
)

// brokerSink stands for a sink that needs an address.
type brokerSink struct {
	Brokers     []string      `yaml:"brokers" doc:"host:port"`
	Topic       string        `yaml:"topic" doc:"template"`
	Partitions  int           `yaml:"partitions" doc:"number of partitions"`
	Timeout     time.Duration `yaml:"timeout" doc:"time"`
	MaxBytes    setting.Size  `yaml:"max_bytes" doc:"size"`
	Compression *string       `yaml:"compression" doc:"algorithm"`
	Ratio       float64       `yaml:"ratio" doc:"a number"`
	SASL        struct {
		Username string         `yaml:"username" doc:"user"`
		Password setting.Secret `yaml:"password" doc:"password"`
	} `yaml:"sasl" doc:"sign in"`
	TLS   setting.TLS `yaml:"tls" doc:"TLS"`
	Route []rule      `yaml:"route" doc:"rules"`
}

type rule struct {
	Match string `yaml:"match" doc:"pattern"`
	Topic string `yaml:"topic" doc:"template"`
}

func (s *brokerSink) Validate() []setting.Mistake {
	var out []setting.Mistake
	if len(s.Brokers) == 0 {
		out = append(out, setting.Mistake{Key: "brokers", Text: "required: host:port"})
	}
	for i, r := range s.Route {
		if strings.Contains(r.Topic, "{nope}") {
			out = append(out, setting.Mistake{Key: fmt.Sprintf("route[%d].topic", i), Text: "no placeholder {nope}"})
		}
	}
	return out
}

// streamSink stands for the sink on the embedded server.
type streamSink struct {
	URL    string `yaml:"url" doc:"address"`
	Stream string `yaml:"stream" doc:"stream"`
}

func testOptions(t testing.TB, env ...string) Options {
	t.Helper()
	return Options{
		Env: append([]string{"HOME=" + t.TempDir()}, env...),
		SinkTypes: map[string]Type{
			"broker": {Doc: "a broker", New: func() any {
				return &brokerSink{Topic: "cycle.{family}", Timeout: 10 * time.Second, MaxBytes: 900_000, Ratio: 0.5}
			}},
			"stream": {Doc: "a stream", New: func() any { return &streamSink{Stream: "EVENTS"} }},
		},
		DefaultSinks: func() []Sink {
			return []Sink{{Name: "nats", Type: "stream", Config: &streamSink{URL: "embedded", Stream: "EVENTS"}}}
		},
	}
}

// hubYAML is the least that a file needs.
const hubYAML = "hubs: [{name: production, id: " + hubID + ", api_key: k}]\n"

// loadText loads a file with the text.
func loadText(t testing.TB, text string, env ...string) (*Config, error) {
	t.Helper()
	o := testOptions(t, env...)
	o.Path = writeFile(t, "test.yaml", text)
	return Load(o)
}

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// problemsOf returns what err complains of; it fails the test for another error.
func problemsOf(t testing.TB, err error) []Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	var inv *Invalid
	if !errors.As(err, &inv) {
		t.Fatalf("error %v: got %T, want *Invalid in it", err, err)
	}
	if got := bridge.KindOf(err); got != bridge.KindMisconfigured {
		t.Errorf("kind of %v: got %v, want %v", err, got, bridge.KindMisconfigured)
	}
	return inv.Problems
}

// checkProblems compares problems with wants: "line:column key: part of the
// text", or "VARIABLE key: part of the text".
func checkProblems(t *testing.T, got []Problem, want []string) {
	t.Helper()
	for i, p := range got {
		where := p.Variable
		if where == "" {
			where = fmt.Sprintf("%d:%d", p.Line, p.Column)
		}
		prefix, text := where+" "+p.Key+": ", p.Text
		if i >= len(want) {
			t.Errorf("unexpected problem: %s%s", prefix, text)
			continue
		}
		rest, ok := strings.CutPrefix(want[i], prefix)
		if !ok || !strings.Contains(text, rest) {
			t.Errorf("problem %d:\n got %s%s\nwant %s", i, prefix, text, want[i])
		}
	}
	for _, w := range want[min(len(got), len(want)):] {
		t.Errorf("missing problem: %s", w)
	}
}
