package hubsim

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// FaultPath is where a running simulator takes faults, from loopback only:
//
//	POST   /sim/fault?kind=K&code=N&text=T&for=5s&bytes=N&parts=N&count=N&retry_after=T&conn=N
//	DELETE /sim/fault   forgets the faults that wait for requests
//	GET    /sim/fault   lists the kinds, and the totals so far
const FaultPath = "/sim/fault"

func (s *Server) serveFault(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || r.Header.Get("Origin") != "" {
		s.refuse(w, http.StatusForbidden, "", "faults are taken from loopback only", "")
		return
	}
	switch r.Method {
	case http.MethodGet:
		writeJSON(w, http.StatusOK, map[string]any{"kinds": FaultKinds(), "counters": s.Counters()})
	case http.MethodDelete:
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	case http.MethodPost:
		f, err := ParseFault(r.URL.Query())
		if err == nil {
			err = s.Inject(f)
		}
		if err != nil {
			s.refuse(w, http.StatusBadRequest, "", err.Error(), "")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		s.refuse(w, http.StatusMethodNotAllowed, "", "method not allowed", "")
	}
}

// ParseFault reads a fault from the parameters that FaultPath takes.
func ParseFault(q url.Values) (Fault, error) {
	f := Fault{Kind: q.Get("kind"), Text: q.Get("text"), RetryAfter: q.Get("retry_after")}
	for name, to := range map[string]*int{"code": &f.Code, "bytes": &f.Bytes, "parts": &f.Parts, "count": &f.Count} {
		v := q.Get(name)
		if v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n > 1<<30 {
			return f, fmt.Errorf("%s %q is not a number", name, v)
		}
		*to = n
	}
	if v := q.Get("conn"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return f, fmt.Errorf("conn %q is not the number of a connection", v)
		}
		f.Conn = n
	}
	if v := q.Get("for"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return f, fmt.Errorf("for %q is not a duration: want for example 5s", v)
		}
		f.For = d
	}
	return f, nil
}
