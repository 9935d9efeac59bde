package kafka

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// cutter ends connections in place of what is written to them.
type cutter struct {
	next atomic.Int32 // so many of the next writes
	done atomic.Int32
	all  atomic.Bool // every write, and every new connection at once when down
	down atomic.Bool
}

type cutConn struct {
	net.Conn
	c *cutter
}

func (c cutConn) Write(p []byte) (int, error) {
	if c.c.all.Load() {
		c.Close()
		return 0, net.ErrClosed
	}
	for n := c.c.next.Load(); n > 0; n = c.c.next.Load() {
		if c.c.next.CompareAndSwap(n, n-1) {
			c.c.done.Add(1)
			c.Close()
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(p)
}

type cutListener struct {
	net.Listener
	c *cutter
}

func (l cutListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.c.down.Load() {
			return cutConn{c, l.c}, nil
		}
		c.Close()
	}
}

func (c *cutter) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return cutListener{l, c}, err
}

// proxy passes bytes to a broker whose advertised address is the proxy's. The
// cutter strikes at the broker's answers.
type proxy struct {
	cutter
	l      net.Listener
	target atomic.Pointer[string]
	wg     sync.WaitGroup
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	p := &proxy{}
	l, err := p.listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.l = l
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	target := p.target.Load()
	if target == nil {
		return
	}
	b, err := net.Dial("tcp", *target)
	if err != nil {
		return
	}
	defer b.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		io.Copy(b, c)
		b.Close()
	})
	io.Copy(struct{ io.Writer }{c}, b) // without ReadFrom, which would pass the cutter by
	c.Close()
	b.Close()
	wg.Wait()
}

// setTopicConfig changes a topic's configuration with an independent client.
func setTopicConfig(t testing.TB, brokers []string, topic, name, value string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Name, c.Value, c.Op = name, &value, kmsg.IncrementalAlterConfigOpSet
	r.Configs = append(r.Configs, c)
	req.Resources = append(req.Resources, r)
	res, err := req.RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	if code := res.Resources[0].ErrorCode; code != 0 {
		t.Fatalf("alter configs: code %d", code)
	}
}
