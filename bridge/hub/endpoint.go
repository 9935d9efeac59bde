package hub

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

const notificationsPath = "/v1/hubs/current/notifications"

// endpoint is where a hub's API answers.
type endpoint struct {
	base *url.URL // scheme http or https, host, and a path prefix without a slash at its end
}

// parseEndpoint reads api_url: a bare host means https; http and ws are for
// loopback only. Its errors never quote the value, which may hold a password.
func parseEndpoint(apiURL string) (endpoint, error) {
	s := strings.TrimSpace(apiURL)
	if s == "" {
		return endpoint{}, errors.New("is empty: want for example https://api.cycle.io")
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" {
		return endpoint{}, errors.New("is not a URL: want for example https://api.cycle.io")
	}
	if u.User != nil {
		return endpoint{}, errors.New("holds a user or a password: remove it, the key belongs into api_key")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, errors.New("holds a query or a fragment: want for example https://api.cycle.io")
	}
	switch u.Scheme {
	case "https", "http":
	case "wss":
		u.Scheme = "https"
	case "ws":
		u.Scheme = "http"
	default:
		return endpoint{}, fmt.Errorf("has the scheme %q: want https", u.Scheme)
	}
	host := u.Hostname()
	if host == "" || strings.ContainsAny(host, " \t\r\n") {
		return endpoint{}, errors.New("names no host: want for example https://api.cycle.io")
	}
	if u.Scheme == "http" && !isLoopback(host) {
		return endpoint{}, errors.New("is not encrypted: http:// and ws:// are accepted for localhost, 127.0.0.0/8 and ::1 only, use https://")
	}
	// People paste the address with the version, or the whole endpoint.
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), notificationsPath)
	u.Path = strings.TrimRight(strings.TrimSuffix(u.Path, "/v1"), "/")
	u.RawPath = ""
	u.Host = strings.ToLower(u.Host)
	return endpoint{base: u}, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() && (ip.To4() == nil || !strings.Contains(host, ":"))
}

func (e endpoint) host() string { return e.base.Host }

// tokenURL is where a token is given out.
func (e endpoint) tokenURL() string { return e.base.String() + notificationsPath }

// origin is the Origin header of the older documentation.
func (e endpoint) origin() string { return e.base.Scheme + "://" + e.base.Host }

// socketURL is what is dialled: the address that came with the token where
// there is one, else the path that gave the token. The result is a secret.
func (e endpoint) socketURL(t grant, f Filter) (string, error) {
	u := e.base.JoinPath(notificationsPath)
	if t.address != "" {
		a, err := e.allowed(t.address)
		if err != nil {
			return "", err
		}
		u = a
	}
	q := u.Query()
	if t.token != "" {
		q.Set("token", t.token)
	}
	if q.Get("token") == "" {
		return "", errors.New("the answer holds no token, and its address has none either")
	}
	set := func(name string, values ...string) {
		if v := strings.Join(values, ","); v != "" {
			q.Set(name, v)
		}
	}
	set("containers", f.Containers...)
	set("environments", f.Environments...)
	set("clusters", f.Clusters...)
	set("topic", f.Topic)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// allowed checks an address that the API wants dialled: the API's own host,
// or one under the same registered name, as well encrypted as the API.
func (e endpoint) allowed(address string) (*url.URL, error) {
	s := address
	if !strings.Contains(s, "://") {
		s = e.base.Scheme + "://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.Hostname() == "" {
		return nil, errors.New("the answer's address is not a usable URL")
	}
	switch u.Scheme {
	case "wss":
		u.Scheme = "https"
	case "ws":
		u.Scheme = "http"
	}
	host, own := strings.ToLower(u.Hostname()), strings.ToLower(e.base.Hostname())
	if u.Scheme != "https" && u.Scheme != e.base.Scheme {
		return nil, fmt.Errorf("the answer's address on %s is not encrypted", host)
	}
	if host != own {
		name := registeredName(own)
		if name == "" || host != name && !strings.HasSuffix(host, "."+name) {
			return nil, fmt.Errorf("the answer's address is on %s, which does not belong to %s", host, own)
		}
	}
	u.Fragment = ""
	return u, nil
}

// registeredName returns the name somebody registered that host is under, or
// "" for an address or a single label. It is a simple rule that needs no
// list: the last two labels, or three where the last is a country's and the
// one before has at most three letters (co.uk, com.au).
func registeredName(host string) string {
	if net.ParseIP(host) != nil {
		return ""
	}
	labels := strings.Split(host, ".")
	n := 2
	if len(labels) >= 2 && len(labels[len(labels)-1]) == 2 && len(labels[len(labels)-2]) <= 3 {
		n = 3
	}
	if len(labels) < n {
		return ""
	}
	if slices.Contains(labels, "") {
		return ""
	}
	return strings.Join(labels[len(labels)-n:], ".")
}
