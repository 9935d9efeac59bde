package kafkatest

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// clusterID is any 16 bytes.
var clusterID = base64.RawURLEncoding.EncodeToString([]byte("cycle-bridge-tst"))

// node is one broker process, a controller at the same time.
type node struct {
	id     int
	dir    string
	libs   string
	ports  map[string]int // by listener
	cmd    *exec.Cmd      // nil when not started
	exited chan struct{}  // closed when cmd has ended
}

// newNode chooses the ports: free now, and not given out twice because all are
// held until the last is chosen.
func newNode(id int, dir, libs string, secure bool) (*node, error) {
	n := &node{id: id, dir: filepath.Join(dir, fmt.Sprint("broker", id)), libs: libs, ports: map[string]int{}}
	names := []string{"PLAINTEXT", "CONTROLLER"}
	if secure {
		names = append(names, "SASL_SSL", "SASL_PLAINTEXT", "SSL")
	}
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		n.ports[name] = l.Addr().(*net.TCPAddr).Port
	}
	return n, os.MkdirAll(n.dir, 0o700)
}

func (n *node) address(listener string) string {
	return fmt.Sprintf("127.0.0.1:%d", n.ports[listener])
}

func (n *node) properties() string { return filepath.Join(n.dir, "server.properties") }
func (n *node) logFile() string    { return filepath.Join(n.dir, "log.txt") }

func (n *node) java(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "java", append([]string{
		"-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(n.libs, "*"),
	}, args...)...)
	cmd.Dir = n.dir
	return cmd
}

// configure writes server.properties and formats the data directory.
func (n *node) configure(p map[string]string, users bool) error {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", k, p[k])
	}
	if err := os.WriteFile(n.properties(), []byte(b.String()), 0o600); err != nil {
		return err
	}
	args := []string{"kafka.tools.StorageTool", "format", "-t", clusterID, "-c", n.properties()}
	if users {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args,
				"--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password),
				"--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, Stranger, StrangerPassword))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if out, err := n.java(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("format: %w\n%s", err, out)
	}
	return nil
}

func (n *node) start() error {
	log, err := os.OpenFile(n.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := n.java(context.Background(), "kafka.Kafka", n.properties())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { // ends with the process, which end and Stop wait for
		cmd.Wait()
		close(exited)
	}()
	n.cmd, n.exited = cmd, exited
	return nil
}

func (n *node) running() bool { return n.cmd != nil }

// end signals the process and waits for its end, with SIGKILL after a while.
func (n *node) end(sig syscall.Signal) {
	if n.cmd == nil {
		return
	}
	n.cmd.Process.Signal(sig)
	select {
	case <-n.exited:
	case <-time.After(20 * time.Second):
		n.cmd.Process.Kill()
		<-n.exited
	}
	n.cmd = nil
}

// countBrokers asks a broker how many brokers it knows.
func countBrokers(ctx context.Context, addr string) (int, error) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	pc := protocol.NewConn(c, "kafkatest")
	pc.SetVersions(map[protocol.ApiKey]int16{protocol.Metadata: 4})
	res, err := pc.RoundTrip(&metadata.Request{TopicNames: []string{}})
	if err != nil {
		return 0, err
	}
	return len(res.(*metadata.Response).Brokers), nil
}
