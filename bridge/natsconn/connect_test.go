package natsconn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// startServer runs a server from configuration text on a loopback port.
func startServer(t *testing.T, conf string) *server.Server {
	t.Helper()
	opts := &server.Options{}
	if err := opts.ProcessConfigString("listen: 127.0.0.1:-1\n" + conf); err != nil {
		t.Fatalf("server configuration: %v", err)
	}
	opts.NoSigs, opts.NoLog = true, true
	return runServer(t, opts)
}

func runServer(t *testing.T, opts *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatalf("new server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("server is not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func address(s *server.Server) string { return s.Addr().String() }

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority makes certificates for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.file = filepath.Join(a.dir, "ca.pem")
	a.write(t, a.file, "CERTIFICATE", der)
	return a
}

func (a *authority) write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) issue(t *testing.T, name string, until time.Time, ips ...net.IP) (cert, key string) {
	t.Helper()
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: ips,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	kd, _ := x509.MarshalECPrivateKey(k)
	cert, key = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	a.write(t, cert, "CERTIFICATE", der)
	a.write(t, key, "EC PRIVATE KEY", kd)
	return cert, key
}

func TestConnectAuth(t *testing.T) {
	user, _ := nkeys.CreateUser()
	seed, _ := user.Seed()
	pub, _ := user.PublicKey()
	other, _ := nkeys.CreateUser()
	otherSeed, _ := other.Seed()

	userPass := `authorization { users: [{user: bob, password: "s3cr3t-pass"}] }`
	token := `authorization { token: "t0ken-value" }`
	nkey := fmt.Sprintf("authorization { users: [{nkey: %s}] }", pub)

	tests := []struct {
		name   string
		server string
		conf   Config
		want   bridge.Kind // KindUnknown: connects
	}{
		{"none", "", Config{}, 0},
		{"user and password", userPass, Config{Username: "bob", Password: setting.NewSecret("s3cr3t-pass")}, 0},
		{"password file", userPass, Config{Username: "bob", Password: setting.SecretFile(writeFile(t, "pw", "s3cr3t-pass\n"))}, 0},
		{"wrong password", userPass, Config{Username: "bob", Password: setting.NewSecret("wr0ng-pass")}, bridge.KindMisconfigured},
		{"no password", userPass, Config{}, bridge.KindMisconfigured},
		{"missing password file", userPass, Config{Username: "bob", Password: setting.SecretFile("/nonexistent/pw")}, bridge.KindMisconfigured},
		{"token", token, Config{Token: setting.NewSecret("t0ken-value")}, 0},
		{"wrong token", token, Config{Token: setting.NewSecret("wr0ng-token")}, bridge.KindMisconfigured},
		{"nkey", nkey, Config{NKeySeed: setting.NewSecret(string(seed))}, 0},
		{"wrong nkey", nkey, Config{NKeySeed: setting.NewSecret(string(otherSeed))}, bridge.KindMisconfigured},
		{"bad nkey", nkey, Config{NKeySeed: setting.NewSecret("SUnonsense")}, bridge.KindMisconfigured},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, tt.server)
			tt.conf.URL = "nats://" + address(s)
			check(t, tt.conf, tt.want, "s3cr3t-pass", "wr0ng-pass", "t0ken-value", "wr0ng-token", string(seed), string(otherSeed), "SUnonsense")
		})
	}
}

// check connects and compares the Kind; no secret may show in the error.
func check(t *testing.T, conf Config, want bridge.Kind, secrets ...string) {
	t.Helper()
	nc, err := conf.Connect(t.Context(), "test")
	if nc != nil {
		defer nc.Close()
	}
	if want == bridge.KindUnknown {
		if err != nil {
			t.Fatalf("Connect: %v, want a connection", err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatalf("Flush: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("Connect: no error, want %v", want)
	}
	if got := bridge.KindOf(err); got != want {
		t.Errorf("Kind of %q: got %v, want %v", err, got, want)
	}
	for _, s := range secrets {
		if strings.Contains(err.Error(), s) {
			t.Errorf("the error %q shows the secret %q", err, s)
		}
	}
}

func TestConnectCreds(t *testing.T) {
	op, _ := nkeys.CreateOperator()
	opPub, _ := op.PublicKey()
	acc, _ := nkeys.CreateAccount()
	accPub, _ := acc.PublicKey()
	usr, _ := nkeys.CreateUser()
	usrPub, _ := usr.PublicKey()
	usrSeed, _ := usr.Seed()

	opJWT, _ := jwt.NewOperatorClaims(opPub).Encode(op)
	accJWT, _ := jwt.NewAccountClaims(accPub).Encode(op)
	usrJWT, err := jwt.NewUserClaims(usrPub).Encode(acc)
	if err != nil {
		t.Fatal(err)
	}
	creds, _ := jwt.FormatUserConfig(usrJWT, usrSeed)
	oc, _ := jwt.DecodeOperatorClaims(opJWT)
	resolver := &server.MemAccResolver{}
	if err := resolver.Store(accPub, accJWT); err != nil {
		t.Fatal(err)
	}
	s := runServer(t, &server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true,
		TrustedOperators: []*jwt.OperatorClaims{oc}, AccountResolver: resolver,
	})
	file := writeFile(t, "user.creds", string(creds))
	conf := Config{URL: "nats://" + address(s), CredsFile: file}
	if m := conf.Validate(); len(m) != 0 {
		t.Errorf("Validate: got %v, want nothing", m)
	}
	check(t, conf, 0)
	check(t, Config{URL: conf.URL}, bridge.KindMisconfigured)
	check(t, Config{URL: conf.URL, CredsFile: writeFile(t, "bad.creds", "nothing")}, bridge.KindMisconfigured)
	check(t, Config{URL: conf.URL, CredsFile: "/nonexistent/user.creds"}, bridge.KindMisconfigured)
}

func TestConnectTLS(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	loopback := net.IPv4(127, 0, 0, 1)
	srvCert, srvKey := ca.issue(t, "server.test", time.Now().Add(time.Hour), loopback)
	oldCert, oldKey := ca.issue(t, "expired.test", time.Now().Add(-time.Minute), loopback)
	cliCert, cliKey := ca.issue(t, "client.test", time.Now().Add(time.Hour))
	badCert, badKey := foreign.issue(t, "client.test", time.Now().Add(time.Hour))

	oneWay := fmt.Sprintf("tls { cert_file: %q, key_file: %q }", srvCert, srvKey)
	mutual := fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", srvCert, srvKey, ca.file)
	expired := fmt.Sprintf("tls { cert_file: %q, key_file: %q }", oldCert, oldKey)

	tests := []struct {
		name   string
		server string
		tls    setting.TLS
		want   bridge.Kind
	}{
		{"trusted CA", oneWay, setting.TLS{CAFile: ca.file}, 0},
		{"server name", oneWay, setting.TLS{CAFile: ca.file, ServerName: "server.test"}, 0},
		{"wrong name", oneWay, setting.TLS{CAFile: ca.file, ServerName: "other.test"}, bridge.KindMisconfigured},
		{"unknown CA", oneWay, setting.TLS{CAFile: foreign.file}, bridge.KindMisconfigured},
		{"system roots", oneWay, setting.TLS{Enabled: true}, bridge.KindMisconfigured},
		{"expired", expired, setting.TLS{CAFile: ca.file}, bridge.KindMisconfigured},
		{"TLS against plain", "", setting.TLS{CAFile: ca.file}, bridge.KindMisconfigured},
		{"plain against TLS", oneWay, setting.TLS{}, bridge.KindMisconfigured},
		{"mutual", mutual, setting.TLS{CAFile: ca.file, CertFile: cliCert, KeyFile: cliKey}, 0},
		{"mutual without certificate", mutual, setting.TLS{CAFile: ca.file}, bridge.KindMisconfigured},
		{"mutual with a foreign certificate", mutual, setting.TLS{CAFile: ca.file, CertFile: badCert, KeyFile: badKey}, bridge.KindMisconfigured},
		{"key of another certificate", mutual, setting.TLS{CAFile: ca.file, CertFile: cliCert, KeyFile: badKey}, bridge.KindMisconfigured},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t, tt.server)
			check(t, Config{URL: "nats://" + address(s), TLS: tt.tls}, tt.want)
		})
	}
}

func TestConnectUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	conf := Config{URL: "nats://bob:h1dden@" + addr}
	nc, err := conf.Connect(t.Context(), "test")
	if err == nil {
		nc.Close()
		t.Fatal("Connect to a closed port: no error")
	}
	if got := bridge.KindOf(err); got != bridge.KindUnavailable {
		t.Errorf("Kind of %q: got %v, want unavailable", err, got)
	}
	if s := err.Error(); strings.Contains(s, "h1dden") || !strings.Contains(s, addr) || !strings.Contains(s, "refused") {
		t.Errorf("error %q: want the address and the cause, not the password", s)
	}
}

// A server that accepts and says nothing must not hold Connect beyond its context.
func TestConnectHonoursContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan struct{}, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			accepted <- struct{}{}
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-accepted; cancel() }()
	_, err = Config{URL: "nats://" + ln.Addr().String()}.Connect(ctx, "test")
	if !errors.Is(err, context.Canceled) || bridge.KindOf(err) != bridge.KindCanceled {
		t.Errorf("Connect: got %v, want canceled", err)
	}
}

// Nothing is buffered while the server is gone, secrets are read again when
// it is back, and a wrong one shows as the problem.
func TestReconnectReadsSecrets(t *testing.T) {
	conf := `authorization { users: [{user: bob, password: "%s"}] }`
	s := startServer(t, fmt.Sprintf(conf, "first"))
	port := s.Addr().(*net.TCPAddr).Port
	pw := writeFile(t, "pw", "first")
	nc, err := Config{URL: "nats://" + address(s), Username: "bob", Password: setting.SecretFile(pw)}.Connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
	eventually(t, "disconnected", func() bool { return !nc.IsConnected() })
	if err := nc.Publish("x", nil); Classify("publish", err) == nil || Classify("publish", err).Kind != bridge.KindUnavailable {
		t.Errorf("Publish while disconnected: got %v, want unavailable", err)
	}
	if err := Problem("x", nc); bridge.KindOf(err) != bridge.KindUnavailable {
		t.Errorf("Problem while disconnected: got %v, want unavailable", err)
	}

	opts := &server.Options{}
	if err := opts.ProcessConfigString(fmt.Sprintf("listen: 127.0.0.1:%d\n"+conf, port, "second")); err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	runServer(t, opts)
	eventually(t, "told that the password is wrong", func() bool {
		return bridge.KindOf(Problem("x", nc)) == bridge.KindMisconfigured
	})
	if err := os.WriteFile(pw, []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "connected", func() bool { return Problem("x", nc) == nil })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not %s within 20 s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestInboxPrefixAndDomain(t *testing.T) {
	s := startServer(t, "")
	c := Config{URL: "nats://" + address(s), InboxPrefix: "_MINE", Domain: "hub"}
	nc, err := c.Connect(t.Context(), "the name")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got := nc.NewInbox(); !strings.HasPrefix(got, "_MINE.") {
		t.Errorf("inbox %q, want one under _MINE", got)
	}
	if got := nc.Opts.Name; got != "the name" {
		t.Errorf("name %q, want %q", got, "the name")
	}
	js, err := c.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if got := js.Options().Domain; got != "hub" {
		t.Errorf("domain %q, want hub", got)
	}
	if got := c.API(); got != "$JS.hub.API." {
		t.Errorf("API: got %q", got)
	}
	if got := (Config{APIPrefix: "other.API"}).API(); got != "other.API." {
		t.Errorf("API: got %q", got)
	}
}

// An in-process server is dialled through its provider only.
func TestConnectInProcess(t *testing.T) {
	s := startServer(t, "")
	nc, err := Config{URL: Embedded}.Connect(t.Context(), "test", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}
