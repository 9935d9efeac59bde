// Package setting holds the types of configuration values that several
// packages use: secrets, sizes, TLS files, and mistakes with their key.
package setting

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// Secret is a value that is never printed. It comes from the configuration
// ("password") or from a file ("password_file") that is read on every use, so
// that a rotated secret is picked up.
type Secret struct {
	value string
	file  string
}

// NewSecret returns a secret with a fixed value.
func NewSecret(value string) Secret { return Secret{value: value} }

// SecretFile returns a secret that is read from a file.
func SecretFile(path string) Secret { return Secret{file: path} }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" && s.file == "" }

// File returns the file's path, or "".
func (s Secret) File() string { return s.file }

// Read returns the secret. White space around a file's content is dropped.
func (s Secret) Read() (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return "", fmt.Errorf("secret file: %w", err)
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return "", fmt.Errorf("secret file %s is empty", s.file)
	}
	return v, nil
}

func (s Secret) shown() string {
	switch {
	case s.file != "":
		return "file:" + s.file
	case s.value != "":
		return redacted
	}
	return ""
}

// String never shows the value.
func (s Secret) String() string { return s.shown() }

// GoString never shows the value.
func (s Secret) GoString() string { return s.shown() }

// Format never shows the value, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.shown()) }

// LogValue never shows the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.shown()) }

// MarshalText never shows the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.shown()), nil }

// MarshalJSON never shows the value.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.shown()) }

// TLS names the files of a TLS client or server. The zero value means no TLS.
type TLS struct {
	Enabled    bool   `yaml:"enabled" doc:"use TLS with the system's roots; implied by any other key here"`
	CAFile     string `yaml:"ca_file" doc:"PEM file with the CAs to trust, instead of the system's"`
	CertFile   string `yaml:"cert_file" doc:"PEM file with our certificate (mutual TLS, or a listener's)"`
	KeyFile    string `yaml:"key_file" doc:"PEM file with the certificate's key"`
	ServerName string `yaml:"server_name" doc:"name to expect in the server's certificate, instead of the host dialled"`
}

// On reports whether TLS is to be used.
func (t TLS) On() bool { return t != TLS{} }

// Client returns a client configuration (TLS 1.2 or later), or nil when TLS is off.
func (t TLS) Client() (*tls.Config, error) {
	if !t.On() {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := readPool(t.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("cert_file and key_file belong together")
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file %s, key_file %s: %w", t.CertFile, t.KeyFile, err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// Server returns a listener's configuration, or nil when TLS is off. With
// ca_file, clients must show a certificate of that CA.
func (t TLS) Server() (*tls.Config, error) {
	if !t.On() {
		return nil, nil
	}
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, errors.New("a listener with TLS needs cert_file and key_file")
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file %s, key_file %s: %w", t.CertFile, t.KeyFile, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if t.CAFile != "" {
		if c.ClientCAs, err = readPool(t.CAFile); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func readPool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s holds no PEM certificate", file)
	}
	return pool, nil
}

// Mistake is one thing wrong with a configuration, at a key path relative to
// the structure it was found in, for example "route[2].match".
type Mistake struct {
	Key  string
	Text string // lower case, says what to do; never a secret
}

func (m Mistake) Error() string {
	if m.Key == "" {
		return m.Text
	}
	return m.Key + ": " + m.Text
}

// OneOf returns a mistake unless value is one of the allowed.
func OneOf(key, value string, allowed ...string) []Mistake {
	if slices.Contains(allowed, value) {
		return nil
	}
	return []Mistake{{Key: key, Text: fmt.Sprintf("%q is not one of %s", value, strings.Join(allowed, ", "))}}
}
