package setting

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const canary = "canary-7Hq2xW9"
	s := NewSecret(canary)
	holder := struct {
		Password Secret
		P        *Secret
	}{s, &s}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %q %d %x %v %+v %#v", s, s, s, s, s, s, s, holder, holder, holder)
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "holder", holder, "error", fmt.Errorf("bad %v", s))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "holder", holder)
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret is shown:\n%s", out.String())
	}
	if got, err := s.Read(); got != canary || err != nil {
		t.Errorf("Read: got %q, %v", got, err)
	}
}

func TestSize(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Size
		text string // as it is printed; "" for an error
	}{
		{"auto", SizeAuto, "auto"}, {"0", 0, "0"}, {"512KiB", 512 << 10, "512KiB"}, {"10GiB", 10 << 30, "10GiB"},
		{"1.5GiB", 3 << 29, "1536MiB"}, {"1MB", 1e6, "1000000"}, {"2 TiB", 2 << 40, "2TiB"}, {"7B", 7, "7"},
		{in: "-1"}, {in: "9e99"}, {in: "-5MiB"}, {in: "x"}, {in: ""}, {in: "10 giB"}, {in: "NaN"}, {in: "Inf"}, {in: "10GiBs"},
	} {
		var s Size
		err := s.UnmarshalText([]byte(tc.in))
		switch {
		case tc.text == "":
			if err == nil {
				t.Errorf("%q: got %v, want an error", tc.in, s)
			}
		case err != nil || s != tc.want || s.String() != tc.text:
			t.Errorf("%q: got %d (%s), %v; want %d (%s)", tc.in, s, s, err, tc.want, tc.text)
		}
	}
}

func TestLoopback(t *testing.T) {
	for _, tc := range []struct {
		addr string
		want bool
	}{
		{"127.0.0.1:1", true}, {"127.8.8.8:1", true}, {"[::1]:1", true}, {"[::ffff:127.0.0.1]:1", true}, {"localhost:1", true}, {"LocalHost.:1", true}, {"a.localhost:1", true},
		{":1", false}, {"0.0.0.0:1", false}, {"[::]:1", false}, {"10.0.0.1:1", false}, {"localhost.example.com:1", false}, {"127.0.0.1.example.com:1", false}, {"example.com:1", false}, {"127.1:1", false}, {"", false}, {"127.0.0.1", false},
	} {
		if got := ListensOnLoopback(tc.addr); got != tc.want {
			t.Errorf("ListensOnLoopback(%q): got %v, want %v", tc.addr, got, tc.want)
		}
	}
}

func TestCheckListen(t *testing.T) {
	for _, addr := range []string{"", ":0", "127.0.0.1:8080", "[::1]:65535", "localhost:1"} {
		if err := CheckListen(addr); err != nil {
			t.Errorf("%q: got %v", addr, err)
		}
	}
	for _, addr := range []string{"8080", "a:b:c", "x:-1", "x:65536", "x:http", "http://x:1", "a b:1", "::1:1"} {
		if err := CheckListen(addr); err == nil {
			t.Errorf("%q: accepted", addr)
		}
	}
}

// TestCertificates22 is (22).
func TestCertificates22(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	pair := func(name string, from, to time.Time) (cert, key string) {
		t.Helper()
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []struct {
			path *string
			kind string
			der  []byte
		}{{&cert, "CERTIFICATE", der}, {&key, "PRIVATE KEY", keyDER}} {
			*f.path = filepath.Join(dir, name+"."+f.kind)
			if err := os.WriteFile(*f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return cert, key
	}
	cert, key := pair("good", now.Add(-time.Hour), now.Add(time.Hour))
	oldCert, oldKey := pair("old", now.Add(-2*time.Hour), now.Add(-time.Hour))
	newCert, newKey := pair("new", now.Add(time.Hour), now.Add(2*time.Hour))
	for _, tc := range []struct {
		name, key, want string
		tls             TLS
	}{
		{name: "none"},
		{name: "good", tls: TLS{CertFile: cert, KeyFile: key, CAFile: cert}},
		{"missing", "cert_file", "no such file", TLS{CertFile: "/none", KeyFile: key}},
		{"mismatch", "cert_file", "private key does not match", TLS{CertFile: cert, KeyFile: oldKey}},
		{"expired", "cert_file", "expired on 2026-02-28", TLS{CertFile: oldCert, KeyFile: oldKey}},
		{"not yet", "cert_file", "valid only from", TLS{CertFile: newCert, KeyFile: newKey}},
		{"no key", "cert_file", "key_file is missing", TLS{CertFile: cert}},
		{"no certificate", "key_file", "cert_file is missing", TLS{KeyFile: key}},
		{"CA is a key", "ca_file", "holds no PEM certificate", TLS{CAFile: key}},
	} {
		got := tc.tls.Check(now)
		if tc.want == "" {
			if len(got) != 0 {
				t.Errorf("%s: got %v, want nothing", tc.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Key != tc.key || !strings.Contains(got[0].Text, tc.want) {
			t.Errorf("%s: got %v, want %s: %s", tc.name, got, tc.key, tc.want)
		}
	}
}
