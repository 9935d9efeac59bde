package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// guard is around everything: Host header, body limit, foreign origins, and
// the headers that every answer has.
func (s *Server) guard(next http.Handler) http.Handler {
	// Refuses writes that a page of another origin makes a browser send.
	origins := http.NewCrossOriginProtection()
	return origins.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Server", serverName)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if !s.knowsHost(r) {
			fail(w, http.StatusForbidden, "this Host header is not known here: add the name to http.hosts")
			return
		}
		if r.ContentLength > maxBodyBytes {
			fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %s", setting.Size(maxBodyBytes)))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		next.ServeHTTP(w, r)
	}))
}

// knowsHost refuses names that nobody configured: the page that a browser
// runs under such a name may be anybody's. An address cannot be rebound: it is
// accepted when it is the one that was dialled (kubelet and Prometheus do).
func (s *Server) knowsHost(r *http.Request) bool {
	host := hostOf(r.Host)
	if setting.IsLoopbackHost(host) {
		return true
	}
	if slices.ContainsFunc(s.config.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return false
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && ip.Unmap() == addressOf(local.String())
}

// hostOf is a Host header without its port.
func hostOf(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return header
}

func addressOf(hostport string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// local reports whether a request needs no token. A proxy on this machine
// makes everybody a peer on loopback: what it adds, or a Host that is not
// loopback, gives it away.
func (s *Server) local(r *http.Request) bool {
	if !s.loopback || !setting.IsLoopbackHost(hostOf(r.Host)) || !addressOf(r.RemoteAddr).IsLoopback() {
		return false
	}
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
			return false
		}
	}
	return true
}

// access tells what a request may do.
type access int

const (
	accessNone      access = iota // no token, or a wrong one
	accessForbidden               // a token that does not allow this
	accessGranted
)

func (s *Server) access(r *http.Request, what string) access {
	if s.local(r) {
		return accessGranted
	}
	given, ok := bearer(r)
	if !ok {
		return accessNone
	}
	// Equal length for any token, and every one is compared: the time says
	// nothing about them.
	sum := sha256.Sum256([]byte(given))
	found := accessNone
	for i, t := range s.config.Tokens {
		want, err := t.Token.Read()
		s.tokenProblems.note(i, err, func() {
			s.log.Error("token cannot be read", "token", t.Name, "error", err)
		})
		if err != nil || want == "" {
			continue
		}
		wantSum := sha256.Sum256([]byte(want))
		if subtle.ConstantTimeCompare(sum[:], wantSum[:]) == 1 {
			found = max(found, accessForbidden)
			if t.may(what) {
				found = accessGranted
			}
		}
	}
	return found
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// needsToken lets only those through who may do what.
func (s *Server) needsToken(what string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch s.access(r, what) {
		case accessGranted:
			next(w, r)
		case accessForbidden:
			fail(w, http.StatusForbidden, "this token does not allow "+what)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="cycle-bridge"`)
			fail(w, http.StatusUnauthorized, "a bearer token is needed here (http.tokens)")
		}
	}
}

// fail answers with an error as JSON.
func fail(w http.ResponseWriter, code int, text string) {
	writeJSON(w, code, struct {
		Error string `json:"error"`
	}{text})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	// The client is gone when this fails: there is nobody to tell.
	_ = enc.Encode(v)
}

// problemLog remembers which problems were told.
type problemLog struct {
	mu   sync.Mutex   // guards told
	told map[int]bool // by token
}

// note calls tell when err is the first since key was well.
func (p *problemLog) note(key int, err error, tell func()) {
	p.mu.Lock()
	first := err != nil && !p.told[key]
	if p.told == nil {
		p.told = map[int]bool{}
	}
	p.told[key] = err != nil
	p.mu.Unlock()
	if first {
		tell()
	}
}
