package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

const exampleFile = "../../config.example.yaml"

func TestExampleFileIsTheDefaults(t *testing.T) {
	a := &app{streams: &streams{in: strings.NewReader("")}}
	if *update {
		if err := config.WriteExample(exampleFile, a.configOptions()); err != nil {
			t.Fatal(err)
		}
	}
	if err := config.CheckExample(exampleFile, a.configOptions()); err != nil {
		t.Errorf("%v\n(go test ./cmd/cycle-bridge -run Example -update)", err)
	}
}

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got, -update writes it anew):\n%s", path, diff)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"rnu"}, `unknown command "rnu"`},
		{"unknown flag", []string{"run", "--date", "x"}, "unknown flag: --date"},
		{"too many arguments", []string{"version", "x"}, "see cycle-bridge version --help"},
		{"bad output", []string{"version", "-o", "xml"}, `unknown output "xml"`},
		{"bad pattern", []string{"topics", "a..b"}, "pattern"},
		{"bench without brokers", []string{"bench", "--sinks", "kafka"}, "needs --brokers"},
		{"bench of an unknown sink", []string{"bench", "--sinks", "kafak"}, `unknown sink "kafak"`},
		{"simulate unknown topics", []string{"simulate", "--topics", "no.such"}, "no known topic"},
		{"demo of nothing", []string{"demo", "--count", "0"}, "--count"},
		{"no configuration", []string{"run"}, "CYCLE_API_KEY"},
		{"missing file", []string{"run", "-c", "/does/not/exist.yaml"}, "/does/not/exist.yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			r := command(t, []string{"HOME=/nonexistent"}, "", tt.args...)
			if r.code != exitUsage || !strings.Contains(r.err, tt.want) {
				t.Errorf("got exit code %d, %q; want %d and %q", r.code, r.err, exitUsage, tt.want)
			}
		})
	}
}

func TestTopics(t *testing.T) {
	r := command(t, nil, "", "topics", "container.{new,created,updated}")
	if r.code != exitDone {
		t.Fatal(r.err)
	}
	golden(t, "topics.golden", r.out)

	r = command(t, nil, "", "topics", "-o", "json")
	var rows []topicRow
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 236 {
		t.Errorf("got %d topics, want the 236 of hub-topics.csv", len(rows))
	}
	for _, row := range rows {
		family, _, _ := strings.Cut(row.Topic, ".")
		if row.KafkaTopic != "cycle."+family || !strings.HasPrefix(row.Subject, "cycle.HUB.OBJECT.") || row.Kind == "" {
			t.Errorf("got %+v", row)
		}
	}
}

const routeConfig = `
hubs: [{name: production, id: 60d0fe4f5311236168a109ca, api_key: secret-canary}]
sinks:
  - {name: nats, type: jetstream, url: embedded}
  - name: kafka
    type: kafka
    brokers: [127.0.0.1:9092]
    route:
      - {match: "dns.>", topic: "dns"}
      - {match: "container.{state,desired_state}.changed", topic: "ops.{cluster|\"none\"}", key: "{environment}"}
      - {match: "bridge.>", topic: "ops.bridge"}
`

func TestRoute(t *testing.T) {
	cfg := writeFile(t, "c.yaml", routeConfig)
	note := `{"topic":"container.state.changed","object":{"id":"5f1","state":"running"},"context":{"clusters":["production"],"environments":["e1"]}}`
	for _, tt := range []struct{ name, arg, stdin string }{
		{"routed", note, ""},
		{"stdin", "-", note},
		{"no-route", "image.new", ""},
		{"own", "bridge.gap", ""},
		{"unparsed", "{not json", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := command(t, nil, tt.stdin, "route", "-c", cfg, tt.arg)
			if r.code != exitDone {
				t.Fatal(r.err)
			}
			var lines []string
			for line := range strings.Lines(r.out) {
				if !strings.Contains(line, "Cycle-Received-At") {
					lines = append(lines, line)
				}
			}
			golden(t, "route-"+strings.ReplaceAll(tt.name, "stdin", "routed")+".golden", strings.Join(lines, ""))
		})
	}
}

// Without any configuration, route tells of the defaults.
func TestRouteWithoutConfiguration(t *testing.T) {
	t.Chdir(t.TempDir())
	r := command(t, []string{"HOME=/nonexistent"}, "", "route", "container.new", "-o", "json")
	var rows []routeRow
	if err := json.Unmarshal([]byte(r.out), &rows); err != nil {
		t.Fatalf("%v: %s%s", err, r.out, r.err)
	}
	if len(rows) != 1 || rows[0].Destination != "cycle.000000000000000000000000.OBJECT.container.new" {
		t.Errorf("got %+v", rows)
	}
}

func TestCheck(t *testing.T) {
	t.Run("valid", func(t *testing.T) {
		r := command(t, nil, "", "check", "-c", writeFile(t, "c.yaml", routeConfig))
		if r.code != exitDone || !strings.Contains(r.err, "valid") {
			t.Fatalf("got exit code %d: %s", r.code, r.err)
		}
		if strings.Contains(r.out+r.err, "secret-canary") || !strings.Contains(r.out, "[redacted]") {
			t.Errorf("the API key is not redacted: %s", r.out)
		}
	})
	t.Run("every mistake at once", func(t *testing.T) {
		file := writeFile(t, "c.yaml", `hubs:
  - {name: production, id: nonsense, api_key: k, conections: 2}
jurnal: {}
sinks:
  - {name: k, type: kafka, brokers: [], partitions: many}
  - {name: k, type: kafkaa}
  - {name: n, type: jetstream, url: embedded, route: [{match: "a..b"}]}
`)
		r := command(t, nil, "", "check", "-c", file)
		if r.code != exitUsage {
			t.Errorf("got exit code %d, want %d", r.code, exitUsage)
		}
		for _, want := range []string{
			file + ":2:", "hubs[0].id", "conections", "connections", "jurnal", "journal", file + ":5:", "partitions", "kafkaa", "route[0].match",
		} {
			if !strings.Contains(r.err, want) {
				t.Errorf("nothing says %q:\n%s", want, r.err)
			}
		}
	})
	for _, tt := range []struct{ name, sinks, want string }{
		{"two writers of the embedded stream", `[{name: a, type: jetstream, url: embedded}, {name: b, type: jetstream, url: embedded}]`, "sinks[1].url"},
		{"one stream, one id", `[{name: a, type: jetstream, url: "nats://h", stream: S}, {name: b, type: jetstream, url: "nats://h", stream: S}]`, "dedupe: sink"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writeFile(t, "c.yaml", "hubs: [{name: h, id: 60d0fe4f5311236168a109ca, api_key: k}]\nsinks: "+tt.sinks+"\n")
			r := command(t, nil, "", "check", "-c", file)
			if r.code != exitUsage || !strings.Contains(r.err, tt.want) {
				t.Errorf("got exit code %d: %s", r.code, r.err)
			}
		})
	}
}

func TestCheckProbe(t *testing.T) {
	sim, api := simulator(t, hubsim.Options{})
	config := func(key, kafka string) string {
		return writeFile(t, "c.yaml", fmt.Sprintf(`
hubs: [{name: h, id: %s, api_key: %s, api_url: %q}]
journal: {dir: %q}
sinks: [{name: nats, type: jetstream, url: embedded}%s]
`, sim.HubID(), key, api, t.TempDir(), kafka))
	}
	t.Run("all well", func(t *testing.T) {
		r := command(t, nil, "", "check", "-q", "--probe", "-c", config(sim.APIKey(), ""))
		if r.code != exitDone || strings.Count(r.out, "ok ") != 6 {
			t.Errorf("got exit code %d:\n%s%s", r.code, r.out, r.err)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		r := command(t, nil, "", "check", "-q", "--probe", "-c", config("wrong-canary", ""))
		if r.code != exitFailed || !strings.Contains(r.out, "fail  hub h token") || !strings.Contains(r.out, "apionly-notifications-listen") {
			t.Errorf("got exit code %d:\n%s%s", r.code, r.out, r.err)
		}
		if strings.Contains(r.out+r.err, "wrong-canary") {
			t.Errorf("the API key is shown:\n%s%s", r.out, r.err)
		}
	})
	t.Run("no broker", func(t *testing.T) {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		r := command(t, nil, "", "check", "-q", "--probe", "-c",
			config(sim.APIKey(), fmt.Sprintf(`, {name: k, type: kafka, brokers: [%q]}`, closed.Addr())))
		if r.code != exitFailed || !strings.Contains(r.out, "fail  sink k") {
			t.Errorf("got exit code %d:\n%s%s", r.code, r.out, r.err)
		}
	})
}

func TestVersion(t *testing.T) {
	r := command(t, nil, "", "version", "-o", "json")
	var v map[string]string
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || v["version"] == "" || !strings.HasPrefix(v["go"], "go1.") {
		t.Errorf("got %q, %v", r.out, err)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := command(t, nil, "", "completion", shell); r.code != exitDone || !strings.Contains(r.out, "cycle-bridge") {
			t.Errorf("%s: got exit code %d, %d bytes", shell, r.code, len(r.out))
		}
	}
}

func TestRepeatsAreHeldBack(t *testing.T) {
	s := &repeatState{lines: make(map[string]*repeatLine)}
	now := time.Unix(1000, 0)
	passed := 0
	for range 1000 {
		if _, pass := s.seen("x", now); pass {
			passed++
		}
	}
	if passed != repeatBurst {
		t.Errorf("got %d lines in a window, want %d", passed, repeatBurst)
	}
	if held, pass := s.seen("x", now.Add(repeatWindow+1)); !pass || held != 1000-repeatBurst {
		t.Errorf("after the window: got %d held back, %v; want %d, true", held, pass, 1000-repeatBurst)
	}
	if _, pass := s.seen("y", now); !pass {
		t.Error("another line was held back")
	}
}
