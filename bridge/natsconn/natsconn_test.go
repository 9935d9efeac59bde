package natsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func TestValidate(t *testing.T) {
	secret := setting.NewSecret("x")
	tests := []struct {
		name string
		conf Config
		want []string // keys
	}{
		{"minimal", Config{URL: "nats://h:4222"}, nil},
		{"no scheme", Config{URL: "h:4222, other"}, nil},
		{"embedded", Config{URL: "embedded"}, nil},
		{"no url", Config{}, []string{"url"}},
		{"commas", Config{URL: " , "}, []string{"url"}},
		{"scheme", Config{URL: "http://h"}, []string{"url"}},
		{"no host", Config{URL: "nats://:4222"}, []string{"url"}},
		{"bad port", Config{URL: "nats://h:port"}, []string{"url"}},
		{"credentials in url", Config{URL: "nats://a:b@h"}, []string{"url"}},
		{"password alone", Config{URL: "h", Password: secret}, []string{"username"}},
		{"user alone", Config{URL: "h", Username: "u"}, []string{"password"}},
		{"two ways", Config{URL: "h", Username: "u", Password: secret, Token: secret}, []string{"token"}},
		{"seed", Config{URL: "h", NKeySeed: secret}, []string{"nkey_seed"}},
		{"creds", Config{URL: "h", CredsFile: "/nonexistent"}, []string{"creds_file"}},
		{"secret file", Config{URL: "h", Token: setting.SecretFile("/nonexistent")}, []string{"token"}},
		{"domain and prefix", Config{URL: "h", Domain: "d", APIPrefix: "p"}, []string{"api_prefix"}},
		{"wildcard", Config{URL: "h", InboxPrefix: "a.>"}, []string{"inbox_prefix"}},
		{"tls", Config{URL: "h", TLS: setting.TLS{CertFile: "c"}}, []string{"tls"}},
		{"embedded with user", Config{URL: "embedded", Username: "u", Password: secret}, []string{"username"}},
		{"several", Config{URL: "http://h", Username: "u", TLS: setting.TLS{CAFile: "/nonexistent"}}, []string{"url", "password", "tls"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range tt.conf.Validate() {
				got = append(got, m.Key)
				if m.Text == "" {
					t.Errorf("mistake at %s says nothing", m.Key)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhereHidesCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"nats://a:b@h:1, tls://c@g": "nats://h:1,tls://g",
		"a:b@h":                     "h",
		"nats://a:b@c@h":            "nats://h",
		"nats://h/%zz":              "nats://h/%zz",
	} {
		if got := (Config{URL: in}).Where(); got != want {
			t.Errorf("Where of %q: got %q, want %q", in, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	api := func(code int, ec jetstream.ErrorCode, text string) error {
		return fmt.Errorf("wrapped: %w", &jetstream.APIError{Code: code, ErrorCode: ec, Description: text})
	}
	tests := []struct {
		err  error
		want bridge.Kind
	}{
		{context.Canceled, bridge.KindCanceled},
		{context.DeadlineExceeded, bridge.KindTransient},
		{nats.ErrTimeout, bridge.KindTransient},
		{nats.ErrAuthorization, bridge.KindMisconfigured},
		{fmt.Errorf("%w: x", nats.ErrPermissionViolation), bridge.KindMisconfigured},
		{nats.ErrReconnectBufExceeded, bridge.KindUnavailable},
		{nats.ErrNoServers, bridge.KindUnavailable},
		{nats.ErrMaxPayload, bridge.KindRejected},
		{nats.ErrNoResponders, bridge.KindUnavailable},
		{jetstream.ErrStreamNotFound, bridge.KindMisconfigured},
		{jetstream.ErrJetStreamNotEnabled, bridge.KindUnavailable},
		{io.EOF, bridge.KindUnavailable},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, bridge.KindUnavailable},
		{errors.New("something else"), bridge.KindUnknown},
		{bridge.Errorf(bridge.KindThrottled, "inner", "slow"), bridge.KindThrottled},
		{api(503, 10077, "maximum bytes exceeded"), bridge.KindUnavailable},
		{api(503, 10077, "message too large"), bridge.KindRejected},
		{api(503, 10077, "write error"), bridge.KindUnavailable},
		{api(400, 10054, "message size exceeds maximum allowed"), bridge.KindRejected},
		{api(400, 10097, ""), bridge.KindRejected},
		{api(400, 10071, ""), bridge.KindTransient},
		{api(400, 10164, ""), bridge.KindTransient},
		{api(400, 10201, ""), bridge.KindTransient},
		{api(409, 10158, ""), bridge.KindTransient},
		{api(404, 10059, ""), bridge.KindMisconfigured},
		{api(503, 10039, ""), bridge.KindMisconfigured},
		{api(503, 10008, ""), bridge.KindUnavailable},
		{api(500, 10118, ""), bridge.KindUnavailable},
		{api(429, 10167, ""), bridge.KindThrottled},
		{api(429, 20000, ""), bridge.KindThrottled},
		{api(500, 20000, ""), bridge.KindUnavailable},
		{api(400, 20000, ""), bridge.KindMisconfigured},
		{api(0, 0, "odd"), bridge.KindUnknown},
	}
	for _, tt := range tests {
		got := Classify("op", tt.err)
		if got.Kind != tt.want {
			t.Errorf("Classify(%v): got %v, want %v", tt.err, got.Kind, tt.want)
		}
		if got.Op != "op" || got.Err == nil {
			t.Errorf("Classify(%v): got op %q, err %v", tt.err, got.Op, got.Err)
		}
	}
	if got := Classify("op", nil); got != nil {
		t.Errorf("Classify(nil): got %v", got)
	}
	if got := Code(api(400, 10071, "")); got != CodeWrongLastSequence {
		t.Errorf("Code: got %d", got)
	}
}

func TestMessageHeaders(t *testing.T) {
	var m Message
	step := func(names ...string) {
		t.Helper()
		m.Reset("s", "", []byte("data"))
		want := nats.Header{}
		for i, n := range names {
			v := fmt.Sprintf("%s-%d", n, i)
			m.SetBytes(n, []byte(v))
			want[n] = []string{v}
		}
		got := m.Build()
		if diff := cmp.Diff(want, got.Header, cmp.Transformer("nil", func(h nats.Header) map[string][]string {
			if h == nil {
				return map[string][]string{}
			}
			return h
		})); diff != "" {
			t.Errorf("headers %v (-want +got):\n%s", names, diff)
		}
		size := len("data")
		if len(want) > 0 {
			size += len("NATS/1.0\r\n\r\n")
		}
		for n, v := range want {
			size += len(n) + len(v[0]) + 4
		}
		if m.Size() != size {
			t.Errorf("Size: got %d, want %d", m.Size(), size)
		}
		for _, n := range names {
			if !m.Has(n) {
				t.Errorf("Has(%s) is false", n)
			}
		}
		if m.Has("None") {
			t.Error("Has of a header that was not set")
		}
	}
	step("A", "B", "C")
	step("A", "B", "C")
	step("A", "C")
	step()
	step("C", "B", "A")
	step("C", "B", "A", "D")
	step("D")
}

func TestCheckSubject(t *testing.T) {
	for _, ok := range []string{"a", "a.b", "cycle.h.o.container.state.changed", "a.%2A"} {
		if err := CheckSubject("op", ok); err != nil {
			t.Errorf("CheckSubject(%q): %v", ok, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "a\r\nPUB x", "a\x00", strings.Repeat("a", 4000)} {
		if err := CheckSubject("op", bad); bridge.KindOf(err) != bridge.KindRejected {
			t.Errorf("CheckSubject(%.20q): got %v, want rejected", bad, err)
		}
	}
}
