package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

const canary = "canary-token-7Hq2xW9"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// goodStatus is a bridge in which everything is well.
func goodStatus() bridge.Status {
	return bridge.Status{
		Name: "cycle-bridge", Version: "v1.2.3", Started: start,
		Journal: bridge.JournalInfo{
			ID: "jid", Name: "cycle-bridge", Where: "/var/lib/cycle", Epoch: "k3v9q0x7m2", Oldest: 5, Last: 105,
			OldestAt: start, Bytes: 4096, Healthy: true, Since: start,
		},
		Sources: []bridge.SourceStatus{{
			Name: "production", ID: "5f1e", Origin: bridge.OriginHub, Connections: 1, Wanted: 1, Since: start,
			LastAlive: start.Add(time.Minute), LastEvent: start.Add(30 * time.Second), Events: 100, Bytes: 5000,
			Reconnects: 2, Unparsed: 3, Truncated: 4,
		}},
		Sinks: []bridge.SinkStatus{
			{
				Name: "nats", Type: "jetstream", State: bridge.SinkIdle, Since: start, Position: 105, Delivered: 90,
				NotRouted: 7, DeadLettered: 3, Attempts: 95, Retried: 5, Pauses: 1, Bytes: 4500, LastDelivery: start.Add(time.Minute),
			},
			{Name: "kafka", Type: "kafka", State: bridge.SinkDelivering, Since: start, Position: 95, LagEvents: 10, LagSeconds: 2.5, Delivered: 80},
		},
		Families:    []bridge.FamilyCount{{Family: "container", Events: 60}, {Family: "environment", Events: 40}},
		QueueEvents: 8, QueueBytes: 800,
	}
}

// newServer returns a Server that is listening nowhere, with its handler.
func newServer(t *testing.T, c Config, status func() bridge.Status) *Server {
	t.Helper()
	s := &Server{
		config: c, opts: Options{Status: status, Metrics: NewMetrics(MetricsOptions{Status: status}).Handler()},
		log: discard(), pageTemplate: newPage(), loopback: setting.ListensOnLoopback(c.Listen),
	}
	return s
}

// local and remote are peers; a request from remote reached 192.0.2.1:8080.
const (
	localPeer  = "127.0.0.1:50000"
	remotePeer = "203.0.113.9:50000"
)

type request struct {
	method, path, host, peer, token string
	header                          map[string]string
	body                            io.Reader
}

func do(t *testing.T, s *Server, in request) *httptest.ResponseRecorder {
	t.Helper()
	if in.method == "" {
		in.method = http.MethodGet
	}
	r := httptest.NewRequest(in.method, "http://localhost:8080"+in.path, in.body)
	r.RemoteAddr, r.Host = localPeer, "localhost:8080"
	localAddr := net.Addr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	if in.peer != "" {
		r.RemoteAddr = in.peer
	}
	if in.peer == remotePeer {
		localAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 8080}
	}
	if in.host != "" {
		r.Host = in.host
	}
	if in.token != "" {
		r.Header.Set("Authorization", "Bearer "+in.token)
	}
	for k, v := range in.header {
		r.Header.Set(k, v)
	}
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, localAddr))
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), canary) {
		t.Errorf("%s %s: the answer shows a token", in.method, in.path)
	}
	return w
}

func tokens() []Token {
	return []Token{
		{Name: "reader", Token: setting.NewSecret(canary)},
		{Name: "writer", Token: setting.NewSecret("a-token-that-writes-only"), Allow: []string{"write"}},
	}
}
