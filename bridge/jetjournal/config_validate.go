package jetjournal

import (
	"fmt"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Limits of what a configuration may ask for.
const (
	minBytes   = 16 << 20 // a few of the largest groups
	minAge     = time.Minute
	maxNameLen = 64 // the stream, its bucket and the dead letters add to it
)

// Validate returns everything that is wrong with the configuration, with keys
// relative to "journal". It reads the files that secrets and tls name, nothing else.
func (c Config) Validate() []setting.Mistake {
	var ms []setting.Mistake
	add := func(key, format string, args ...any) {
		ms = append(ms, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case c.IsEmbedded():
		add("url", "leave it empty for the embedded journal")
	case c.embedded():
		if c.Dir == "" {
			add("dir", "the journal needs a directory, or a url")
		}
		if c.Replicas > 1 {
			add("replicas", "%d copies need a JetStream cluster: set journal.url, or replicas to 1", int(c.Replicas))
		}
		// The keys of a connection have no meaning here; their own package says so.
		own := c.Config
		own.URL = natsconn.Embedded
		ms = append(ms, own.Validate()...)
	default:
		ms = append(ms, c.Config.Validate()...)
		if !c.EncryptionKey.IsZero() {
			add("encryption_key", "it encrypts the embedded store only: set it on the server of journal.url instead")
		}
	}
	switch name := c.StreamName(); {
	case name == "":
		add("name", "with journal.url the journal needs a name: bridges that share server and name are replicas of each other")
	case !validName(name):
		add("name", "%q is not a name: want up to %d letters, digits, - and _", c.Name, maxNameLen)
	}
	switch c.Replicas {
	case 0, 1, 3, 5:
	default:
		add("replicas", "%d is not a number of replicas: want auto, 1, 3 or 5", int(c.Replicas))
	}
	switch {
	case c.MaxAge < 0:
		add("max_age", "%s is negative: want a duration such as 168h, or 0s for no limit", c.MaxAge)
	case c.MaxAge > 0 && c.MaxAge < minAge:
		add("max_age", "%s is less than a minute", c.MaxAge)
	}
	if c.MaxBytes != setting.SizeAuto && c.MaxBytes < minBytes {
		add("max_bytes", "%s is less than %s", c.MaxBytes, setting.Size(minBytes))
	}
	switch c.Durability {
	case DurabilityFsync, DurabilityRelaxed:
	default:
		add("durability", "%q is not a durability: want %s or %s", c.Durability, DurabilityFsync, DurabilityRelaxed)
	}
	return ms
}

func validName(s string) bool {
	if len(s) > maxNameLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
