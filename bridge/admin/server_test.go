package admin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func serve(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := New(t.Context(), c, Options{Status: goodStatus, Metrics: NewMetrics(MetricsOptions{Status: goodStatus}).Handler()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestServe(t *testing.T) {
	s := serve(t, Config{Listen: "127.0.0.1:0"})
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/api/v1/status", "/"} {
		if code, body := get(t, http.DefaultClient, "http://"+s.Addr().String()+path); code != 200 {
			t.Errorf("%s: got %d: %s", path, code, body)
		}
	}
}

func TestServeTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	s := serve(t, Config{Listen: "127.0.0.1:0", TLS: setting.TLS{CertFile: cert, KeyFile: key}})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	defer client.CloseIdleConnections()
	if code, body := get(t, client, "https://"+s.Addr().String()+"/api/v1/status"); code != 200 {
		t.Errorf("got %d: %s", code, body)
	}
	_, port, _ := net.SplitHostPort(s.Addr().String())
	if code, _ := get(t, client, "https://localhost:"+port+"/readyz"); code != 200 {
		t.Errorf("by name: got %d", code)
	}
}

// TestTakenPort29 is (29).
func TestTakenPort29(t *testing.T) {
	other := serve(t, Config{Listen: "127.0.0.1:0"})
	speaks := func(first string) net.Addr {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, first)
				if first == "" {
					_, _ = c.Read(make([]byte, 1024))
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nServer: nginx\x1b[31m\r\n\r\n")
				}
				c.Close()
			}
		}()
		return ln.Addr()
	}
	for _, tc := range []struct {
		name string
		addr net.Addr
		want string
	}{
		{"bridge", other.Addr(), "another cycle-bridge answers there"},
		{"NATS", speaks("INFO {\"server_id\":\"x\"}\r\n"), "a NATS server answers there"},
		{"HTTP", speaks(""), "an HTTP server (nginx?[31m) answers there"},
		{"something", speaks("220 hello\x07\r\n"), `something answers there with "220 hello?"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(t.Context(), Config{Listen: tc.addr.String()}, Options{Status: goodStatus})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range []string{"http.listen: " + tc.addr.String() + " is taken", tc.want, "CYCLE_BRIDGE_HTTP_LISTEN"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if got := bridge.KindOf(err); got != bridge.KindMisconfigured {
				t.Errorf("kind: got %v, want misconfigured", got)
			}
		})
	}
}

func TestClosedAndBadListeners(t *testing.T) {
	s, err := New(t.Context(), Config{}, Options{Status: goodStatus})
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() != nil {
		t.Errorf("address: got %v, want none", s.Addr())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := New(t.Context(), Config{Listen: "203.0.113.1:0"}, Options{Status: goodStatus}); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("an address of another machine: got %v", err)
	}
	if _, err := New(t.Context(), Config{Listen: "127.0.0.1:0", TLS: setting.TLS{CertFile: "/none", KeyFile: "/none"}}, Options{Status: goodStatus}); err == nil || !strings.Contains(err.Error(), "http.tls") {
		t.Errorf("no certificate: got %v", err)
	}
	if _, err := New(t.Context(), Config{}, Options{}); err == nil {
		t.Error("no status: accepted")
	}
	open, err := New(t.Context(), Config{Listen: "127.0.0.1:0"}, Options{Status: goodStatus})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := open.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// TestConnectionBound opens one connection more than there may be: the last
// waits until another is closed.
func TestConnectionBound(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &boundedListener{Listener: inner, free: make(chan struct{}, 2), closed: make(chan struct{})}
	accepted := make(chan net.Conn, 3)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-accepted
	second := <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection of two was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // frees one place only
	third := <-accepted
	if got := len(ln.free); got != 2 {
		t.Errorf("places taken: got %d, want 2", got)
	}
	second.Close()
	third.Close()
	ln.Close()
	<-done
}

// TestLimitsAreSet proves that no limit of the listener was forgotten.
func TestLimitsAreSet(t *testing.T) {
	s, err := New(t.Context(), Config{Listen: "127.0.0.1:0"}, Options{Status: goodStatus})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h := s.http
	if h.ReadHeaderTimeout <= 0 || h.ReadTimeout <= 0 || h.WriteTimeout <= 0 || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 {
		t.Errorf("a limit is missing: %+v", h)
	}
}

func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		var b bytes.Buffer
		if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile = write("cert.pem", "CERTIFICATE", der)
	keyFile = write("key.pem", "PRIVATE KEY", keyDER)
	pool = x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(cert)
	return certFile, keyFile, pool
}
