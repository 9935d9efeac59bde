package admin

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// TestAccess is (78) as far as there is something to call, and the table of
// who may see what.
func TestAccess(t *testing.T) {
	loopback := Config{Listen: "127.0.0.1:8080", Tokens: tokens(), Hosts: []string{"bridge.example.com"}}
	open := Config{Listen: "0.0.0.0:8080", Insecure: true, Tokens: tokens(), Hosts: []string{"bridge.example.com"}}
	bare := Config{Listen: "0.0.0.0:8080", Insecure: true}
	remote := request{peer: remotePeer, host: "192.0.2.1:8080"}
	with := func(r request, change func(*request)) request { change(&r); return r }
	for _, tc := range []struct {
		name string
		c    Config
		r    request
		want map[string]int // path: code
	}{
		{"local", loopback, request{}, map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/api/v1/status": 200, "/": 200}},
		{"local by address", loopback, request{host: "127.0.0.1:8080"}, map[string]int{"/livez": 200, "/api/v1/status": 200}},
		{"local IPv6", loopback, request{host: "[::1]:8080", peer: "[::1]:1"}, map[string]int{"/api/v1/status": 200}},
		{"rebound name", loopback, request{host: "evil.example.com"}, map[string]int{"/livez": 403, "/readyz": 403, "/metrics": 403, "/api/v1/status": 403, "/": 403}},
		{"looks like loopback", loopback, request{host: "127.0.0.1.evil.com"}, map[string]int{"/livez": 403}},
		{"no host", loopback, with(request{}, func(r *request) { r.host = " " }), map[string]int{"/livez": 403}},
		{"behind a proxy with its name", loopback, request{host: "bridge.example.com"}, map[string]int{"/livez": 200, "/metrics": 200, "/api/v1/status": 401, "/": 401}},
		{"behind a proxy, token", loopback, request{host: "Bridge.Example.Com:443", token: canary}, map[string]int{"/api/v1/status": 200, "/": 200}},
		{"behind a proxy that keeps localhost", loopback, with(request{}, func(r *request) { r.header = map[string]string{"X-Forwarded-For": "203.0.113.9"} }), map[string]int{"/api/v1/status": 401}},
		{"remote", open, remote, map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/api/v1/status": 401, "/": 401}},
		{"remote, other address as host", open, with(remote, func(r *request) { r.host = "198.51.100.7:8080" }), map[string]int{"/livez": 403}},
		{"remote, token", open, with(remote, func(r *request) { r.token = canary }), map[string]int{"/api/v1/status": 200}},
		{"remote, wrong token", open, with(remote, func(r *request) { r.token = canary + "x" }), map[string]int{"/api/v1/status": 401}},
		{"remote, beginning of a token", open, with(remote, func(r *request) { r.token = canary[:5] }), map[string]int{"/api/v1/status": 401}},
		{"remote, token without read", open, with(remote, func(r *request) { r.token = "a-token-that-writes-only" }), map[string]int{"/api/v1/status": 403}},
		{"remote, Basic", open, with(remote, func(r *request) { r.header = map[string]string{"Authorization": "Basic " + canary} }), map[string]int{"/api/v1/status": 401}},
		{"remote, token in the URL", open, remote, map[string]int{"/api/v1/status?token=" + canary: 401}},
		{"listener off loopback, local peer", open, request{}, map[string]int{"/api/v1/status": 401, "/livez": 200}},
		{"no tokens at all", bare, with(remote, func(r *request) { r.token = "x" }), map[string]int{"/api/v1/status": 401, "/readyz": 200}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newServer(t, tc.c, goodStatus)
			for path, want := range tc.want {
				r := tc.r
				r.path = path
				w := do(t, s, r)
				if w.Code != want {
					t.Errorf("%s: got %d, want %d: %s", path, w.Code, want, w.Body)
				}
				if want == 401 && w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s: no WWW-Authenticate", path)
				}
			}
		})
	}
}

// TestRequests78 is (78): wrong method, large body, path traversal, what does
// not exist; and HEAD and content types.
func TestRequests78(t *testing.T) {
	s := newServer(t, Defaults(), goodStatus)
	type want struct {
		code        int
		contentType string
	}
	for _, tc := range []struct {
		name string
		r    request
		want want
	}{
		{"livez", request{path: "/livez"}, want{200, "text/plain; charset=utf-8"}},
		{"readyz", request{path: "/readyz"}, want{200, "application/json"}},
		{"status", request{path: "/api/v1/status"}, want{200, "application/json"}},
		{"page", request{path: "/"}, want{200, "text/html; charset=utf-8"}},
		{"metrics", request{path: "/metrics"}, want{200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"}},
		{"HEAD livez", request{method: "HEAD", path: "/livez"}, want{200, "text/plain; charset=utf-8"}},
		{"HEAD readyz", request{method: "HEAD", path: "/readyz"}, want{200, "application/json"}},
		{"POST", request{method: "POST", path: "/api/v1/status"}, want{405, "text/plain; charset=utf-8"}},
		{"DELETE", request{method: "DELETE", path: "/livez"}, want{405, "text/plain; charset=utf-8"}},
		{"POST from a foreign page", request{method: "POST", path: "/api/v1/status", header: map[string]string{"Origin": "https://evil.example.com"}}, want{403, "text/plain; charset=utf-8"}},
		{"large body", request{method: "POST", path: "/api/v1/status", body: bytes.NewReader(make([]byte, maxBodyBytes+1))}, want{413, "application/json"}},
		{"traversal", request{path: "/api/v1/../../etc/passwd"}, want{307, "text/html; charset=utf-8"}},
		{"encoded traversal", request{path: "/api/v1/%2e%2e/%2e%2e/etc/passwd"}, want{404, "text/plain; charset=utf-8"}},
		{"nothing there", request{path: "/etc/passwd"}, want{404, "text/plain; charset=utf-8"}},
		{"dead letter of an unknown id", request{method: "POST", path: "/api/v1/dead-letters/x/replay"}, want{404, "text/plain; charset=utf-8"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := do(t, s, tc.r)
			if got := (want{w.Code, w.Header().Get("Content-Type")}); got != tc.want {
				t.Errorf("got %v, want %v: %.200s", got, tc.want, w.Body)
			}
			if w.Code == http.StatusMethodNotAllowed && !strings.Contains(w.Header().Get("Allow"), "GET") {
				t.Errorf("Allow: got %q", w.Header().Get("Allow"))
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" && tc.want.code != 403 {
				t.Error("no nosniff")
			}
		})
	}
}

func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	var log bytes.Buffer
	c := Config{Listen: "0.0.0.0:1", Insecure: true, Tokens: []Token{{Name: "rotated", Token: setting.SecretFile(file)}}}
	s := newServer(t, c, goodStatus)
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	ask := func(token string) int {
		return do(t, s, request{path: "/api/v1/status", peer: remotePeer, host: "192.0.2.1:8080", token: token}).Code
	}
	for range 3 {
		if got := ask("x"); got != 401 {
			t.Errorf("no file: got %d, want 401", got)
		}
	}
	if got := strings.Count(log.String(), "token cannot be read"); got != 1 {
		t.Errorf("told %d times, want once:\n%s", got, log.String())
	}
	for _, token := range []string{"first-token-value", "second-token-value"} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ask(token); got != 200 {
			t.Errorf("token %s: got %d, want 200", token, got)
		}
	}
	if got := ask("first-token-value"); got != 401 {
		t.Errorf("replaced token: got %d, want 401", got)
	}
	if strings.Contains(log.String(), "second-token-value") {
		t.Error("the log shows a token")
	}
}

func TestValidate(t *testing.T) {
	cert := setting.TLS{CertFile: "c", KeyFile: "k"}
	long := setting.NewSecret("sixteen-characters")
	for _, tc := range []struct {
		name string
		c    Config
		want []string // key: part of the text
	}{
		{"defaults", Defaults(), nil},
		{"closed", Config{}, nil},
		{"any port", Config{Listen: "[::1]:0"}, nil},
		{"localhost", Config{Listen: "localhost:8080"}, nil},
		{"no port", Config{Listen: "127.0.0.1"}, []string{"listen: is not an address"}},
		{"bad port", Config{Listen: "127.0.0.1:http"}, []string{"listen: has no valid port"}},
		{"large port", Config{Listen: "127.0.0.1:65536"}, []string{"listen: has no valid port"}},
		{"everywhere, nothing", Config{Listen: ":8080"}, []string{"listen: there are no tokens"}},
		{"everywhere, tokens", Config{Listen: "0.0.0.0:8080", Tokens: []Token{{Token: long}}}, []string{"listen: unencrypted"}},
		{"everywhere, TLS only", Config{Listen: "[::]:8080", TLS: cert}, []string{"listen: there are no tokens"}},
		{"everywhere, both", Config{Listen: "bridge.local:8080", TLS: cert, Tokens: []Token{{Token: long}}}, nil},
		{"insecure", Config{Listen: ":8080", Insecure: true}, nil},
		{"half a certificate", Config{TLS: setting.TLS{CertFile: "c"}}, []string{"tls: needs cert_file and key_file"}},
		{
			"tokens", Config{Tokens: []Token{{Name: "a"}, {Name: "a", Token: setting.NewSecret("short"), Allow: []string{"read", "all"}, Match: "x.>"}}},
			[]string{"tokens[0].token: required", "tokens[1].token: too short", `tokens[1].allow[1]: "all" is not known`, "tokens[1].match: not available", "tokens[1].name: taken by tokens[0]"},
		},
		{"hosts", Config{Hosts: []string{"ok.example.com", "https://x", "a:1", ""}}, []string{"hosts[1]: is not a host", "hosts[2]: is not a host", "hosts[3]: is not a host"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.c.Validate()
			if len(got) != len(tc.want) {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			for i, m := range got {
				key, text, _ := strings.Cut(tc.want[i], ": ")
				if m.Key != key || !strings.Contains(m.Text, text) {
					t.Errorf("got %v, want %s", m, tc.want[i])
				}
			}
		})
	}
}
