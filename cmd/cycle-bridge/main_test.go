package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

var update = flag.Bool("update", false, "write generated and golden files anew")

// asMain makes the test binary behave as the program: tests start real
// processes of it, and kill them.
const asMain = "RUN_AS_CYCLE_BRIDGE"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// result is what a command run in-process has said.
type result struct {
	code     int
	out, err string
}

// command runs a command line in-process.
func command(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	s := &streams{in: strings.NewReader(stdin), out: &out, err: &errs}
	code := execute(t.Context(), s, env, args)
	return result{code, out.String(), errs.String()}
}

// simulator serves a simulated hub on loopback.
func simulator(t *testing.T, o hubsim.Options) (*hubsim.Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sim := hubsim.New(o)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- sim.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-done })
	return sim, "http://" + ln.Addr().String()
}

// proc is a process of this program.
type proc struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
	code int

	mu    sync.Mutex // guards all below
	lines []string   // of standard error
	more  chan struct{}
}

// startProcess runs the program with the arguments; env comes on top of nothing
// but what Go needs.
func startProcess(t *testing.T, env []string, args ...string) *proc {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &proc{t: t, cmd: exec.Command(self, args...), done: make(chan struct{}), more: make(chan struct{})}
	p.cmd.Env = append([]string{asMain + "=1", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}, env...)
	p.cmd.Dir = t.TempDir()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		s := bufio.NewScanner(stderr)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		_, _ = io.Copy(io.Discard, stderr)
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of %v:\n%s", args, p.log())
		}
	})
	return p
}

func (p *proc) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// line waits for a line of the log that contains s.
func (p *proc) line(s string) string {
	p.t.Helper()
	limit := time.After(60 * time.Second)
	for from := 0; ; {
		p.mu.Lock()
		more := p.more
		for ; from < len(p.lines); from++ {
			if strings.Contains(p.lines[from], s) {
				defer p.mu.Unlock()
				return p.lines[from]
			}
		}
		p.mu.Unlock()
		select {
		case <-more:
		case <-p.done:
			p.t.Fatalf("the process ended with %d and never said %q:\n%s", p.code, s, p.log())
		case <-limit:
			p.t.Fatalf("no line with %q:\n%s", s, p.log())
		}
	}
}

// attr returns a value of the log line that contains s.
func (p *proc) attr(s, key string) string {
	p.t.Helper()
	var m map[string]any
	line := p.line(s)
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		p.t.Fatalf("the log line is not JSON: %v: %s", err, line)
	}
	v, _ := m[key].(string)
	return v
}

func (p *proc) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the exit code.
func (p *proc) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(60 * time.Second):
		p.t.Fatalf("the process does not end:\n%s", p.log())
		return -1
	}
}

// zeroConfig is the environment of a run without a file, on free ports.
func zeroConfig(sim *hubsim.Server, api, dir string) []string {
	return []string{
		"CYCLE_API_KEY=" + sim.APIKey(), "CYCLE_HUB_ID=" + sim.HubID(), "CYCLE_API_URL=" + api,
		"CYCLE_BRIDGE_NATS_LISTEN=127.0.0.1:0", "CYCLE_BRIDGE_HTTP_LISTEN=127.0.0.1:0",
		"CYCLE_BRIDGE_JOURNAL_DIR=" + dir, "CYCLE_BRIDGE_JOURNAL_MAX_BYTES=256MiB", "CYCLE_BRIDGE_NATS_STREAM_MAX_BYTES=256MiB",
	}
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
