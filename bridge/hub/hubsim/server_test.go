package hubsim

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// client is a plain client of the protocol, on coder/websocket.
type client struct {
	t    testing.TB
	http *http.Client
	base string
}

// serve runs s in memory until the test ends.
func serve(t testing.TB, s *Server) *client {
	t.Helper()
	ln := Listen()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(ctx, ln); err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	tr := &http.Transport{DialContext: ln.DialContext}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		stop()
		<-ended
	})
	return &client{t: t, http: &http.Client{Transport: tr}, base: "http://localhost"}
}

func (c *client) get(h http.Header) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.base+Path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = h
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (c *client) token(s *Server) string {
	c.t.Helper()
	status, body := c.get(http.Header{"Authorization": {"Bearer " + s.APIKey()}, "X-Hub-Id": {s.HubID()}})
	var a struct{ Data struct{ Token string } }
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 || a.Data.Token == "" {
		c.t.Fatalf("token: got %d %s", status, body)
	}
	return a.Data.Token
}

func (c *client) upgrade(token, query string) (*websocket.Conn, *http.Response, error) {
	u := strings.Replace(c.base, "http", "ws", 1) + Path + "?token=" + url.QueryEscape(token) + query
	return websocket.Dial(context.Background(), u, &websocket.DialOptions{HTTPClient: c.http})
}

func (c *client) connect(s *Server, query string) *websocket.Conn {
	c.t.Helper()
	ws, _, err := c.upgrade(c.token(s), query)
	if err != nil {
		c.t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	c.t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

func read(t testing.TB, ws *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, raw, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{APIKey: "key"})
		c := serve(t, s)
		for _, tt := range []struct {
			name, auth, hub string
			status          int
			body            string
		}{
			{"no key", "", DefaultHubID, 401, `{"error":"invalid_request","error_description":`},
			{"wrong key", "Bearer x", DefaultHubID, 401, `{"error":"invalid_token","error_description":`},
			{"no hub", "Bearer key", "", 404, `"code":"404.hub"`},
			{"wrong hub", "Bearer key", "ffffffffffffffffffffffff", 403, `{"error":{"status":403,"code":"403.wrong-hub"`},
			{"good", "Bearer key", DefaultHubID, 200, `{"data":{"token":"`},
		} {
			h := http.Header{}
			if tt.auth != "" {
				h.Set("Authorization", tt.auth)
			}
			if tt.hub != "" {
				h.Set("X-Hub-Id", tt.hub)
			}
			if status, body := c.get(h); status != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("%s: got %d %s, want %d with %s", tt.name, status, body, tt.status, tt.body)
			}
		}
		if err := s.Inject(Fault{Kind: TokenStatus, Code: 403}); err != nil {
			t.Fatal(err)
		}
		if _, body := c.get(http.Header{}); !strings.Contains(body, `"extra":{"capability":"apionly-notifications-listen"}`) {
			t.Errorf("403: got %s, want the missing capability", body)
		}
	})
}

func TestTokensAreOneShotAndShortLived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{TokenTTL: 5 * time.Second})
		c := serve(t, s)
		token := c.token(s)
		ws, _, err := c.upgrade(token, "")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		if _, resp, err := c.upgrade(token, ""); err == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("second use: got %v, want 401", err)
		}
		token = c.token(s)
		time.Sleep(5 * time.Second)
		if _, resp, err := c.upgrade(token, ""); err == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("late use: got %v, want 401", err)
		}
	})
}

func TestStreamIsTheSameForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Numbered: true, Ledger: true})
		c := serve(t, s)
		s.Burst(5) // nobody is connected: lost
		a := c.connect(s, "")
		s.Burst(5)
		b := c.connect(s, "")
		s.Burst(200)
		var fromA, fromB []string
		for range 205 {
			fromA = append(fromA, read(t, a))
		}
		for range 200 {
			fromB = append(fromB, read(t, b))
		}
		for i, raw := range fromA {
			if want := fmt.Sprintf(`"sim_seq":%d,`, i+6); !strings.Contains(raw, want) {
				t.Fatalf("A's message %d is %s, want %s", i, raw, want)
			}
			if i >= 5 && raw != fromB[i-5] {
				t.Fatalf("message %d differs between the connections", i)
			}
		}
		l := s.Ledger()
		if len(l.Frames) != 210 || len(l.Conns) != 2 || len(l.Conns[0].Written) != 205 || l.Conns[1].Written[0].Seq != 11 {
			t.Errorf("got a ledger of %d frames and %d connections", len(l.Frames), len(l.Conns))
		}
		if got := string(l.Frames[5].Payload()); got != fromA[0] {
			t.Errorf("ledger has %s, the connection got %s", got, fromA[0])
		}
	})
}

func TestFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Numbered: true, Objects: 60})
		c := serve(t, s)
		all := c.connect(s, "")
		topic := c.connect(s, "&topic=container.state.changed")
		cluster := c.connect(s, "&clusters=production,edge")
		both := c.connect(s, "&clusters=production&topic=container.state.changed")
		s.Burst(2000)
		var wantTopic, wantCluster, wantBoth []string
		for range 2000 {
			raw := read(t, all)
			isTopic := strings.Contains(raw, `"topic":"container.state.changed"`)
			production := strings.Contains(raw, `"clusters":["production"]`)
			if isTopic {
				wantTopic = append(wantTopic, raw)
			}
			if production || strings.Contains(raw, `"clusters":["edge"]`) {
				wantCluster = append(wantCluster, raw)
			}
			if isTopic && production {
				wantBoth = append(wantBoth, raw)
			}
		}
		for name, f := range map[string]struct {
			ws   *websocket.Conn
			want []string
		}{"topic": {topic, wantTopic}, "clusters": {cluster, wantCluster}, "both": {both, wantBoth}} {
			if len(f.want) < 10 {
				t.Fatalf("%s: only %d to compare", name, len(f.want))
			}
			for i, want := range f.want {
				if got := read(t, f.ws); got != want {
					t.Fatalf("%s: message %d is %s, want %s", name, i, got, want)
				}
			}
		}
	})
}

func TestFaultOverHTTP(t *testing.T) {
	s := New(Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ln) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &client{t: t, http: &http.Client{Transport: tr}, base: "http://" + ln.Addr().String()}
	do := func(method, query string, h http.Header) int {
		t.Helper()
		req, err := http.NewRequest(method, c.base+FaultPath+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for _, tt := range []struct {
		method, query string
		origin        string
		want          int
	}{
		{"POST", "?kind=nonsense", "", 400},
		{"POST", "?kind=stall&for=soon", "", 400},
		{"POST", "?kind=close&code=x", "", 400},
		{"POST", "?kind=close&code=1012&text=restart", "", 204},
		{"POST", "?kind=token-status&code=503", "", 204},
		{"POST", "?kind=drop", "https://evil.example", 403},
		{"DELETE", "", "", 204},
		{"GET", "", "", 200},
		{"PUT", "", "", 405},
	} {
		h := http.Header{}
		if tt.origin != "" {
			h.Set("Origin", tt.origin)
		}
		if got := do(tt.method, tt.query, h); got != tt.want {
			t.Errorf("%s %s: got %d, want %d", tt.method, tt.query, got, tt.want)
		}
	}
	ws := c.connect(s, "")
	if got := do("POST", "?kind=close&code=1012&text=restart", nil); got != 204 {
		t.Fatalf("got %d, want 204", got)
	}
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != 1012 {
		t.Errorf("got %v, want close code 1012", err)
	}
	ws = c.connect(s, "")
	s.DropAll()
	if _, _, err := ws.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v, want a connection reset", err)
	}
}

// Every kind can be injected, with and without clients.
func TestEveryFault(t *testing.T) {
	for _, kind := range FaultKinds() {
		synctest.Test(t, func(t *testing.T) {
			s := New(Options{})
			c := serve(t, s)
			if err := s.Inject(Fault{Kind: kind, Parts: 3, Bytes: 1000}); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			s.ClearFaults()
			ws := c.connect(s, "")
			if err := s.Inject(Fault{Kind: kind, Parts: 3, Bytes: 1000}); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			time.Sleep(time.Second)
			_ = ws.CloseNow()
		})
	}
	if err := New(Options{}).Inject(Fault{Kind: "x"}); err == nil {
		t.Error("an unknown kind was taken")
	}
}

// BenchmarkServer measures the simulator alone: one connection, its bytes discarded.
func BenchmarkServer(b *testing.B) {
	s := New(Options{Count: uint64(b.N)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(ctx, ln)
	}()
	defer func() {
		stop()
		<-ended
	}()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &client{t: b, http: &http.Client{Transport: tr}, base: "http://" + ln.Addr().String()}
	token := c.token(s)
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(nc, "GET %s?token=%s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", Path, url.QueryEscape(token))
	if err := s.WaitConnections(ctx, 1); err != nil {
		b.Fatal(err)
	}
	var total int64
	read := make(chan struct{})
	go func() {
		defer close(read)
		total, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{nc}, make([]byte, 256<<10))
	}()
	b.ResetTimer()
	begin := time.Now()
	s.Start()
	if err := s.Wait(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "frames/s")
	b.StopTimer()
	_ = nc.Close()
	<-read
	b.SetBytes(total / int64(b.N))
}
