package admin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Config is the part of the configuration under "http".
type Config struct {
	Listen   string      `yaml:"listen" doc:"address of health, metrics and status; empty closes it; other than loopback needs tokens and tls"`
	Tokens   []Token     `yaml:"tokens" doc:"bearer tokens"`
	TLS      setting.TLS `yaml:"tls" doc:"certificate of the listener"`
	Hosts    []string    `yaml:"hosts" doc:"Host headers to accept besides loopback names and the address itself"`
	Insecure bool        `yaml:"insecure" doc:"allow a listener off loopback without TLS or tokens, for example behind a proxy"`
}

// Token is a bearer token and what it allows.
type Token struct {
	Name  string         `yaml:"name" doc:"for the log"`
	Token setting.Secret `yaml:"token" doc:"the bearer token"`
	Allow []string       `yaml:"allow" doc:"read, write; empty: read"`
	Match string         `yaml:"match" doc:"topics that it may read; empty: all; not available in this version"`
}

// Values of Token.Allow.
const (
	allowRead  = "read"
	allowWrite = "write"
)

// may reports whether the token allows what.
func (t Token) may(what string) bool {
	if len(t.Allow) == 0 {
		return what == allowRead
	}
	return slices.Contains(t.Allow, what)
}

// Defaults returns a Config with every default.
func Defaults() Config { return Config{Listen: "127.0.0.1:8080"} }

// Validate reports what is wrong with the configuration, at keys relative to
// "http". It reads no files.
func (c Config) Validate() []setting.Mistake {
	var out []setting.Mistake
	add := func(key, format string, args ...any) {
		out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if err := setting.CheckListen(c.Listen); err != nil {
		add("listen", "%v", err)
	} else if c.Listen != "" && !setting.ListensOnLoopback(c.Listen) && !c.Insecure {
		switch {
		case len(c.Tokens) == 0:
			add("listen", "%s can be reached from elsewhere and there are no tokens: set http.tokens and http.tls, listen on 127.0.0.1, or set http.insecure: true (only health and metrics then answer)", c.Listen)
		case !c.TLS.On():
			add("listen", "%s can be reached from elsewhere and tokens would travel unencrypted: set http.tls, or http.insecure: true behind a proxy that does TLS", c.Listen)
		}
	}
	if c.TLS.On() && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		add("tls", "a listener with TLS needs cert_file and key_file")
	}
	names := map[string]int{}
	for i, t := range c.Tokens {
		key := fmt.Sprintf("tokens[%d]", i)
		if t.Token.IsZero() {
			add(key+".token", "required (or token_file)")
		} else if v, err := t.Token.Read(); t.Token.File() == "" && err == nil && len(v) < minTokenBytes {
			add(key+".token", "too short: want at least %d characters, for example from: openssl rand -hex 24", minTokenBytes)
		}
		for j, a := range t.Allow {
			if a != allowRead && a != allowWrite {
				add(fmt.Sprintf("%s.allow[%d]", key, j), "%q is not known: want %s, %s", a, allowRead, allowWrite)
			}
		}
		if t.Match != "" {
			add(key+".match", "not available in this version: there is no stream of events to restrict")
		}
		if first, dup := names[t.Name]; dup && t.Name != "" {
			add(key+".name", "the name is taken by tokens[%d]", first)
		}
		names[t.Name] = i
	}
	for i, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, "/:* \t\r\n@") {
			add(fmt.Sprintf("hosts[%d]", i), "%q is not a host name: want the name alone, without scheme and port", h)
		}
	}
	return out
}

// minTokenBytes is far from a guess over the network, and catches "secret".
const minTokenBytes = 16
