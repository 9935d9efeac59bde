package setting

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Check reads the files that t names and reports what is wrong with them, at
// keys relative to t: a missing or unreadable file, a certificate without its
// key or with another one, a certificate that is not valid at now.
func (t TLS) Check(now time.Time) []Mistake {
	var out []Mistake
	if t.CAFile != "" {
		if _, err := readPool(t.CAFile); err != nil {
			out = append(out, Mistake{"ca_file", err.Error()})
		}
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		return out
	case t.KeyFile == "":
		return append(out, Mistake{"cert_file", "cert_file and key_file belong together: key_file is missing"})
	case t.CertFile == "":
		return append(out, Mistake{"key_file", "cert_file and key_file belong together: cert_file is missing"})
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return append(out, Mistake{"cert_file", fmt.Sprintf("certificate %s with key %s: %v", t.CertFile, t.KeyFile, err)})
	}
	leaf := pair.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return append(out, Mistake{"cert_file", fmt.Sprintf("certificate %s: %v", t.CertFile, err)})
		}
	}
	switch {
	case now.After(leaf.NotAfter):
		out = append(out, Mistake{"cert_file", fmt.Sprintf("certificate %s expired on %s: renew it", t.CertFile, leaf.NotAfter.UTC().Format(time.DateOnly))})
	case now.Before(leaf.NotBefore):
		out = append(out, Mistake{"cert_file", fmt.Sprintf("certificate %s is valid only from %s: check this machine's clock", t.CertFile, leaf.NotBefore.UTC().Format(time.RFC3339))})
	}
	return out
}
