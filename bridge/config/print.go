package config

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"reflect"
	"strings"
)

// Print writes the resolved configuration as YAML: every key with the value
// in force. Secrets are "[redacted]", or the path of their file.
func (c *Config) Print(w io.Writer) error {
	_, err := io.WriteString(w, c.text())
	return err
}

func (c *Config) text() string {
	return strings.Join(emitter{}.fields(reflect.ValueOf(*c), 0), "\n") + "\n"
}

// Hash names the resolved configuration: 16 hex digits of the SHA-256 of what
// Print writes. It does not change with a secret's value.
func (c *Config) Hash() string {
	sum := sha256.Sum256([]byte(c.text()))
	return hex.EncodeToString(sum[:8])
}
