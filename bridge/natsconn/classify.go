package natsconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Error codes of JetStream's API that callers act on.
const (
	CodeStreamNotFound     jetstream.ErrorCode = 10059
	CodeMessageNotFound    jetstream.ErrorCode = 10037
	CodeStoreFailed        jetstream.ErrorCode = 10077
	CodeWrongLastMsgID     jetstream.ErrorCode = 10070
	CodeWrongLastSequence  jetstream.ErrorCode = 10071
	CodeWrongLastConstant  jetstream.ErrorCode = 10164 // the same on replicated streams
	CodeDuplicateInProcess jetstream.ErrorCode = 10158
	CodeAtomicDisabled     jetstream.ErrorCode = 10174
	CodeAtomicIncomplete   jetstream.ErrorCode = 10176
	CodeAtomicTooLarge     jetstream.ErrorCode = 10199
	CodeAtomicDuplicate    jetstream.ErrorCode = 10201
	CodeAtomicTooMany      jetstream.ErrorCode = 10210
)

// class is what an error means and what the operator can do.
type class struct {
	kind bridge.Kind
	hint string
}

const fullHint = "make room: nats stream edit STREAM --max-bytes=... or --discard=old, or nats stream purge STREAM"

var apiClasses = map[jetstream.ErrorCode]class{
	10002:                  {bridge.KindUnavailable, "the account's JetStream limit is reached: raise it, or remove data"},
	10023:                  {bridge.KindUnavailable, "the server is out of JetStream resources: raise its limits, or remove data"},
	10028:                  {bridge.KindUnavailable, "the server is out of memory for JetStream"},
	10047:                  {bridge.KindUnavailable, "the server is out of JetStream storage"},
	10039:                  {bridge.KindMisconfigured, "enable JetStream for this account, or use another user"},
	10076:                  {bridge.KindUnavailable, "start the server with JetStream (nats-server -js)"},
	10035:                  {bridge.KindMisconfigured, "the server does not know the account"},
	10054:                  {bridge.KindRejected, "larger than the stream's max_msg_size"},
	10097:                  {bridge.KindRejected, "the headers are larger than 64 KiB"},
	CodeStreamNotFound:     {bridge.KindMisconfigured, "create it: nats stream add STREAM --subjects=..."},
	CodeMessageNotFound:    {bridge.KindTransient, ""},
	10060:                  {bridge.KindMisconfigured, "another stream has these subjects: check stream and subject"},
	10058:                  {bridge.KindMisconfigured, "a stream of that name has other settings: nats stream info STREAM"},
	10065:                  {bridge.KindMisconfigured, "another stream has these subjects: nats stream subjects"},
	10063:                  {bridge.KindTransient, ""},
	CodeStoreFailed:        {bridge.KindUnavailable, ""},
	CodeWrongLastMsgID:     {bridge.KindTransient, ""},
	CodeWrongLastSequence:  {bridge.KindTransient, ""},
	CodeWrongLastConstant:  {bridge.KindTransient, ""},
	CodeDuplicateInProcess: {bridge.KindTransient, ""},
	10163:                  {bridge.KindTransient, ""},
	10109:                  {bridge.KindMisconfigured, "the stream is sealed: use another one"},
	CodeAtomicDisabled:     {bridge.KindTransient, ""},
	CodeAtomicIncomplete:   {bridge.KindTransient, ""},
	CodeAtomicTooLarge:     {bridge.KindTransient, ""},
	CodeAtomicDuplicate:    {bridge.KindTransient, ""},
	CodeAtomicTooMany:      {bridge.KindThrottled, ""},
	10211:                  {bridge.KindThrottled, ""},
	10167:                  {bridge.KindThrottled, ""},
}

var clientClasses = []struct {
	err error
	class
}{
	{context.Canceled, class{bridge.KindCanceled, ""}},
	{context.DeadlineExceeded, class{bridge.KindTransient, ""}},
	{nats.ErrTimeout, class{bridge.KindTransient, ""}},
	{nats.ErrAuthExpired, class{bridge.KindMisconfigured, "renew the credentials"}},
	{nats.ErrAuthRevoked, class{bridge.KindMisconfigured, "the credentials were revoked: use others"}},
	{nats.ErrAccountAuthExpired, class{bridge.KindMisconfigured, "the account's JWT has expired"}},
	{nats.ErrAuthorization, class{bridge.KindMisconfigured, "check username and password, token, nkey_seed or creds_file, and the client certificate"}},
	{nats.ErrPermissionViolation, class{bridge.KindMisconfigured, "allow it for this user on the server"}},
	{nats.ErrNkeysNotSupported, class{bridge.KindMisconfigured, "the server does not ask for nkeys"}},
	{nats.ErrSecureConnWanted, class{bridge.KindMisconfigured, "the server has no TLS: remove tls, or enable it there"}},
	{nats.ErrSecureConnRequired, class{bridge.KindMisconfigured, "the server wants TLS: set tls"}},
	{nats.ErrHeadersNotSupported, class{bridge.KindMisconfigured, "the server is too old: NATS 2.2 or later is needed"}},
	{jetstream.ErrJetStreamNotEnabled, class{bridge.KindUnavailable, "start the server with JetStream (nats-server -js)"}},
	{nats.ErrMaxPayload, class{bridge.KindRejected, "larger than the server's max_payload"}},
	{nats.ErrBadSubject, class{bridge.KindRejected, ""}},
	{nats.ErrBadHeaderMsg, class{bridge.KindRejected, ""}},
	{nats.ErrNoResponders, class{bridge.KindUnavailable, "no stream takes this subject, or JetStream is not ready"}},
	{jetstream.ErrNoStreamResponse, class{bridge.KindUnavailable, "no stream takes this subject, or JetStream is not ready"}},
	{nats.ErrMaxConnectionsExceeded, class{bridge.KindUnavailable, "the server's max_connections is reached"}},
	{nats.ErrMaxAccountConnectionsExceeded, class{bridge.KindUnavailable, "the account's connection limit is reached"}},
	{nats.ErrMaxSubscriptionsExceeded, class{bridge.KindMisconfigured, "the account's subscription limit is reached"}},
	{nats.ErrNoServers, class{bridge.KindUnavailable, "check that the server runs and url names it"}},
	{nats.ErrConnectionClosed, class{bridge.KindUnavailable, ""}},
	{nats.ErrConnectionDraining, class{bridge.KindUnavailable, ""}},
	{nats.ErrConnectionReconnecting, class{bridge.KindUnavailable, ""}},
	{nats.ErrReconnectBufExceeded, class{bridge.KindUnavailable, ""}},
	{nats.ErrDisconnected, class{bridge.KindUnavailable, ""}},
	{nats.ErrStaleConnection, class{bridge.KindUnavailable, ""}},
	{nats.ErrNoInfoReceived, class{bridge.KindMisconfigured, "that is not a NATS server"}},
	{nats.ErrSlowConsumer, class{bridge.KindTransient, ""}},
	{nats.ErrBadSubscription, class{bridge.KindUnavailable, ""}},
	{io.EOF, class{bridge.KindUnavailable, ""}},
	{io.ErrUnexpectedEOF, class{bridge.KindUnavailable, ""}},
	{net.ErrClosed, class{bridge.KindUnavailable, ""}},
}

// Classify returns err with its Kind and a hint, or nil for nil. An
// *bridge.Error in the chain keeps its Kind and gets op in front. What nobody
// knows is KindUnknown.
func Classify(op string, err error) *bridge.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*bridge.Error](err); ok {
		return &bridge.Error{Op: op, Kind: e.Kind, RetryAfter: e.RetryAfter, Err: err}
	}
	c := classify(err)
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = nats.ErrDisconnected // its text speaks of a buffer that we do not have
	}
	return &bridge.Error{Op: op, Kind: c.kind, Hint: c.hint, Err: err}
}

func classify(err error) class {
	if api := apiError(err); api != nil {
		return classifyAPI(api)
	}
	// Certificates first: nats.go wraps them in other errors.
	if c, ok := classifyTLS(err); ok {
		return c
	}
	for _, c := range clientClasses {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return class{bridge.KindUnavailable, "the host name does not resolve: check url"}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return class{bridge.KindUnavailable, "check that the server runs and url names it"}
	}
	return class{kind: bridge.KindUnknown}
}

// Code returns the error code of JetStream's API in err, or 0.
func Code(err error) jetstream.ErrorCode {
	if api := apiError(err); api != nil {
		return api.ErrorCode
	}
	return 0
}

func apiError(err error) *jetstream.APIError {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api
	}
	if js, ok := errors.AsType[jetstream.JetStreamError](err); ok {
		return js.APIError()
	}
	return nil
}

func classifyAPI(api *jetstream.APIError) class {
	if api.ErrorCode == CodeStoreFailed {
		switch {
		case strings.Contains(api.Description, "too large"):
			return class{bridge.KindRejected, ""}
		case strings.Contains(api.Description, "maximum"):
			return class{bridge.KindUnavailable, "the stream is full: " + fullHint}
		}
		return class{bridge.KindUnavailable, "look at the server's log and its disk"}
	}
	if c, ok := apiClasses[api.ErrorCode]; ok {
		return c
	}
	switch {
	case api.Code == 429:
		return class{kind: bridge.KindThrottled}
	case api.Code >= 500, api.Code == 408:
		return class{kind: bridge.KindUnavailable}
	case api.Code >= 400:
		return class{bridge.KindMisconfigured, "check the stream's settings: nats stream info STREAM"}
	}
	return class{kind: bridge.KindUnknown}
}

func classifyTLS(err error) (class, bool) {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return class{bridge.KindMisconfigured, "the server's certificate has expired, or a clock is wrong"}, true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return class{bridge.KindMisconfigured, "the server's certificate is of another CA: set tls.ca_file"}, true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return class{bridge.KindMisconfigured, "the server's certificate has another name: set tls.server_name, or dial that name"}, true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return class{bridge.KindMisconfigured, "the server's certificate is not trusted: set tls.ca_file"}, true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return class{bridge.KindMisconfigured, "the server refused the TLS handshake: it may want tls.cert_file and tls.key_file"}, true
	}
	// In TLS 1.3 the server judges our certificate after our side is done:
	// its alert comes as a remote error, or we only see it hang up.
	if s := err.Error(); strings.Contains(s, "remote error: tls:") || strings.Contains(s, "closed by remote after TLS handshake") {
		return class{bridge.KindMisconfigured, "the server did not accept our certificate: check tls.cert_file and tls.key_file"}, true
	}
	if errors.Is(err, nats.ErrTLS) {
		return class{bridge.KindUnavailable, ""}, true
	}
	return class{}, false
}
