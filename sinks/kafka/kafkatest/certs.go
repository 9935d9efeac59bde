package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Certs are the PEM files of a Secure cluster, made for it alone.
type Certs struct {
	CAFile      string
	ClientCert  string // of the user CN=client, who lacks nothing
	ClientKey   string
	OtherCAFile string // of a CA that signed nothing here
	serverStore string // key and certificate in one file, as Kafka wants it
}

// newCerts makes a CA, a server certificate for loopback, and a client's.
func newCerts(dir string) (*Certs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &Certs{
		CAFile: filepath.Join(dir, "ca.pem"), ClientCert: filepath.Join(dir, "client.pem"),
		ClientKey: filepath.Join(dir, "client-key.pem"), OtherCAFile: filepath.Join(dir, "other-ca.pem"),
		serverStore: filepath.Join(dir, "server.pem"),
	}
	ca, err := newAuthority("kafkatest CA")
	if err != nil {
		return nil, err
	}
	other, err := newAuthority("another CA")
	if err != nil {
		return nil, err
	}
	serverCert, serverKey, err := ca.issue("localhost", x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	clientCert, clientKey, err := ca.issue("client", x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	for file, content := range map[string][]byte{
		c.CAFile: ca.pem, c.OtherCAFile: other.pem, c.ClientCert: clientCert, c.ClientKey: clientKey,
		c.serverStore: append(serverKey, append(serverCert, ca.pem...)...),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func (a *authority) issue(name string, usage ...x509.ExtKeyUsage) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := template(name)
	tmpl.ExtKeyUsage, tmpl.KeyUsage = usage, x509.KeyUsageDigitalSignature
	tmpl.DNSNames, tmpl.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// secureProperties are those of the listeners with TLS and SASL.
func (c *Cluster) secureProperties() map[string]string {
	const scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_` + User + `="` + Password +
		`" user_` + Stranger + `="` + StrangerPassword + `";`
	p := map[string]string{
		"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":           "User:ANONYMOUS;User:CN=client;User:" + User,
		"ssl.keystore.type":     "PEM", "ssl.keystore.location": c.Certs.serverStore,
		"ssl.truststore.type": "PEM", "ssl.truststore.location": c.Certs.CAFile,
		"listener.name.ssl.ssl.client.auth": "required",
		"sasl.enabled.mechanisms":           "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
	}
	for _, l := range []string{"sasl_ssl", "sasl_plaintext"} {
		p["listener.name."+l+".plain.sasl.jaas.config"] = plain
		p["listener.name."+l+".scram-sha-256.sasl.jaas.config"] = scram
		p["listener.name."+l+".scram-sha-512.sasl.jaas.config"] = scram
	}
	return p
}
