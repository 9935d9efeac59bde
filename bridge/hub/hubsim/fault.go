package hubsim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of fault. Those of requests (token-…, upgrade-…, close-at-once) wait for the next
// Count requests of their sort; all others happen at once to the live
// connections.
const (
	TokenSlow       = "token-slow"     // the answer comes after For
	TokenStatus     = "token-status"   // Code, with RetryAfter; Text is the error code, else what fits Code
	TokenHTML       = "token-html"     // 200 and a web page
	TokenBody       = "token-body"     // 200 and Text
	TokenRedirect   = "token-redirect" // 302 to Text
	TokenHuge       = "token-huge"     // a token of Bytes
	TokenEndless    = "token-endless"  // a body that does not end for For
	TokenHeaders    = "token-headers"  // a header of Bytes
	TokenEarlyHints = "token-1xx"      // Parts informational answers first

	UpgradeStatus    = "upgrade-status"    // Code instead of 101; 200 too
	UpgradeAccept    = "upgrade-accept"    // wrong Sec-WebSocket-Accept
	UpgradeHeader    = "upgrade-header"    // Upgrade is not websocket
	UpgradeProtocol  = "upgrade-protocol"  // a subprotocol nobody asked for
	UpgradeExtension = "upgrade-extension" // an extension nobody asked for
	CloseAtOnce      = "close-at-once"     // 101, then a close frame with Code and Text

	Drop        = "drop"         // TCP reset
	Close       = "close"        // close frame with Code and Text
	Stall       = "stall"        // nothing is written for For
	HalfOpen    = "half-open"    // neither reads nor writes any more, no FIN
	IgnorePings = "ignore-pings" // no pong for For

	Garbage      = "garbage"      // a message that is not JSON; Text overrides it
	Empty        = "empty"        // an empty message
	InvalidUTF8  = "invalid-utf8" // a text message with bytes that are not UTF-8
	Binary       = "binary"       // a notification in a binary message
	Oversize     = "oversize"     // a notification of Bytes
	Fragmented   = "fragmented"   // a notification in Parts frames, with a ping after each
	PartialFrame = "partial"      // the beginning of a message that never ends

	Masked            = "masked"             // a masked frame
	ReservedBits      = "reserved-bits"      // RSV1 without an extension
	BadOpcode         = "bad-opcode"         // opcode 3
	LongControl       = "long-control"       // a ping of 126 bytes
	FragmentedControl = "fragmented-control" // a ping without FIN
	BadContinuation   = "bad-continuation"   // a continuation of nothing
	PingFlood         = "ping-flood"         // Parts pings at once
	Pong              = "pong"               // an unsolicited pong with Text
	BadCloseShort     = "bad-close-short"    // close frame of one byte
	BadCloseCode      = "bad-close-code"     // close code 1005
	BadCloseUTF8      = "bad-close-utf8"     // close reason that is not UTF-8
	AfterClose        = "after-close"        // a close frame, and notifications after it
)

// SoakFaults are the kinds that a healthy client survives without help.
var SoakFaults = []string{
	Drop, Close, Stall, HalfOpen, IgnorePings, Garbage, Empty, InvalidUTF8, Binary, Oversize, Fragmented,
	Masked, BadOpcode, BadCloseShort, AfterClose, TokenSlow, TokenStatus, TokenHTML, UpgradeStatus, CloseAtOnce,
}

var requestFaults = []string{
	TokenSlow, TokenStatus, TokenHTML, TokenBody, TokenRedirect, TokenHuge, TokenEndless, TokenHeaders, TokenEarlyHints,
	UpgradeStatus, UpgradeAccept, UpgradeHeader, UpgradeProtocol, UpgradeExtension, CloseAtOnce,
}

var connFaults = []string{
	Drop, Close, Stall, HalfOpen, IgnorePings, Garbage, Empty, InvalidUTF8, Binary, Oversize, Fragmented, PartialFrame,
	Masked, ReservedBits, BadOpcode, LongControl, FragmentedControl, BadContinuation, PingFlood, Pong,
	BadCloseShort, BadCloseCode, BadCloseUTF8, AfterClose,
}

// FaultKinds returns the names of all kinds.
func FaultKinds() []string { return slices.Concat(connFaults, requestFaults) }

// Fault is something to go wrong. Members that a kind does not name are ignored.
type Fault struct {
	Kind       string
	Conn       uint64 // only this connection; 0 is all
	Count      int    // how many requests; 0 is 1, negative is all until ClearFaults
	Code       int    // default 1001 for close, 503 for a status
	Text       string
	RetryAfter string
	For        time.Duration // default 5 s
	Bytes      int           // default 2 MiB
	Parts      int           // default 10
}

// Inject makes a fault happen. It fails for an unknown kind.
func (s *Server) Inject(f Fault) error {
	request := slices.Contains(requestFaults, f.Kind)
	if !request && !slices.Contains(connFaults, f.Kind) {
		return fmt.Errorf("fault %q is not known: want one of %s", f.Kind, strings.Join(FaultKinds(), ", "))
	}
	if f.Code == 0 {
		f.Code = 1001
		if f.Kind == TokenStatus || f.Kind == UpgradeStatus {
			f.Code = 503
		}
	}
	if f.For <= 0 {
		f.For = 5 * time.Second
	}
	if f.Bytes <= 0 {
		f.Bytes = 2 << 20
	}
	if f.Parts <= 0 {
		f.Parts = 10
	}
	if f.Count == 0 {
		f.Count = 1
	}
	s.faults.Add(1)
	s.log.Debug("fault injected", "kind", f.Kind, "conn", f.Conn)
	if request {
		s.mu.Lock()
		s.queued = append(s.queued, &f)
		s.mu.Unlock()
		return nil
	}
	s.injectConn(f)
	return nil
}

// ClearFaults forgets the faults that wait for requests.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	s.queued = nil
	s.mu.Unlock()
}

// CloseAll sends a close frame to every connection.
func (s *Server) CloseAll(code int, reason string) {
	_ = s.Inject(Fault{Kind: Close, Code: code, Text: reason}) // the kind is known
}

// DropAll resets every connection.
func (s *Server) DropAll() { _ = s.Inject(Fault{Kind: Drop}) } // the kind is known

// takeFault returns the next queued fault of a sort, "token" or "upgrade".
func (s *Server) takeFault(sort string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.queued {
		if strings.HasPrefix(f.Kind, "token") != (sort == "token") {
			continue
		}
		if f.Count > 0 {
			if f.Count--; f.Count == 0 {
				s.queued = slices.Delete(s.queued, i, i+1)
			}
		}
		return f
	}
	return nil
}

// injectConn applies a fault to the live connections. What is a whole
// message becomes part of the stream when it goes to all.
func (s *Server) injectConn(f Fault) {
	if frames := s.faultMessage(f); frames != nil {
		if f.Conn == 0 {
			s.emitFrames(frames)
			return
		}
		s.each(f.Conn, func(c *conn) { c.queue(frames, nil) })
		return
	}
	if raw := s.faultBytes(f); raw != nil {
		s.each(f.Conn, func(c *conn) { c.queue(raw, nil) })
		return
	}
	s.each(f.Conn, func(c *conn) {
		switch f.Kind {
		case Drop:
			c.kill(true)
		case Close:
			c.closeWith(f.Code, f.Text)
		case Stall:
			c.mu.Lock()
			c.stalled = time.Now().Add(f.For)
			c.mu.Unlock()
		case HalfOpen:
			c.mu.Lock()
			c.mute, c.pend, c.pendSeq = true, nil, nil
			c.mu.Unlock()
			s.changedLocked()
		case IgnorePings:
			c.mu.Lock()
			c.noPong = time.Now().Add(f.For)
			c.mu.Unlock()
		case AfterClose:
			c.closeWith(f.Code, f.Text)
			c.queue(appendFrame(nil, bitFin|opText, s.notificationLocked()), nil)
		}
	})
}

func (s *Server) each(id uint64, do func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if id == 0 || c.id == id {
			do(c)
		}
	}
}

func (s *Server) notificationLocked() []byte {
	number := uint64(0)
	if s.number++; s.opts.Numbered {
		number = s.number
	}
	raw, _ := s.gen.append(nil, number, time.Now().UnixNano())
	return raw
}

func (s *Server) notification() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notificationLocked()
}

// faultMessage returns the frames of a kind that is one whole message, else nil.
func (s *Server) faultMessage(f Fault) []byte {
	switch f.Kind {
	case Garbage:
		text := f.Text
		if text == "" {
			text = `{"topic":"container.state.changed","object":{"id":`
		}
		return appendFrame(nil, bitFin|opText, []byte(text))
	case Empty:
		return appendFrame(nil, bitFin|opText, nil)
	case InvalidUTF8:
		raw := s.notification()
		return appendFrame(nil, bitFin|opText, bytes.Replace(raw, []byte(`"label":"`), []byte("\"label\":\"\xff\xfe"), 1))
	case Binary:
		return appendFrame(nil, bitFin|opBinary, s.notification())
	case Oversize:
		raw := s.notification()
		if pad := f.Bytes - len(raw); pad > 0 {
			fill := append([]byte(`"label":"`), bytes.Repeat([]byte{'x'}, pad)...)
			raw = bytes.Replace(raw, []byte(`"label":"`), fill, 1)
		}
		return appendFrame(nil, bitFin|opText, raw)
	case Fragmented:
		raw := s.notification()
		parts := min(f.Parts, len(raw))
		var out []byte
		op := byte(opText)
		for i := range parts {
			from, to := len(raw)*i/parts, len(raw)*(i+1)/parts
			if i == parts-1 {
				op |= bitFin
			}
			out = appendFrame(out, op, raw[from:to])
			op = opContinuation
			if i < parts-1 && i < 50 {
				out = appendFrame(out, bitFin|opPing, []byte("between"))
			}
		}
		return out
	}
	return nil
}

// faultBytes returns the bytes of a kind that breaks the protocol, or is a
// control frame; else nil.
func (s *Server) faultBytes(f Fault) []byte {
	switch f.Kind {
	case PartialFrame:
		raw := s.notification()
		return append(appendHeader(nil, bitFin|opText, len(raw)), raw[:len(raw)/2]...)
	case Masked:
		return append([]byte{bitFin | opText, bitMask | 2, 1, 2, 3, 4}, '{'^1, '}'^2)
	case ReservedBits:
		return appendFrame(nil, bitFin|bitRsv1|opText, []byte("{}"))
	case BadOpcode:
		return appendFrame(nil, bitFin|3, []byte("{}"))
	case LongControl:
		return appendFrame(nil, bitFin|opPing, make([]byte, 126))
	case FragmentedControl:
		return appendFrame(nil, opPing, []byte("x"))
	case BadContinuation:
		return appendFrame(nil, bitFin|opContinuation, []byte("{}"))
	case PingFlood:
		return bytes.Repeat(appendFrame(nil, bitFin|opPing, []byte("flood")), f.Parts)
	case Pong:
		text := f.Text
		if text == "" {
			text = "nobody asked"
		}
		return appendFrame(nil, bitFin|opPong, []byte(text[:min(len(text), 125)]))
	case BadCloseShort:
		return appendFrame(nil, bitFin|opClose, []byte{3})
	case BadCloseCode:
		return appendFrame(nil, bitFin|opClose, []byte{1005 >> 8, 1005 & 0xff})
	case BadCloseUTF8:
		return appendFrame(nil, bitFin|opClose, []byte{1000 >> 8, 1000 & 0xff, 0xff, 0xfe})
	}
	return nil
}

// runFaults injects random faults until ctx is done.
func (s *Server) runFaults(ctx context.Context) {
	if s.opts.FaultRate <= 0 {
		return
	}
	for {
		s.mu.Lock()
		wait := s.rng.ExpFloat64() / s.opts.FaultRate
		kind := s.opts.FaultKinds[s.rng.IntN(len(s.opts.FaultKinds))]
		length := time.Duration(s.rng.Int64N(int64(5 * time.Second)))
		s.mu.Unlock()
		t := time.NewTimer(time.Duration(wait * float64(time.Second)))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		if err := s.Inject(Fault{Kind: kind, For: length, Parts: 20, Bytes: 1<<20 + 1}); err != nil {
			s.log.Error("fault kind is not known", "kind", kind)
			return
		}
	}
}
