package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// readmeBlocks returns the code blocks of the README in a language.
func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("the README has no %s", language)
	}
	return out
}

// need returns a program, or skips the test; with CI=true it must be there.
func need(t *testing.T, what string, found func() (string, bool)) string {
	t.Helper()
	path, ok := found()
	if !ok {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing, and CI must have it (.ci/run installs it)", what)
		}
		t.Skipf("%s is not on this machine", what)
	}
	return path
}

func onPath(name string) func() (string, bool) {
	return func() (string, bool) {
		path, err := exec.LookPath(name)
		return path, err == nil
	}
}

// exampleServer runs a bridge for an example, and returns its NATS address.
func exampleServer(t *testing.T) (*hubsim.Server, string) {
	t.Helper()
	sim, api := simulator(t, hubsim.Options{Numbered: true})
	p := startProcess(t, zeroConfig(sim, api, t.TempDir()), "run")
	url := p.attr("NATS clients can connect", "url")
	waitReady(t, p)
	return sim, url
}

// outputLines runs a program until it has printed n lines.
func outputLines(t *testing.T, n int, name string, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "../.."
	cmd.WaitDelay = time.Second // a child of a shell may hold on to its output
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	s := bufio.NewScanner(out)
	for len(lines) < n && s.Scan() {
		lines = append(lines, s.Text())
	}
	cancel()
	_ = cmd.Wait()
	if len(lines) < n {
		t.Fatalf("%s: got %d lines, want %d: %v\n%s", name, len(lines), n, lines, errs.String())
	}
	return lines
}

func TestReadmePython(t *testing.T) {
	python := need(t, "python3 with nats-py", func() (string, bool) {
		for _, p := range []string{os.Getenv("EXAMPLES_PYTHON"), "python3"} {
			if p != "" && exec.Command(p, "-c", "import nats").Run() == nil {
				return p, true
			}
		}
		return "", false
	})
	program := readmeBlocks(t, "python")[0]
	if n := strings.Count(program, "\n"); n > 20 {
		t.Errorf("the example has %d lines, want at most 20", n)
	}
	sim, url := exampleServer(t)
	sim.Burst(50)
	file := filepath.Join(t.TempDir(), "consumer.py")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(program, "nats://127.0.0.1:4222", url)), 0o600); err != nil {
		t.Fatal(err)
	}
	first := outputLines(t, 50, python, file)
	// Durable: the second run goes on where the first stopped.
	sim.Burst(10)
	second := outputLines(t, 10, python, file)
	for _, line := range append(first, second...) {
		if f := strings.Fields(line); len(f) != 2 || !strings.Contains(f[0], ".") || len(f[1]) != 24 {
			t.Errorf("got line %q, want topic and object id", line)
		}
	}
}

func TestReadmeGo(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a program; not with -short")
	}
	program := readmeBlocks(t, "go")[0]
	sim, url := exampleServer(t)
	sim.Burst(50)
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(program, "nats://127.0.0.1:4222", url)), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "consumer")
	build := exec.Command("go", "build", "-o", binary, file)
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ids := make(map[string]bool)
	for _, line := range outputLines(t, 50, binary) {
		_, id, _ := strings.Cut(line, " ")
		if ids[id] || id == "" {
			t.Errorf("got line %q, want topic and a new event id", line)
		}
		ids[id] = true
	}
}

func TestReadmeShell(t *testing.T) {
	// Its module cannot be verified by every module proxy, so CI may lack it.
	cli, err := exec.LookPath("nats")
	if err != nil {
		t.Skip("the nats command line is not on this machine; TestReadmeBash tries the subjects")
	}
	sim, url := exampleServer(t)
	sim.Burst(20)
	trickle(t, sim)
	found := 0
	for _, block := range readmeBlocks(t, "sh") {
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "nats ") {
				continue
			}
			found++
			shell := strings.ReplaceAll(strings.Replace(line, "nats ", cli+" ", 1), "nats://127.0.0.1:4222", url)
			text := strings.Join(outputLines(t, 20, "sh", "-c", strings.TrimSpace(shell)), "\n")
			if !strings.Contains(text, "cycle."+sim.HubID()) {
				t.Errorf("%s: got\n%s", line, text)
			}
		}
	}
	if found == 0 {
		t.Error("the README has no nats command")
	}
}

func TestReadmeBash(t *testing.T) {
	bash := need(t, "bash", onPath("bash"))
	program := readmeBlocks(t, "bash")[0]
	sim, url := exampleServer(t)
	trickle(t, sim)
	host, port, _ := strings.Cut(strings.TrimPrefix(url, "nats://"), ":")
	program = strings.ReplaceAll(program, "/127.0.0.1/4222", "/"+host+"/"+port)
	for _, line := range outputLines(t, 10, bash, "-c", program) {
		if !strings.HasPrefix(line, `{"topic":"container.`) {
			t.Errorf("got %s, want notifications about containers", line)
		}
	}
}

// trickle sends notifications until the test ends.
func trickle(t *testing.T, sim *hubsim.Server) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				sim.Burst(5)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}
