package hub

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

const plain = `{"topic":"container.new","object":{"id":"a"},"context":{"hub_id":"60d0fe4f5311236168a109ca"}}`

// What a message holds never ends the connection, and comes out byte for
// byte. The numbers are those of the list of bad inputs.
func TestMessages(t *testing.T) {
	big := func(n int) string {
		return `{"topic":"x","object":{"id":"` + strings.Repeat("i", n-len(`{"topic":"x","object":{"id":""}}`)) + `"}}`
	}
	for _, tt := range []struct {
		name  string
		raw   string
		flags bridge.Flags
	}{
		{"usual", plain, 0},
		{"(48) empty", "", bridge.FlagUnparsed},
		{"(49) invalid UTF-8", "{\"topic\":\"x\",\"object\":{\"id\":\"\xff\xfe\"}}", bridge.FlagUnparsed},
		{"(50) not JSON", "hello", bridge.FlagUnparsed},
		{"(50) cut", `{"topic":"x","object":{`, bridge.FlagUnparsed},
		{"(50) two values", `{"topic":"x"}{"topic":"y"}`, bridge.FlagUnparsed},
		{"(50) NaN", `{"topic":"x","n":NaN}`, bridge.FlagUnparsed},
		{"(51) array", `[1]`, bridge.FlagUnparsed},
		{"(51) string", `"topic"`, bridge.FlagUnparsed},
		{"(51) null", `null`, bridge.FlagUnparsed},
		{"(52) depth 100k", `{"topic":"x","d":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, bridge.FlagUnparsed},
		{"(53) topic twice", `{"topic":"x","topic":"y"}`, 0},
		{"(54) no topic", `{"object":{"id":"a"}}`, bridge.FlagUnparsed},
		{"(54) no object", `{"topic":"x"}`, 0},
		{"(54) null object", `{"topic":"x","object":null}`, 0},
		{"(55) id of a wrong type", `{"topic":"x","object":{"id":7}}`, 0},
		{"(55) id with everything", `{"topic":"x","object":{"id":"a.*>/\u0000\n\u202e"}}`, 0},
		{"(55)(60) 1 MiB less 1", big(maxWhole - 1), 0},
		{"(60) 1 MiB", big(maxWhole), 0},
		{"(60) 1 MiB and 1", big(maxWhole + 1), bridge.FlagTruncated | bridge.FlagUnparsed},
		{"(60) 5 MiB", big(5 << 20), bridge.FlagTruncated | bridge.FlagUnparsed},
		{"(56) unknown topic", `{"topic":"never.seen > before *"}`, 0},
		{"(56) empty topic", `{"topic":""}`, bridge.FlagUnparsed},
		{"(57) other hub", `{"topic":"x","context":{"hub_id":"ffffffffffffffffffffffff"}}`, 0},
		{"(58) 20k ids", `{"topic":"x","context":{"containers":["` + strings.Repeat(`60d0fe4f5311236168a109cb","`, 20_000) + `"]}}`, 0},
		{"(59) huge numbers", `{"topic":"x","a":9223372036854775808,"b":1e400,"flags":{"f":null}}`, 0},
		{"(69) bridge's own topic", `{"topic":"bridge.gap","object":{"id":"x"}}`, 0},
		{"(70) NUL and lone surrogate", `{"topic":"x","l":"\u0000\ud800"}`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{})
				f, _ := r.connect(t)
				r.sim.Emit([]byte(tt.raw))
				r.sim.Emit([]byte(plain))
				events := r.in.wait(t, 2)
				want := tt.raw
				if tt.flags&bridge.FlagTruncated != 0 {
					want = want[:keptOfBig]
					line := r.log.lines("hub message cut")
					sum := fmt.Sprintf("%x", sha256.Sum256([]byte(tt.raw)))
					if len(line) != 1 || line[0]["sha256"] != sum || line[0]["length"] != float64(len(tt.raw)) {
						t.Errorf("got log %v, want length %d and sum %s", line, len(tt.raw), sum)
					}
					if c := events[0].Cut; c == nil || c.Length != uint64(len(tt.raw)) || fmt.Sprintf("%x", c.SHA256) != sum {
						t.Errorf("got cut %+v, want length %d and sum %s", c, len(tt.raw), sum)
					}
				} else if events[0].Cut != nil {
					t.Errorf("got cut %+v of a message that is whole", events[0].Cut)
				}
				if e := events[0]; string(e.Raw) != want || e.Flags != tt.flags {
					t.Errorf("got %d bytes %.60q with flags %q, want %d bytes with %q", len(e.Raw), e.Raw, e.Flags, len(want), tt.flags)
				}
				if e := events[0]; e.Note.Parsed() != (tt.flags&bridge.FlagUnparsed == 0) || e.Raw == nil {
					t.Errorf("got parsed %v for flags %q", e.Note.Parsed(), e.Flags)
				}
				if e := events[1]; string(e.Raw) != plain || e.Flags != 0 {
					t.Errorf("the next one: got %q with flags %q", e.Raw, e.Flags)
				}
				time.Sleep(time.Second)
				s := f.Status()
				if s.Connections != 1 || s.Reconnects != 0 || s.Events != 2 || s.Bytes != uint64(len(tt.raw)+len(plain)) {
					t.Errorf("got status %+v", s)
				}
				if got := s.Unparsed == 1; got != (tt.flags&bridge.FlagUnparsed != 0) {
					t.Errorf("got %d unparsed", s.Unparsed)
				}
				if got := f.Foreign() == 1; got != strings.HasPrefix(tt.name, "(57)") {
					t.Errorf("got %d of another hub", f.Foreign())
				}
			})
		})
	}
}

// Warnings about frames come once a minute and sort, whatever the frames.
func TestWarningsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		f, _ := r.connect(t)
		for range 1000 {
			r.sim.Emit([]byte("nonsense\n"))
			r.sim.Emit([]byte(`{"topic":""}`))
			time.Sleep(100 * time.Millisecond)
		}
		if n := r.log.count("hub message is not a notification"); n != 4 {
			t.Errorf("got %d lines in 100 s, want 2 of each sort", n)
		}
		if s := f.Status(); s.Unparsed != 2000 || s.Connections != 1 {
			t.Errorf("got %d unparsed on %d connections, want 2000 on 1", s.Unparsed, s.Connections)
		}
	})
}

// The numbers are those of the list of bad inputs.
func TestFrames(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  hubsim.Fault
		events int // that the fault itself brings
		code   int // of the loss; 0 when the connection stays
		text   string
	}{
		{"(61) 10k fragments", hubsim.Fault{Kind: hubsim.Fragmented, Parts: 10_000}, 1, 0, ""},
		// The library takes it: kept as it came, unparsed (doc.go).
		{"(62) masked", hubsim.Fault{Kind: hubsim.Masked}, 1, 0, ""},
		{"(62) reserved bits", hubsim.Fault{Kind: hubsim.ReservedBits}, 0, 1002, "rsv bits"},
		{"(62) bad opcode", hubsim.Fault{Kind: hubsim.BadOpcode}, 0, 1002, "opcode"},
		{"(62) long control", hubsim.Fault{Kind: hubsim.LongControl}, 0, 1002, "control"},
		{"(62) fragmented control", hubsim.Fault{Kind: hubsim.FragmentedControl}, 0, 1002, "control"},
		{"(62) continuation of nothing", hubsim.Fault{Kind: hubsim.BadContinuation}, 0, 1002, "continuation"},
		{"(63) close of one byte", hubsim.Fault{Kind: hubsim.BadCloseShort}, 0, 1002, "too small"},
		{"(63) close code", hubsim.Fault{Kind: hubsim.BadCloseCode}, 0, 1002, "invalid status code"},
		// The library takes it; the log gets clean text.
		{"(63) close reason", hubsim.Fault{Kind: hubsim.BadCloseUTF8}, 0, 1000, "code 1000"},
		{"(64) ping flood", hubsim.Fault{Kind: hubsim.PingFlood, Parts: 10_000}, 0, 1008, "pings"},
		{"(64) some pings", hubsim.Fault{Kind: hubsim.PingFlood, Parts: 500}, 0, 0, ""},
		{"(65) unsolicited pong", hubsim.Fault{Kind: hubsim.Pong}, 0, 0, ""},
		{"(66) binary", hubsim.Fault{Kind: hubsim.Binary}, 1, 0, ""},
		{"(60) nearly 64 MiB", hubsim.Fault{Kind: hubsim.Oversize, Bytes: 64<<20 - 1000}, 1, 0, ""},
		{"(68) after close", hubsim.Fault{Kind: hubsim.AfterClose, Code: 1012}, 0, 1012, "1012"},
		{"close 1009", hubsim.Fault{Kind: hubsim.Close, Code: 1009, Text: "too\nbig"}, 0, 1009, "too big"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, hubsim.Options{})
				f, _ := r.connect(t)
				time.Sleep(time.Second)
				r.inject(t, tt.fault)
				r.in.wait(t, tt.events)
				time.Sleep(2 * time.Second)
				lost := r.log.lines("hub connection lost")
				if tt.code == 0 {
					if len(lost) > 0 {
						t.Fatalf("got %v, want the connection to stay", lost)
					}
				} else if len(lost) != 1 || lost[0]["code"] != float64(tt.code) || !strings.Contains(lost[0]["error"].(string), tt.text) {
					t.Fatalf("got %v, want code %d about %q", lost, tt.code, tt.text)
				}
				if alarm := tt.code == 1002 || tt.code == 1009; len(lost) > 0 && (lost[0]["level"] == "ERROR") != alarm {
					t.Errorf("got level %v for code %d", lost[0]["level"], tt.code)
				}
				time.Sleep(time.Minute)
				r.sim.Emit([]byte(plain))
				events := r.in.wait(t, tt.events+1)
				if e := events[tt.events]; string(e.Raw) != plain || len(events) != tt.events+1 {
					t.Errorf("got %d events, the last %.80q", len(events), e.Raw)
				}
				if s := f.Status(); s.Connections != 1 || s.Since.IsZero() {
					t.Errorf("got status %+v", s)
				}
			})
		})
	}
}

// (65) An unsolicited pong is no proof of life.
func TestUnsolicitedPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, hubsim.Options{})
		f, _ := r.connect(t)
		time.Sleep(5 * time.Second)
		before := f.Status().LastAlive
		r.inject(t, hubsim.Fault{Kind: hubsim.Pong})
		time.Sleep(5 * time.Second)
		if got := f.Status().LastAlive; !got.Equal(before) {
			t.Errorf("got last proof %s, want %s", got, before)
		}
		r.inject(t, hubsim.Fault{Kind: hubsim.IgnorePings, For: time.Hour})
		for range 40 {
			time.Sleep(time.Second)
			r.inject(t, hubsim.Fault{Kind: hubsim.Pong})
			// What a ping that was answered long ago had.
			r.inject(t, hubsim.Fault{Kind: hubsim.Pong, Text: "1"})
		}
		if n := r.log.count("hub connection lost"); n != 1 {
			t.Errorf("got %d losses, want 1: pongs that nobody asked for do not keep a connection", n)
		}
	})
}

// stream is a transport that gives bytes in pieces.
type stream struct {
	in    []byte
	piece func(n int) int
	out   bytes.Buffer
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.in[:max(1, min(len(s.in), s.piece(len(s.in))))])
	s.in = s.in[n:]
	return n, nil
}

func (s *stream) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *stream) Close() error                { return nil }

// RoundTrip answers an upgrade; the bytes follow it.
func (s *stream) RoundTrip(req *http.Request) (*http.Response, error) {
	sum := sha1.Sum([]byte(req.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return &http.Response{
		StatusCode: http.StatusSwitchingProtocols,
		Header: http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-Websocket-Accept": {base64.StdEncoding.EncodeToString(sum[:])},
		},
		Body: s,
	}, nil
}

// readAll returns what the library and messages make of bytes that come in
// pieces.
func readAll(t *testing.T, in []byte, piece func(int) int) ([]message, error) {
	t.Helper()
	up := &upgrader{next: &stream{in: in, piece: piece}}
	ws, _, err := websocket.Dial(context.Background(), "ws://hub", &websocket.DialOptions{HTTPClient: &http.Client{Transport: up}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	m := messages{ws: ws, wire: up.wire}
	var all []message
	for {
		next, err := m.next(context.Background())
		if next.raw != nil {
			all = append(all, next)
		}
		if err != nil {
			return all, err
		}
	}
}

// naive is a second reading of RFC 6455, for the fuzz test: whole input at
// once, no buffers. It stops where anything is wrong or incomplete, but takes
// masked frames as the library does: data as it came.
func naive(in []byte) (messages [][]byte) {
	var current []byte
	open := false
	for len(in) >= 2 {
		op, fin, n, at := in[0]&15, in[0]&0x80 != 0, uint64(in[1]), 2
		if in[0]&0x70 != 0 {
			return messages
		}
		masked := n >= 0x80
		n &= 0x7f
		if n == 126 && len(in) >= 4 {
			n, at = uint64(binary.BigEndian.Uint16(in[2:])), 4
		} else if n == 127 && len(in) >= 10 {
			n, at = binary.BigEndian.Uint64(in[2:]), 10
		} else if n >= 126 {
			return messages
		}
		if masked {
			at += 4
		}
		if at > len(in) || uint64(len(in)-at) < n {
			return messages
		}
		payload := in[at : at+int(n)]
		in = in[at+int(n):]
		switch op {
		case 9, 10:
			if !fin || n > 125 {
				return messages
			}
		case 1, 2, 0:
			if (op == 0) != open {
				return messages
			}
			current = append(current, payload...)
			if open = !fin; fin {
				messages = append(messages, current)
				current = nil
			}
		default:
			return messages
		}
	}
	return messages
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x02{}\x81\x00"), uint8(1))
	f.Add([]byte("\x01\x01{\x89\x01x\x80\x01}\x88\x02\x03\xe8"), uint8(3))
	f.Add([]byte("\x81\x7e\x00\x02{}\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01x"), uint8(2))
	f.Add([]byte("\x81\x82aaaa..\x89\x81aaaa.\x81\x00"), uint8(5))
	f.Add([]byte("\x01\x01{\x81\x01}\x81\x05abc"), uint8(5))
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		want := naive(in)
		for _, p := range []func(int) int{
			func(int) int { return int(piece)%64 + 1 },
			func(n int) int { return n },
		} {
			got, err := readAll(t, bytes.Clone(in), p)
			if err == nil || len(got) != len(want) {
				t.Fatalf("got %d messages, %v, want %d", len(got), err, len(want))
			}
			for i, m := range got {
				if m.length != uint64(len(want[i])) || !bytes.HasPrefix(want[i], m.raw) || m.length <= maxWhole && len(m.raw) != len(want[i]) {
					t.Fatalf("message %d: got %d bytes of %d, want %d", i, len(m.raw), m.length, len(want[i]))
				}
				if m.sum != nil && !bytes.Equal(m.sum, func() []byte { s := sha256.Sum256(want[i]); return s[:] }()) {
					t.Fatalf("message %d: wrong sum", i)
				}
			}
		}
	})
}

// A message that the end of the connection cuts off is no message, wherever
// the cut is.
func TestCutOff(t *testing.T) {
	whole := "\x81\x02{}\x01\x02{ \x89\x01x\x80\x01}"
	for cut := range len(whole) {
		want := 0
		if cut >= len("\x81\x02{}") {
			want = 1
		}
		got, err := readAll(t, []byte(whole[:cut]), func(n int) int { return n })
		if len(got) != want || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("cut after %d bytes: got %d messages and %v, want %d", cut, len(got), err, want)
		}
	}
}

// Bytes that were handed out are never written again, whatever comes next.
func TestSlabKeepsBytes(t *testing.T) {
	var in []byte
	var want []string
	for i := range 3000 {
		s := strings.Repeat(string(rune('a'+i%26)), i*7%5000)
		want = append(want, s)
		switch {
		case len(s) < 126:
			in = append(in, 0x81, byte(len(s)))
		default:
			in = append(in, 0x81, 126, byte(len(s)>>8), byte(len(s)))
		}
		in = append(in, s...)
	}
	got, err := readAll(t, in, func(n int) int { return 1 + n%977 })
	if !errors.Is(err, errEnded) || len(got) != len(want) {
		t.Fatalf("got %d messages, %v, want %d", len(got), err, len(want))
	}
	for i := range got {
		if string(got[i].raw) != want[i] || cap(got[i].raw) != len(got[i].raw) {
			t.Fatalf("message %d: got %d bytes of capacity %d, want %d", i, len(got[i].raw), cap(got[i].raw), len(want[i]))
		}
	}
}

// A message of more than 64 MiB ends the connection; its beginning is an event.
func TestMessageTooLong(t *testing.T) {
	in := binary.BigEndian.AppendUint64([]byte{0x81, 127}, maxDrop+2)
	in = append(in, make([]byte, maxDrop+2)...)
	got, err := readAll(t, in, func(n int) int { return n })
	if !errors.Is(err, errTooLong) || len(got) != 1 || len(got[0].raw) != keptOfBig || got[0].sum != nil || got[0].length <= maxDrop {
		t.Errorf("got %d messages, %v, want one cut and errTooLong", len(got), err)
	}
}
