package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// SIGHUP adds and removes sinks; a file with a mistake changes nothing.
func TestReload(t *testing.T) {
	sim, api := simulator(t, hubsim.Options{Numbered: true})
	dir := t.TempDir()
	file := writeFile(t, "c.yaml", "")
	write := func(rest string) {
		t.Helper()
		text := fmt.Sprintf(`
hubs: [{name: h, id: %s, api_key: %s, api_url: %q}]
journal: {dir: %q, max_bytes: 64MiB}
nats: {listen: ""}
http: {listen: "127.0.0.1:0"}
%s`, sim.HubID(), sim.APIKey(), api, dir, rest)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := func(name string, want int) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			data, _ := os.ReadFile(filepath.Join(dir, name))
			if got := bytes.Count(data, []byte("\n")); got == want {
				return
			} else if time.Now().After(deadline) {
				t.Fatalf("%s: got %d lines, want %d", name, got, want)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	sink := func(name, route string) string {
		return fmt.Sprintf("  - {name: %s, type: file, path: %q%s}\n", name, filepath.Join(dir, name), route)
	}
	write("sinks:\n" + sink("a", "") + sink("b", ""))
	p := startProcess(t, nil, "run", "-c", file)
	waitReady(t, p)
	sim.Burst(10)
	lines("a", 10)
	lines("b", 10)

	write("sinks:\n" + sink("a", ", formt: raw"))
	p.signal(syscall.SIGHUP)
	if line := p.line("configuration not reloaded"); !strings.Contains(line, "formt") {
		t.Errorf("got %s, want it to name the mistake", line)
	}
	sim.Burst(10)
	lines("a", 20)
	lines("b", 20)

	write("sinks:\n" + sink("a", "") + sink("c", ", from: start"))
	p.signal(syscall.SIGHUP)
	line := p.line("configuration reloaded")
	if !strings.Contains(line, `"sinks_changed":["-b","+c"]`) || !strings.Contains(line, `"hubs_changed":null`) {
		t.Errorf("got %s", line)
	}
	sim.Burst(10)
	lines("a", 30)
	lines("b", 20)
	lines("c", 30)
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitDone {
		t.Errorf("got exit code %d", code)
	}
}
