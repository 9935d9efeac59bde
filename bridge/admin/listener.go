package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// boundedListener holds at most cap(free) connections. Others wait in the
// system's queue: with the timeouts of the server that is a short while.
type boundedListener struct {
	net.Listener
	free      chan struct{}
	closeOnce sync.Once
	closed    chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &boundedConn{Conn: c, release: sync.OnceFunc(func() { <-l.free })}, nil
}

func (l *boundedListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

// serverName is the Server header, by which a bridge knows another.
const serverName = "cycle-bridge"

const (
	probeTimeout = 2 * time.Second
	// bannerWait is how long a server that speaks first has to do so.
	bannerWait = 300 * time.Millisecond
)

// whoAnswers says what listens at a taken address, for people.
func whoAnswers(ctx context.Context, addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "unknown"
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "something holds it and does not answer"
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	r := bufio.NewReader(io.LimitReader(c, 4<<10))
	if c.SetReadDeadline(time.Now().Add(bannerWait)) == nil {
		if line, err := r.ReadString('\n'); err == nil || line != "" {
			return speaksFirst(line)
		}
	}
	if c.SetDeadline(deadline) != nil {
		return "something"
	}
	fmt.Fprintf(c, "HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	r = bufio.NewReader(io.LimitReader(c, 4<<10))
	status, err := r.ReadString('\n')
	switch {
	case err != nil && status == "":
		return "something that does not speak HTTP"
	case !strings.HasPrefix(status, "HTTP/"):
		return speaksFirst(status)
	}
	for {
		line, err := r.ReadString('\n')
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "Server") {
			if value = strings.TrimSpace(value); value == serverName {
				return "another cycle-bridge answers there"
			}
			return fmt.Sprintf("an HTTP server (%s) answers there", printable(value))
		}
		if err != nil || strings.TrimSpace(line) == "" {
			return "an HTTP server answers there"
		}
	}
}

func speaksFirst(line string) string {
	switch {
	case strings.HasPrefix(line, "INFO {"):
		return "a NATS server answers there"
	case strings.HasPrefix(line, "SSH-"):
		return "an SSH server answers there"
	}
	return fmt.Sprintf("something answers there with %q", printable(strings.TrimSpace(line)))
}

// printable cuts what a stranger said to what a log line can hold.
func printable(s string) string {
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
