package hubsim

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// tokensMax bounds the tokens that wait for an upgrade; expired ones go first.
const tokensMax = 10_000

// envelope is the platform's error form.
type envelope struct {
	Status int            `json:"status"`
	Code   string         `json:"code,omitempty"`
	Title  string         `json:"title"`
	Detail string         `json:"detail,omitempty"`
	Extra  map[string]any `json:"extra,omitempty"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

// refuse answers with the platform's error envelope.
func (s *Server) refuse(w http.ResponseWriter, status int, code, title, capability string) {
	s.refused.Add(1)
	e := envelope{Status: status, Code: code, Title: title}
	if capability != "" {
		e.Detail = "the key's role lacks a capability"
		e.Extra = map[string]any{"capability": capability}
	}
	writeJSON(w, status, map[string]envelope{"error": e})
}

// refuseAuth answers as authentication errors do, in the OAuth form.
func (s *Server) refuseAuth(w http.ResponseWriter, code, description string) {
	s.refused.Add(1)
	w.Header().Set("WWW-Authenticate", "Bearer")
	writeJSON(w, http.StatusUnauthorized, map[string]string{"error": code, "error_description": description})
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// authorized checks key and hub, and answers when they are wrong.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request) bool {
	switch auth := r.Header.Get("Authorization"); {
	case auth == "":
		s.refuseAuth(w, "invalid_request", "no access token was given")
	case !same(auth, "Bearer "+s.opts.APIKey):
		s.refuseAuth(w, "invalid_token", "the access token is not known")
	case r.Header.Get("X-Hub-Id") == "":
		s.refuse(w, http.StatusNotFound, "404.hub", "no hub was named", "")
	case r.Header.Get("X-Hub-Id") != s.opts.HubID:
		s.refuse(w, http.StatusForbidden, "403.wrong-hub", "the key belongs to another hub", "")
	default:
		return true
	}
	return false
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	if f := s.takeFault("token"); f != nil && !s.tokenFault(w, r, f) {
		return
	}
	if !s.authorized(w, r) {
		return
	}
	token := newToken()
	now := time.Now()
	s.mu.Lock()
	if len(s.tokens) >= tokensMax {
		for t, until := range s.tokens {
			if now.After(until) {
				delete(s.tokens, t)
			}
		}
	}
	full := len(s.tokens) >= tokensMax
	if !full {
		s.tokens[token] = now.Add(s.opts.TokenTTL)
	}
	s.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", "1")
		s.refuse(w, http.StatusTooManyRequests, "429.rate-limiting", "too many tokens", "")
		return
	}
	s.issued.Add(1)
	data := map[string]string{"token": token}
	switch s.opts.Address {
	case "":
	case "self":
		data["address"] = "ws://" + r.Host + Path
	default:
		data["address"] = s.opts.Address
	}
	writeJSON(w, http.StatusOK, map[string]any{"data": data})
}

// newToken returns about 190 characters of base64url, as the platform's.
// Padding and a slash-like character set make it need percent-encoding.
func newToken() string {
	var b [142]byte
	_, _ = rand.Read(b[:]) // never fails
	return "sim+" + base64.URLEncoding.EncodeToString(b[:])
}

// useToken takes a token; a second use finds nothing.
func (s *Server) useToken(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.tokens[token]
	delete(s.tokens, token)
	return ok && time.Now().Before(until)
}

// tokenFault answers a token request wrongly. It reports whether the request
// is to be answered as usual after all.
func (s *Server) tokenFault(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	ctx := r.Context()
	switch f.Kind {
	case TokenSlow:
		select {
		case <-time.After(f.For):
		case <-ctx.Done():
		}
		return true
	case TokenStatus:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		switch {
		case f.Code == http.StatusUnauthorized && f.Text == "":
			s.refuseAuth(w, "invalid_token", "the access token expired")
		case f.Code == http.StatusForbidden && f.Text == "":
			s.refuse(w, f.Code, "403.permissions", "permission denied", "apionly-notifications-listen")
		default:
			s.refuse(w, f.Code, f.Text, http.StatusText(f.Code), "")
		}
	case TokenHTML:
		s.refused.Add(1)
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><html><head><title>Sign in</title></head><body>Sign in</body></html>")
	case TokenBody:
		s.refused.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, f.Text)
	case TokenRedirect:
		s.refused.Add(1)
		w.Header().Set("Location", f.Text)
		w.WriteHeader(http.StatusFound)
	case TokenHuge:
		s.refused.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"token":"`)
		chunk := make([]byte, 32<<10)
		for i := range chunk {
			chunk[i] = 'A'
		}
		for n := 0; n < f.Bytes && ctx.Err() == nil; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return false
			}
		}
		_, _ = io.WriteString(w, `"}}`)
	case TokenEndless:
		s.refused.Add(1)
		_, _ = io.WriteString(w, `{"data":{"token":"`)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-ctx.Done():
		case <-time.After(f.For):
		}
	case TokenHeaders:
		s.refused.Add(1)
		big := make([]byte, f.Bytes)
		for i := range big {
			big[i] = 'h'
		}
		w.Header().Set("Set-Cookie", "a="+string(big))
		w.WriteHeader(http.StatusOK)
	case TokenEarlyHints:
		for range f.Parts {
			w.Header().Set("Link", "</a>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		}
		return true
	}
	return false
}
