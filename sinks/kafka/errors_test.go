package kafka

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	segment "github.com/segmentio/kafka-go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// TestClassifyEveryCode: every code that kafka-go knows has a class, and the
// class is the one written here.
func TestClassifyEveryCode(t *testing.T) {
	want := map[bridge.Kind][]int16{
		bridge.KindUnavailable:   {8, 19, 20},
		bridge.KindThrottled:     {89},
		bridge.KindRejected:      {4, 10, 18, 32, 87},
		bridge.KindMisconfigured: {17, 21, 29, 30, 31, 33, 34, 35, 37, 38, 39, 40, 42, 43, 44, 48, 50, 52, 53, 54, 55, 58, 61, 62, 63, 64, 65, 66, 67, 73, 76, 93, 97, 104, 105},
	}
	kinds := map[int16]bridge.Kind{}
	for k, codes := range want {
		for _, c := range codes {
			kinds[c] = k
		}
	}
	fates := map[int16]fate{
		4: fateTooLarge, 10: fateTooLarge, 18: fateTooLarge, 87: fateRecords, 32: fateRecords,
		45: fateSequence, 46: fateSequence, 59: fateSequence, 47: fateProducer, 49: fateProducer, 90: fateProducer,
	}
	stale := map[int16]bool{}
	for _, c := range []int16{3, 5, 6, 8, 9, 15, 16, 41, 56, 57, 72, 74, 75, 80, 83, 100, 103, 106} {
		stale[c] = true
	}
	known := 0
	for code := int16(-1); code < 140; code++ {
		if code == 0 {
			continue
		}
		got := classify(code)
		if segment.Error(code).Title() == "" && segment.Error(code).Description() == "" {
			continue
		}
		known++
		kind, ok := kinds[code]
		if !ok {
			kind = bridge.KindTransient
		}
		if got.kind != kind {
			t.Errorf("code %d (%s): kind %v, want %v", code, segment.Error(code).Title(), got.kind, kind)
		}
		if got.stale != stale[code] {
			t.Errorf("code %d: stale %v, want %v", code, got.stale, stale[code])
		}
		if f, ok := fates[code]; ok && got.fate != f || !ok && got.fate != fateUnknown && got.fate != fateRefused {
			t.Errorf("code %d: fate %v, want %v", code, got.fate, f)
		}
		if kind == bridge.KindMisconfigured && got.hint == "" {
			t.Errorf("code %d: no hint", code)
		}
	}
	if known < 100 {
		t.Errorf("%d codes known, want all of kafka-go's", known)
	}
	if got := classify(32000); got.kind != bridge.KindUnknown || got.fate != fateUnknown {
		t.Errorf("a code from the future: %+v", got)
	}
}

// TestAmbiguousCodesAreFrozen: only codes that say so leave the sequence unused.
func TestAmbiguousCodesAreFrozen(t *testing.T) {
	for _, code := range []int16{-1, 2, 3, 5, 6, 7, 8, 9, 13, 19, 20, 56, 72, 74, 75, 89, 32000} {
		if f := classify(code).fate; f != fateUnknown {
			t.Errorf("code %d: fate %v, want unknown", code, f)
		}
	}
}

func TestNetError(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want bridge.Kind
	}{
		{"refused", context.Background(), &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, bridge.KindUnavailable},
		{"cut", context.Background(), io.ErrUnexpectedEOF, bridge.KindTransient},
		{"deadline", context.Background(), context.DeadlineExceeded, bridge.KindTransient},
		{"canceled", canceled, io.EOF, bridge.KindCanceled},
		{"unknown ca", context.Background(), fmt.Errorf("tls: %w", x509.UnknownAuthorityError{}), bridge.KindMisconfigured},
		{"alert", context.Background(), &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, bridge.KindMisconfigured},
		{"no such host", context.Background(), &net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, bridge.KindUnavailable},
		{"sasl", context.Background(), brokerError(58), bridge.KindMisconfigured},
		{"classed", context.Background(), bridge.Errorf(bridge.KindThrottled, "x", "y"), bridge.KindThrottled},
	} {
		if got := bridge.KindOf(netError(tt.ctx, "op", tt.err)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if text := codeError("op", 29, "").Error(); !strings.Contains(text, "topic authorization failed") || !errors.Is(codeError("op", 29, ""), segment.TopicAuthorizationFailed) {
		t.Errorf("got %q, want kafka-go's error with its name", text)
	}
}
