package hub

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// The numbers are those of the list of bad inputs.
func TestTokenAnswers(t *testing.T) {
	status := func(code int, text, after string) hubsim.Fault {
		return hubsim.Fault{Kind: hubsim.TokenStatus, Code: code, Text: text, RetryAfter: after}
	}
	body := func(text string) hubsim.Fault { return hubsim.Fault{Kind: hubsim.TokenBody, Text: text} }
	for _, tt := range []struct {
		name  string
		fault hubsim.Fault
		kind  bridge.Kind
		text  string // part of the error
		hint  string // part of the hint
		after time.Duration
	}{
		{"(31) web page", hubsim.Fault{Kind: hubsim.TokenHTML}, bridge.KindTransient, "web page", "", 0},
		{"(32) empty object", body(`{}`), bridge.KindTransient, `no member "data"`, "", 0},
		{"(32) null", body(`{"data":{"token":null}}`), bridge.KindTransient, "no token", "", 0},
		{"(32) empty token", body(`{"data":{"token":""}}`), bridge.KindTransient, "no token", "", 0},
		{"(32) number", body(`{"data":{"token":12}}`), bridge.KindTransient, "not a string", "", 0},
		{"(32) array", body(`{"data":[]}`), bridge.KindTransient, "not the JSON object", "", 0},
		{"(32) 1 MB", hubsim.Fault{Kind: hubsim.TokenHuge, Bytes: 1 << 20}, bridge.KindTransient, "longer than 65536", "", 0},
		{"(32) no body", body(``), bridge.KindTransient, "empty", "", 0},
		{"(34) trailing garbage", body(`{"data":{"token":"x"}} {}`), bridge.KindTransient, "goes on", "", 0},
		{"(34) token twice", body(`{"data":{"token":"x","token":"y"}}`), bridge.KindTransient, "twice", "", 0},
		{"(34) data twice", body(`{"data":{"token":"x"},"data":{"token":"y"}}`), bridge.KindTransient, "twice", "", 0},
		{"(35) 401", status(401, "", ""), bridge.KindMisconfigured, "invalid_token: the access token expired", capability, 0},
		{"(35) 401 envelope", status(401, "401.auth-invalid", ""), bridge.KindMisconfigured, "401.auth-invalid", "three causes", 0},
		{"(36) 403 capability", status(403, "", ""), bridge.KindMisconfigured, "403.permissions", "the capability apionly-notifications-listen", 0},
		{"(36) 403 address", status(403, "403.invalid-ip", ""), bridge.KindMisconfigured, "403.invalid-ip", "list of addresses", 0},
		{"(36) 403 wrong hub", status(403, "403.wrong-hub", ""), bridge.KindMisconfigured, "403.wrong-hub", "check id", 0},
		{"(36) 404", status(404, "404.hub", ""), bridge.KindMisconfigured, "404.hub", "check id", 0},
		{"(37) 429 seconds", status(429, "429.rate-limiting", "17"), bridge.KindThrottled, "429", "", 17 * time.Second},
		{"(37) 429 negative", status(429, "", "-5"), bridge.KindThrottled, "429", "", 0},
		{"(37) 429 ten years", status(429, "", "315360000"), bridge.KindThrottled, "429", "", time.Hour},
		{"(37) 429 garbage", status(429, "", "soon"), bridge.KindThrottled, "429", "", 0},
		{"500", status(500, "500.database", ""), bridge.KindTransient, "500.database", "", 0},
		{"503", status(503, "503.not-ready", "3"), bridge.KindUnavailable, "503.not-ready", "", 3 * time.Second},
		{"(38) other host", hubsim.Fault{Kind: hubsim.TokenRedirect, Text: "https://evil.example/x?token=abc"}, bridge.KindMisconfigured, "redirects to evil.example", "api_url", 0},
		{"(40) never-ending", hubsim.Fault{Kind: hubsim.TokenEndless, For: time.Hour}, bridge.KindUnavailable, "no whole answer within 10s", "", 0},
		{"slow", hubsim.Fault{Kind: hubsim.TokenSlow, For: time.Minute}, bridge.KindUnavailable, "no whole answer within 10s", "", 0},
		{"(46) headers", hubsim.Fault{Kind: hubsim.TokenHeaders, Bytes: 64 << 10}, bridge.KindUnavailable, "header", "", 0},
		{"(47) 1xx flood", hubsim.Fault{Kind: hubsim.TokenEarlyHints, Parts: 5000}, bridge.KindUnavailable, "headers exceeded", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{})
				r.inject(t, tt.fault)
				begin := time.Now()
				_, _, err := r.dialer(t).grant(t.Context())
				if err == nil {
					t.Fatal("got a token, want an error")
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("took %s, want 10 s at most", took)
				}
				if got := bridge.KindOf(err); got != tt.kind {
					t.Errorf("got kind %s, want %s: %v", got, tt.kind, err)
				}
				if !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), tt.hint) {
					t.Errorf("got %q\nwant it to hold %q and %q", err, tt.text, tt.hint)
				}
				if got := bridge.RetryAfterOf(err); got != tt.after {
					t.Errorf("got retry after %s, want %s", got, tt.after)
				}
				for _, secret := range []string{canaryKey, "token=abc", "http://localhost"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("error %q holds %q", err, secret)
					}
				}
			})
		})
	}
}

func TestTokenForms(t *testing.T) {
	for name, address := range map[string]string{"token alone": "", "with address": "self"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{Address: address})
				f, _ := r.connect(t)
				r.sim.Burst(3)
				r.in.wait(t, 3)
				if got := f.Status(); got.Connections != 1 || got.Server != "localhost" {
					t.Errorf("got %d connections to %q, want 1 to localhost", got.Connections, got.Server)
				}
			})
		})
	}
	t.Run("(41) address elsewhere", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, hubsim.Options{Address: "ws://169.254.169.254/latest"})
			f, _ := r.start(t)
			time.Sleep(10 * time.Minute)
			if n := r.sim.Counters().Tokens; n < 7 || n > 15 {
				t.Errorf("got %d dials in 10 min, want one about every minute", n)
			}
			if got := f.Status().Problem; !strings.Contains(got, "169.254.169.254, which does not belong") {
				t.Errorf("got problem %q", got)
			}
		})
	})
}

// (38) The key goes to no other host, whatever the API answers.
func TestRedirectForwardsNothing(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	for _, code := range []int{301, 302, 307, 308} {
		api := httptest.NewServer(http.RedirectHandler(other.URL+"/x", code))
		c := good()
		c.APIURL = api.URL
		d, err := newDialer(c, Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.grant(t.Context()); err == nil || reached {
			t.Errorf("%d: got %v, other host reached %v; want an error and false", code, err, reached)
		}
		d.close()
		api.Close()
	}
}

// (39) The limit holds after inflation.
func TestTokenGzipBomb(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, `{"data":{"token":"`)
		zeros := make([]byte, 1<<20)
		for range 64 {
			_, _ = z.Write(zeros)
		}
		_ = z.Close()
	}))
	defer api.Close()
	c := good()
	c.APIURL = api.URL
	d, err := newDialer(c, Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if _, _, err := d.grant(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than 65536") {
		t.Errorf("got %v, want the limit", err)
	}
}

// (45) An edge that prefers HTTP/2 is spoken to in HTTP/1.1, over TLS 1.2 at least.
func TestTransport(t *testing.T) {
	var offered []string
	var lowest uint16
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"data":{"token":%q}}`, r.Proto)
	}))
	api.EnableHTTP2 = true
	api.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		offered, lowest = h.SupportedProtos, h.SupportedVersions[len(h.SupportedVersions)-1]
		return nil, nil
	}}
	api.StartTLS()
	defer api.Close()
	c := good()
	c.APIURL = api.URL
	d, err := newDialer(c, Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if _, _, err := d.grant(t.Context()); err == nil || !strings.Contains(err.Error(), "ca_file") {
		t.Errorf("unknown CA: got %v, want an error that names ca_file", err)
	}
	d.transport.TLSClientConfig.RootCAs = api.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	g, _, err := d.grant(t.Context())
	if err != nil || g.token != "HTTP/1.1" {
		t.Errorf("got %q, %v, want HTTP/1.1", g.token, err)
	}
	if len(offered) != 1 || offered[0] != "http/1.1" || lowest < tls.VersionTLS12 {
		t.Errorf("offered %v and TLS %x at least, want http/1.1 alone and 303", offered, lowest)
	}
}

func TestNetworkErrors(t *testing.T) {
	r := newRig(t, hubsim.Options{})
	r.opt.DialContext = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "api.nowhere", IsNotFound: true}}
	}
	_, _, err := r.dialer(t).grant(t.Context())
	if bridge.KindOf(err) != bridge.KindUnavailable || !strings.Contains(err.Error(), "name resolution") {
		t.Errorf("got %v (%s), want unavailable with a hint", err, bridge.KindOf(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.dialer(t).grant(ctx); bridge.KindOf(err) != bridge.KindCanceled {
		t.Errorf("got %v (%s), want canceled", err, bridge.KindOf(err))
	}
}

func TestCredentials(t *testing.T) {
	for in, want := range map[string]string{"k1": "k1", "Bearer k1": "k1", "bearer  k1\n": "k1", " k1 ": "k1"} {
		d := &dialer{cfg: Config{APIKey: setting.NewSecret(in)}}
		if got, err := d.credentials(); err != nil || got != want {
			t.Errorf("credentials of %q = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{" ", "Bearer ", "a b", "a\r\nX: y", "k\x00"} {
		d := &dialer{cfg: Config{APIKey: setting.NewSecret(in)}}
		if got, err := d.credentials(); err == nil || strings.Contains(err.Error(), in) && strings.TrimSpace(in) != "" {
			t.Errorf("credentials of %q = %q, %v, want an error that does not quote it", in, got, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "-1": 0, "12": 12 * time.Second, " 7 ": 7 * time.Second, "3600": time.Hour, "3601": time.Hour,
		"99999999999999999999999": time.Hour, "1.5": 0, "soon": 0, "1e3": 0,
		"Fri, 20 Nov 2026 12:00:30 GMT": 30 * time.Second, "Fri, 20 Nov 2026 11:00:00 GMT": 0, "Sat, 20 Nov 2036 12:00:00 GMT": time.Hour,
	} {
		if got := parseRetryAfter(in, now); got != want {
			t.Errorf("parseRetryAfter(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		`Get "https://h/p?a=1&token=abc&b=2": EOF`: `Get "https://h/p?a=1&token=[redacted]&b=2": EOF`,
		"key k+1/ and k%2B1%2F":                    "key [redacted] and [redacted]",
		"nothing":                                  "nothing",
	} {
		if got := scrubText(in, "k+1/", ""); got != want {
			t.Errorf("scrubText(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzTokenResponse(f *testing.F) {
	for _, s := range []string{
		`{"data":{"token":"abc"}}`, `{"data":{"token":"abc","address":"wss://x"}}`, `{"data":{"token":"a","token":"b"}}`, `{}`, `<html>`,
		`{"data":null}`, "{\"data\":{\"token\":\"\\r\\n\"}}", `{"error":{"status":403,"code":"403.permissions"}}`, `{"error":"invalid_token"}`,
	} {
		f.Add([]byte(s))
	}
	ep, err := parseEndpoint("https://api.cycle.io")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_ = refusal("x", 403, http.Header{}, body, "k")
		g, err := parseGrant(body)
		if err != nil {
			if g != (grant{}) {
				t.Errorf("got %v with an error", g)
			}
			return
		}
		if g.token == "" && g.address == "" {
			t.Fatal("got neither token nor address, and no error")
		}
		raw, err := ep.socketURL(g, Filter{})
		if err != nil {
			return
		}
		req, err := http.NewRequest(http.MethodGet, raw, nil)
		if err != nil {
			t.Fatalf("socketURL made %q: %v", raw, err)
		}
		host := req.URL.Hostname()
		if host != "api.cycle.io" && host != "cycle.io" && !strings.HasSuffix(host, ".cycle.io") || req.URL.Scheme != "https" {
			t.Errorf("would dial %s://%s", req.URL.Scheme, host)
		}
		if g.token != "" && req.URL.Query().Get("token") != g.token {
			t.Errorf("token %q arrives as %q", g.token, req.URL.Query().Get("token"))
		}
	})
}
