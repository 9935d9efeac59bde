// Package natsconn opens connections to NATS servers for the journal and the
// sinks: one set of configuration keys, one set of options, one table of what
// errors mean.
//
// A connection of this package hides nothing: while the server is gone,
// publishing fails at once instead of filling a buffer, and requests are not
// repeated. It reconnects for ever by itself, reading secrets and certificate
// files anew each time.
package natsconn

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Embedded is the URL that means the server in this process.
const Embedded = "embedded"

// Config is how to reach and to authenticate at a NATS server.
type Config struct {
	URL         string         `yaml:"url" doc:"nats://host:4222, several separated by commas, or embedded"`
	Username    string         `yaml:"username" doc:"user name"`
	Password    setting.Secret `yaml:"password" doc:"password"`
	Token       setting.Secret `yaml:"token" doc:"token instead of user and password"`
	NKeySeed    setting.Secret `yaml:"nkey_seed" doc:"nkey seed (SU...)"`
	CredsFile   string         `yaml:"creds_file" doc:"credentials file with JWT and nkey"`
	Domain      string         `yaml:"domain" doc:"JetStream domain"`
	APIPrefix   string         `yaml:"api_prefix" doc:"JetStream API prefix, instead of a domain"`
	InboxPrefix string         `yaml:"inbox_prefix" doc:"prefix of reply subjects, where the account restricts _INBOX"`
	TLS         setting.TLS    `yaml:"tls" doc:"TLS towards the server"`
}

// IsEmbedded reports whether c means the server in this process.
func (c Config) IsEmbedded() bool { return c.URL == Embedded }

// Where returns the servers for people, without credentials.
func (c Config) Where() string {
	parts := splitURLs(c.URL)
	for i, p := range parts {
		parts[i] = redact(p)
	}
	return strings.Join(parts, ",")
}

// Validate returns what is wrong with c. It reads the files that c names.
func (c Config) Validate() []setting.Mistake {
	var out []setting.Mistake
	add := func(key, format string, args ...any) {
		out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if !c.IsEmbedded() {
		c.validateURL(add)
	}
	c.validateAuth(add)
	if c.Domain != "" && c.APIPrefix != "" {
		add("api_prefix", "domain and api_prefix exclude each other")
	}
	for _, s := range []struct{ key, value string }{
		{"domain", c.Domain}, {"api_prefix", c.APIPrefix}, {"inbox_prefix", c.InboxPrefix},
	} {
		if strings.ContainsAny(s.value, "*> \t\r\n") || strings.HasPrefix(s.value, ".") || strings.HasSuffix(s.value, ".") {
			add(s.key, "%q is not a plain subject: no wildcards, no white space, no dot at its ends", s.value)
		}
	}
	if _, err := c.TLS.Client(); err != nil {
		add("tls", "%v", err)
	}
	return out
}

func (c Config) validateURL(add func(key, format string, args ...any)) {
	urls := splitURLs(c.URL)
	if len(urls) == 0 {
		add("url", "is missing: want nats://host:4222, or embedded")
		return
	}
	for _, s := range urls {
		u, err := url.Parse(withScheme(s))
		if err != nil {
			add("url", "%q is not a URL: want nats://host:4222", redact(s))
			continue
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			add("url", "scheme %q is not known: want nats, tls, ws or wss", u.Scheme)
		}
		if u.Hostname() == "" {
			add("url", "%q names no host", redact(s))
		}
		if u.User != nil {
			add("url", "holds credentials, which would be printed: use username and password, or token")
		}
	}
}

func (c Config) validateAuth(add func(key, format string, args ...any)) {
	var used []string
	if c.Username != "" || !c.Password.IsZero() {
		used = append(used, "username")
		if c.Username == "" {
			add("username", "is missing beside password")
		}
		if c.Password.IsZero() {
			add("password", "is missing beside username")
		}
	}
	for _, s := range []struct {
		key    string
		secret setting.Secret
	}{{"password", c.Password}, {"token", c.Token}, {"nkey_seed", c.NKeySeed}} {
		if s.secret.IsZero() {
			continue
		}
		if s.key != "password" {
			used = append(used, s.key)
		}
		v, err := s.secret.Read()
		if err != nil {
			add(s.key, "%v", err)
			continue
		}
		if s.key == "nkey_seed" {
			if _, err := nkeys.FromSeed([]byte(v)); err != nil {
				add(s.key, "is not an nkey seed: a user's begins with SU")
			}
		}
	}
	if c.CredsFile != "" {
		used = append(used, "creds_file")
		if err := readCreds(c.CredsFile); err != nil {
			add("creds_file", "%v", err)
		}
	}
	if len(used) > 1 {
		add(used[1], "%s exclude each other: use one", strings.Join(used, " and "))
	}
	if c.IsEmbedded() && len(used) > 0 {
		add(used[0], "has no meaning with url: embedded")
	}
}

// readCreds reports whether file holds a JWT and a seed, without showing them.
func readCreds(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := nkeys.ParseDecoratedJWT(b); err != nil {
		return fmt.Errorf("%s holds no user JWT: make it with nsc generate creds", file)
	}
	if _, err := nkeys.ParseDecoratedUserNKey(b); err != nil {
		return fmt.Errorf("%s holds no user nkey seed: make it with nsc generate creds", file)
	}
	return nil
}

func splitURLs(s string) []string {
	var out []string
	for p := range strings.SplitSeq(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

func withScheme(s string) string {
	if !strings.Contains(s, "://") {
		return "nats://" + s
	}
	return s
}

// redact returns a URL without user and password, also where it does not parse.
func redact(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if scheme == "" {
		return rest
	}
	return scheme + "://" + rest
}
