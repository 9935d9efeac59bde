// Package kafkatest runs a real Apache Kafka for tests: one to three processes
// in KRaft mode on loopback ports, without Docker. It needs a JDK (17 or
// later) and, the first time, Maven, which puts 54 MB of jars into the user's
// cache directory.
//
// Without them Start skips the test and says why; with CI=true in the
// environment it fails it, so that a green run proves that Kafka was there.
package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options says what to start. The zero value is one broker with a plain listener.
type Options struct {
	Brokers int // 1 to 3; 0 means 1
	// Secure adds listeners with SASL over TLS, SASL without TLS, and mutual
	// TLS, and an authorizer: User lacks nothing, Stranger may do nothing.
	Secure bool
	// Advertised replaces the address of the plain listener in what the only
	// broker tells its clients, for a proxy in between.
	Advertised string
	// Properties are added to the brokers' configuration.
	Properties map[string]string
}

// Users of a Secure cluster.
const (
	User             = "alice"
	Password         = "alice-secret-7391"
	Stranger         = "mallory"
	StrangerPassword = "mallory-secret-2846"
)

// Cluster is a running Kafka. Its methods may be called concurrently.
type Cluster struct {
	Certs *Certs // of a Secure cluster

	dir   string
	opts  Options
	nodes []*node
	mu    sync.Mutex // guards the nodes' processes
}

// startTimeout is generous: a JVM on a busy machine.
const startTimeout = 90 * time.Second

// Start starts a cluster for a test and stops it afterwards. It skips the
// test where there is no JDK or Maven, and fails it when CI=true.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	c, err := Launch(opts)
	Need(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the brokers' logs:\n%s", c.Logs(2000))
		}
		c.Stop()
	})
	return c
}

// Need skips the test when err says that this machine cannot run Kafka (and
// fails it with CI=true), and fails it for any other error.
func Need(t testing.TB, err error) {
	t.Helper()
	missing, ok := errors.AsType[*MissingError](err)
	switch {
	case err == nil:
	case ok && os.Getenv("CI") != "true":
		t.Skipf("no real Kafka: %v", missing)
	default:
		t.Fatalf("real Kafka: %v", err)
	}
}

// Launch starts a cluster that the caller stops, for several tests to share.
func Launch(opts Options) (_ *Cluster, err error) {
	opts.Brokers = max(1, opts.Brokers)
	if opts.Brokers > 3 {
		return nil, errors.New("at most 3 brokers")
	}
	libs, err := jars()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kafkatest-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, opts: opts}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.Logs(2000))
			c.Stop()
		}
	}()
	if opts.Secure {
		if c.Certs, err = newCerts(filepath.Join(dir, "certs")); err != nil {
			return nil, err
		}
	}
	for id := 1; id <= opts.Brokers; id++ {
		n, err := newNode(id, dir, libs, opts.Secure)
		if err != nil {
			return nil, err
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		if err := c.configure(n); err != nil {
			return nil, err
		}
	}
	for i := range c.nodes {
		if err := c.start(i); err != nil {
			return nil, err
		}
	}
	return c, c.ready()
}

// Brokers returns the addresses of the plain listeners.
func (c *Cluster) Brokers() []string { return c.addresses("PLAINTEXT") }

// SASL returns the addresses of the listeners with SASL over TLS (PLAIN,
// SCRAM-SHA-256, SCRAM-SHA-512).
func (c *Cluster) SASL() []string { return c.addresses("SASL_SSL") }

// SASLPlaintext returns the addresses of the listeners with SASL without TLS.
func (c *Cluster) SASLPlaintext() []string { return c.addresses("SASL_PLAINTEXT") }

// MutualTLS returns the addresses of the listeners that want a certificate of Certs.
func (c *Cluster) MutualTLS() []string { return c.addresses("SSL") }

func (c *Cluster) addresses(listener string) []string {
	var out []string
	for _, n := range c.nodes {
		out = append(out, n.address(listener))
	}
	return out
}

// Kill ends broker i (from 0) with SIGKILL and waits for the end.
func (c *Cluster) Kill(i int) { c.end(i, syscall.SIGKILL) }

// StopBroker ends broker i in order and waits for the end.
func (c *Cluster) StopBroker(i int) { c.end(i, syscall.SIGTERM) }

func (c *Cluster) end(i int, sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i].end(sig)
}

// Restart starts broker i again, on its data and ports, and waits until it
// answers.
func (c *Cluster) Restart(i int) error {
	c.end(i, syscall.SIGTERM)
	if err := c.start(i); err != nil {
		return err
	}
	return c.ready()
}

func (c *Cluster) start(i int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[i].start()
}

// ready waits until every running broker sees every other.
func (c *Cluster) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		var err error
		want := 0
		c.mu.Lock()
		for _, n := range c.nodes {
			if n.running() {
				want++
			}
		}
		c.mu.Unlock()
		for _, n := range c.nodes {
			if n.cmd == nil {
				continue
			}
			select {
			case <-n.exited:
				return fmt.Errorf("broker %d has ended", n.id)
			default:
			}
			if got, e := countBrokers(ctx, n.address("PLAINTEXT")); e != nil {
				err = e
			} else if got < want {
				err = fmt.Errorf("broker %d sees %d of %d brokers", n.id, got, want)
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w", startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends all brokers and removes their data. It is idempotent.
func (c *Cluster) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		n.end(syscall.SIGKILL) // nothing of the data is wanted any more
	}
	os.RemoveAll(c.dir)
}

// Logs returns the last bytes of each broker's log.
func (c *Cluster) Logs(tail int) string {
	var b strings.Builder
	for _, n := range c.nodes {
		text, _ := os.ReadFile(n.logFile())
		fmt.Fprintf(&b, "broker %d: %s\n", n.id, text[max(0, len(text)-tail):])
	}
	return b.String()
}

// configure writes a broker's configuration and formats its data directory.
func (c *Cluster) configure(n *node) error {
	voters := make([]string, len(c.nodes))
	for i, v := range c.nodes {
		voters[i] = fmt.Sprintf("%d@%s", v.id, v.address("CONTROLLER"))
	}
	replicas := fmt.Sprint(len(c.nodes))
	p := map[string]string{
		"process.roles": "broker,controller", "node.id": fmt.Sprint(n.id),
		"controller.quorum.voters": strings.Join(voters, ","), "controller.listener.names": "CONTROLLER",
		"inter.broker.listener.name": "PLAINTEXT", "log.dirs": filepath.Join(n.dir, "data"),
		"offsets.topic.replication.factor": replicas, "transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr": "1", "group.initial.rebalance.delay.ms": "0",
		"offsets.topic.num.partitions": "4", "transaction.state.log.num.partitions": "4",
		"auto.create.topics.enable": "false", "broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500",
		"num.network.threads": "2", "num.io.threads": "4",
	}
	var listeners, advertised, protocols []string
	for _, name := range slices.Sorted(maps.Keys(n.ports)) {
		listeners = append(listeners, name+"://"+n.address(name))
		switch {
		case name == "CONTROLLER":
			protocols = append(protocols, "CONTROLLER:PLAINTEXT")
			continue
		case name == "PLAINTEXT" && c.opts.Advertised != "":
			advertised = append(advertised, name+"://"+c.opts.Advertised)
		default:
			advertised = append(advertised, name+"://"+n.address(name))
		}
		protocols = append(protocols, name+":"+name)
	}
	p["listeners"], p["advertised.listeners"] = strings.Join(listeners, ","), strings.Join(advertised, ",")
	p["listener.security.protocol.map"] = strings.Join(protocols, ",")
	if c.opts.Secure {
		maps.Copy(p, c.secureProperties())
	}
	maps.Copy(p, c.opts.Properties)
	return n.configure(p, c.opts.Secure)
}
