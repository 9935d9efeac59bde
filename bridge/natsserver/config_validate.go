package natsserver

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Validate returns everything that is wrong with the configuration, with
// keys relative to "nats". It does no I/O.
func (c Config) Validate() []setting.Mistake {
	var ms []setting.Mistake
	add := func(key, format string, args ...any) {
		ms = append(ms, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if c.Listen != "" {
		host, port, err := net.SplitHostPort(c.Listen)
		switch {
		case err != nil:
			add("listen", "%q is not an address: want host:port, for example 127.0.0.1:4222, or nothing to close the listener", c.Listen)
		case !validPort(port):
			add("listen", "%q is not a port: want a number from 0 to 65535", port)
		case !setting.IsLoopbackHost(host):
			if len(c.Users) == 0 {
				add("users", "the listener %s is not on loopback and would let everybody read: list the users, or listen on 127.0.0.1", c.Listen)
			}
			if !c.TLS.On() && !c.Insecure {
				add("tls", "the listener %s is not on loopback: set cert_file and key_file, or nats.insecure: true behind a proxy that does TLS", c.Listen)
			}
		}
	}
	if c.TLS.On() && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		add("tls", "a listener with TLS needs cert_file and key_file")
	}
	seen := map[string]bool{}
	for i, u := range c.Users {
		key := "users[" + strconv.Itoa(i) + "]"
		switch {
		case u.Name == "":
			add(key+".name", "a user needs a name")
		case strings.HasPrefix(u.Name, reservedPrefix):
			add(key+".name", "names that begin with %q belong to the bridge", reservedPrefix)
		case seen[u.Name]:
			add(key+".name", "the user %q is listed twice", u.Name)
		}
		seen[u.Name] = true
		if u.Password.IsZero() {
			add(key+".password", "a user needs a password (or password_file)")
		}
		for j, s := range u.Subscribe {
			if !validSubject(s) {
				add(key+".subscribe["+strconv.Itoa(j)+"]", "%q is not a subject", s)
			}
		}
		for j, s := range u.Publish {
			switch {
			case !validSubject(s):
				add(key+".publish["+strconv.Itoa(j)+"]", "%q is not a subject", s)
			case overlaps(s, CycleSubjects):
				add(key+".publish["+strconv.Itoa(j)+"]", "%q overlaps %s: only the bridge writes the stream %s", s, CycleSubjects, CycleStream)
			case overlaps(s, "$JS.>") || overlaps(s, "$SYS.>"):
				add(key+".publish["+strconv.Itoa(j)+"]", "%q reaches the server's own subjects", s)
			}
		}
	}
	if c.Stream.MaxAge < 0 {
		add("stream.max_age", "%s is negative: want a duration such as 168h, or 0s for no limit", c.Stream.MaxAge)
	}
	if c.Stream.MaxBytes != setting.SizeAuto && c.Stream.MaxBytes < minStoreBytes {
		add("stream.max_bytes", "%s is less than %s", c.Stream.MaxBytes, setting.Size(minStoreBytes))
	}
	return ms
}

// minStoreBytes is the smallest limit that holds a few of the largest messages.
const minStoreBytes = 16 << 20

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n <= 65535
}

func validSubject(s string) bool {
	if s == "" || strings.ContainsAny(s, " \t\r\n") {
		return false
	}
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		if t == "" || (t == ">" && i != len(tokens)-1) {
			return false
		}
	}
	return true
}

// overlaps reports whether some subject matches both patterns.
func overlaps(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		if as[i] == ">" || bs[i] == ">" {
			return true
		}
		if as[i] != "*" && bs[i] != "*" && as[i] != bs[i] {
			return false
		}
	}
	return len(as) == len(bs)
}
