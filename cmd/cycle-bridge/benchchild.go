package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a process of the bench.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // of standard output; closed at its end
	done  chan struct{}

	mu   sync.Mutex // guards all below
	errs bytes.Buffer
	more chan struct{} // closed and renewed when errs grows
}

// maxChildLog bounds what is kept of a child's standard error.
const maxChildLog = 1 << 20

// start runs this program again with other arguments.
func (b *bencher) start(ctx context.Context, args ...string) (*child, error) {
	c := &child{lines: make(chan string, 16), done: make(chan struct{}), more: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, b.self, args...)
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = 10 * time.Second
	c.cmd.Stderr = c
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.done)
		s := bufio.NewScanner(out)
		for s.Scan() {
			c.lines <- s.Text()
		}
		close(c.lines)
		_ = c.cmd.Wait() // what went wrong is told by its log
	}()
	return c, nil
}

// Write takes the child's standard error.
func (c *child) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.errs.Len() < maxChildLog {
		c.errs.Write(p)
	}
	close(c.more)
	c.more = make(chan struct{})
	return len(p), nil
}

func (c *child) log() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errs.String()
}

func (c *child) send(s string) error {
	_, err := io.WriteString(c.stdin, s)
	return err
}

// outLine returns the next line of standard output.
func (c *child) outLine(ctx context.Context) (string, error) {
	select {
	case line, ok := <-c.lines:
		if !ok {
			return "", fmt.Errorf("%s ended: %s", strings.Join(c.cmd.Args[1:], " "), c.log())
		}
		return line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// errLine waits for a line of standard error that contains s.
func (c *child) errLine(ctx context.Context, s string) (string, error) {
	for {
		c.mu.Lock()
		more := c.more
		for line := range strings.Lines(c.errs.String()) {
			if strings.Contains(line, s) {
				c.mu.Unlock()
				return line, nil
			}
		}
		c.mu.Unlock()
		select {
		case <-more:
		case <-c.done:
			return "", fmt.Errorf("%s ended: %s", strings.Join(c.cmd.Args[1:], " "), c.log())
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// ready polls until the address answers 200.
func (c *child) ready(ctx context.Context, at url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errors.New("no answer")
	for {
		select {
		case <-tick.C:
		case <-c.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return last
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			last = err
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		last = fmt.Errorf("%s: %s", resp.Status, body)
	}
}

// stop ends the process and waits for it.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(15*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	go func() {
		for range c.lines { // so that it never blocks on a full pipe
		}
	}()
	<-c.done
}

// cpu returns the CPU time the process has used, 0 where the system does not
// tell (it is read from /proc, in ticks of 10 ms: proc(5), stat).
func (c *child) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold anything; utime and stime are the
	// 12th and 13th field after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	utime, _ := strconv.Atoi(fields[11])
	stime, _ := strconv.Atoi(fields[12])
	return time.Duration(utime+stime) * 10 * time.Millisecond
}

// rss returns the process's peak resident memory in MiB, 0 where unknown.
func (c *child) rss() float64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kb, _ := strconv.ParseFloat(strings.Fields(after + " 0")[0], 64)
	return kb / 1024
}

// freeAddr returns a loopback address that is free now.
func freeAddr() string {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer ln.Close()
	return ln.Addr().String()
}
