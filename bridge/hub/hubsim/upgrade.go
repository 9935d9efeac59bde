package hubsim

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 §4.2.2 asks for it
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3

// filter is what one connection asked for.
type filter struct {
	containers, environments, clusters map[string]bool
	topic                              string
}

func parseFilter(q url.Values) filter {
	set := func(name string) map[string]bool {
		var m map[string]bool
		for v := range strings.SplitSeq(q.Get(name), ",") {
			if v = strings.TrimSpace(v); v != "" {
				if m == nil {
					m = map[string]bool{}
				}
				m[v] = true
			}
		}
		return m
	}
	return filter{set("containers"), set("environments"), set("clusters"), q.Get("topic")}
}

func (f *filter) empty() bool {
	return f.containers == nil && f.environments == nil && f.clusters == nil && f.topic == ""
}

// passes joins the filters by AND; a notification whose context member is
// null does not pass a filter on it. (Neither is documented.)
func (f *filter) passes(m *meta) bool {
	return (f.containers == nil || f.containers[m.container]) &&
		(f.environments == nil || f.environments[m.env]) &&
		(f.clusters == nil || f.clusters[m.cluster]) &&
		(f.topic == "" || f.topic == m.topic)
}

func headerHas(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for v := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(v), token) {
				return true
			}
		}
	}
	return false
}

func (s *Server) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	fault := s.takeFault("upgrade")
	if fault != nil && fault.Kind == UpgradeStatus {
		if fault.RetryAfter != "" {
			w.Header().Set("Retry-After", fault.RetryAfter)
		}
		if fault.Code == http.StatusOK {
			s.refused.Add(1)
			writeJSON(w, http.StatusOK, map[string]string{"data": "not an upgrade"})
			return
		}
		s.refuse(w, fault.Code, fault.Text, http.StatusText(fault.Code), "")
		return
	}
	key := r.Header.Get("Sec-WebSocket-Key")
	if !headerHas(r.Header, "Connection", "Upgrade") || !headerHas(r.Header, "Upgrade", "websocket") ||
		r.Header.Get("Sec-WebSocket-Version") != "13" || key == "" {
		s.refuse(w, http.StatusBadRequest, "400.invalid-syntax", "not a WebSocket upgrade", "")
		return
	}
	q := r.URL.Query()
	token := q.Get("token")
	if !s.useToken(token) {
		s.refuse(w, http.StatusUnauthorized, "401.auth-expired", "the token is not valid any more", "")
		return
	}
	if s.opts.StrictUpgrade {
		if r.Header.Get("X-Cycle-Token") != token || r.Header.Get("Origin") == "" {
			s.refuse(w, http.StatusForbidden, "403.mismatch", "headers are missing", "")
			return
		}
		if !s.authorized(w, r) {
			return
		}
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, http.StatusInternalServerError, "500.unknown", "cannot upgrade", "")
		return
	}
	_ = nc.SetDeadline(time.Time{}) // http.Server set one for the header
	answer := switching(key, fault)
	if fault != nil && fault.Kind != CloseAtOnce {
		// The handshake is wrong: the client is expected to leave.
		if _, err := nc.Write(answer); err == nil {
			_, _ = nc.Read(make([]byte, 1))
		}
		_ = nc.Close()
		return
	}
	c := s.register(nc, rw.Reader, parseFilter(q), answer)
	if c == nil {
		_ = nc.Close()
		return
	}
	if fault != nil {
		c.closeWith(fault.Code, fault.Text)
	}
	c.run()
}

// switching returns the 101 answer, spoiled by a fault.
func switching(key string, f *Fault) []byte {
	sum := sha1.Sum([]byte(key + acceptGUID)) //nolint:gosec // see the import
	accept := base64.StdEncoding.EncodeToString(sum[:])
	upgrade, extra := "Upgrade: websocket\r\nConnection: Upgrade\r\n", ""
	if f != nil {
		switch f.Kind {
		case UpgradeAccept:
			accept = base64.StdEncoding.EncodeToString(make([]byte, 20))
		case UpgradeHeader:
			upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n"
		case UpgradeProtocol:
			extra = "Sec-WebSocket-Protocol: soap\r\n"
		case UpgradeExtension:
			extra = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
		}
	}
	return []byte("HTTP/1.1 101 Switching Protocols\r\n" + upgrade + extra + "Sec-WebSocket-Accept: " + accept + "\r\n\r\n")
}

// register adds a connection to the stream: it gets the answer and then every
// frame that is sent from now on, so that a client that has seen the 101
// misses nothing. It returns nil when the server is closed.
func (s *Server) register(nc net.Conn, br *bufio.Reader, f filter, answer []byte) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.nextID++
	c := newConn(s, s.nextID, nc, br, f)
	c.queue(answer, nil)
	s.conns[c.id] = c
	s.opened.Add(1)
	s.busy.Add(1)
	s.log.Debug("connection opened", "conn", c.id)
	s.changedLocked()
	return c
}
