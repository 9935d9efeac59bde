package natsserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// listenOptions sets the listener. After the first start a port that was
// chosen by the system stays the same, so that consumers find it again.
func (s *Server) listenOptions(o *server.Options) error {
	if s.listen == "" {
		o.DontListen = true
		return nil
	}
	host, port, err := net.SplitHostPort(s.listen)
	if err != nil {
		return fmt.Errorf("nats.listen: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("nats.listen: %w", err)
	}
	if n == 0 {
		n = server.RANDOM_PORT
	}
	o.Host, o.Port = host, n
	if host == "" {
		o.Host = "0.0.0.0"
	}
	tc, err := s.config.TLS.Server()
	if err != nil {
		return fmt.Errorf("nats.tls: %w", err)
	}
	if tc != nil {
		o.TLSConfig = tc
		o.TLS = true
		o.TLSTimeout = 5
	}
	return nil
}

// probeListen finds out whether the address can be had. The server would
// only say so in its log.
func probeListen(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		return l.Close()
	}
	hint := "set nats.listen (CYCLE_BRIDGE_NATS_LISTEN) to another address"
	if errors.Is(err, syscall.EADDRINUSE) {
		if who := whoAnswers(ctx, addr); who != "" {
			err = fmt.Errorf("%w: %s answers there", err, who)
		}
		hint += ", or to \"\" to close the listener"
	}
	return &bridge.Error{Op: "listen on " + addr, Kind: bridge.KindMisconfigured, Hint: hint, Err: err}
}

// whoAnswers tells what listens on an address, as far as it says so itself.
func whoAnswers(ctx context.Context, addr string) string {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return ""
	}
	defer c.Close()
	// A NATS server speaks first; nothing else that is common does.
	if err := c.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return ""
	}
	line, err := bufio.NewReaderSize(c, 64<<10).ReadString('\n')
	if err != nil {
		return "another program"
	}
	info, ok := strings.CutPrefix(line, "INFO ")
	if !ok {
		return "another program"
	}
	var si struct {
		Name    string `json:"server_name"`
		Version string `json:"version"`
	}
	if json.Unmarshal([]byte(info), &si) != nil {
		return "a NATS server"
	}
	return fmt.Sprintf("the NATS server %q (version %s)", si.Name, si.Version)
}
