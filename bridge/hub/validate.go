package hub

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

// Validate returns everything that is wrong with the configuration. It reads
// no secret and does no I/O.
func (c Config) Validate() []setting.Mistake {
	var out []setting.Mistake
	add := func(key, format string, args ...any) {
		out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case c.ID == "":
		add("id", "is required: the hub's id, 24 hex digits, as the portal shows it under Hub settings")
	case !isObjectID(c.ID):
		add("id", "is not a hub id: want 24 hex digits, as the portal shows it under Hub settings")
	}
	if c.APIKey.IsZero() {
		add("api_key", "is required: a key whose role has the capability %s (or api_key_file)", capability)
	}
	ep, err := parseEndpoint(c.APIURL)
	if err != nil {
		add("api_url", "%s", err)
	}
	if c.Connections > 1 {
		add("connections", "more than one connection comes with a later version: want auto or 1")
	}
	for _, f := range []struct {
		key    string
		values []string
		ids    bool
	}{
		{"filter.containers", c.Filter.Containers, true},
		{"filter.environments", c.Filter.Environments, true},
		{"filter.clusters", c.Filter.Clusters, false},
	} {
		for i, v := range f.values {
			key := fmt.Sprintf("%s[%d]", f.key, i)
			switch {
			case v == "":
				add(key, "is empty")
			case strings.ContainsAny(v, ",\r\n"):
				add(key, "holds a comma or a line break: write one value each")
			case f.ids && !isObjectID(v):
				add(key, "is not an id: want 24 hex digits")
			}
		}
	}
	if strings.ContainsAny(c.Filter.Topic, ",*> \r\n") {
		add("filter.topic", "takes exactly one topic, without wildcards; routes take patterns")
	}
	if c.TLS.On() && err == nil && ep.base.Scheme == "http" {
		add("tls", "has no meaning with an http:// api_url")
	}
	return out
}

// Warnings returns what is allowed and yet probably not meant, as sentences.
func (c Config) Warnings() []string {
	known := topics.Names()
	if t := c.Filter.Topic; t != "" && !slices.Contains(known, t) {
		text := fmt.Sprintf("filter.topic %q is not a known topic: if the hub does not know it either, nothing will arrive", t)
		if near := relatives(t, known); len(near) > 0 {
			text += "; known are " + strings.Join(near, ", ")
		}
		return []string{text}
	}
	return nil
}

// relatives returns the known topics that share the longest beginning with t, at most 10.
func relatives(t string, known []string) []string {
	for end := len(t); end > 0; end = strings.LastIndexByte(t[:end], '.') {
		var out []string
		for _, k := range known {
			if strings.HasPrefix(k, t[:end]+".") {
				out = append(out, k)
			}
		}
		if len(out) > 0 {
			return out[:min(10, len(out))]
		}
	}
	return nil
}

func isObjectID(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 24
}

// String lists the filters for people; "" when there are none.
func (f Filter) String() string {
	var parts []string
	list := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, name+"="+strings.Join(values, ","))
		}
	}
	list("containers", f.Containers)
	list("environments", f.Environments)
	list("clusters", f.Clusters)
	if f.Topic != "" {
		parts = append(parts, "topic="+f.Topic)
	}
	return strings.Join(parts, " ")
}
