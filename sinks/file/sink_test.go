package file

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

func config(path string) Config {
	c := Defaults()
	c.Path = path
	return c
}

func openSink(t testing.TB, c Config) *Sink {
	t.Helper()
	s, err := open(c, sinktest.Env(t, "sink"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// crash releases the file as a killed process does.
func crash(t testing.TB, s *Sink) {
	t.Helper()
	if err := s.release(); err != nil {
		t.Fatal(err)
	}
	s.closed = true
}

// messages carry envelopes, as the default format makes them.
func messages(first uint64, n int) []bridge.Message {
	msgs := sinktest.Messages(first, n, 3, func(int) string { return "" })
	for i := range msgs {
		msgs[i].Payload = fmt.Appendf(nil, `{"id":%q,"notification":%s}`, msgs[i].Event.ID, msgs[i].Payload)
	}
	return msgs
}

func publish(t testing.TB, s *Sink, msgs []bridge.Message) error {
	t.Helper()
	results := make([]error, len(msgs))
	s.Publish(t.Context(), msgs, results)
	for i, err := range results {
		if (err == nil) != (results[0] == nil) {
			t.Errorf("message %d has another result than the first: %v", i, err)
		}
	}
	return results[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lines reads the files and checks that each line is one JSON object.
func lines(t testing.TB, paths ...string) []string {
	t.Helper()
	var out []string
	for _, p := range paths {
		b, err := os.ReadFile(p)
		must(t, err)
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s ends within a line: %q", p, b)
		}
		for line := range bytes.Lines(b) {
			var o map[string]any
			if err := json.Unmarshal(line, &o); err != nil && !strings.Contains(string(line), "1e400") {
				t.Errorf("line %q is not a JSON object: %v", line, err)
			}
			out = append(out, strings.TrimSuffix(string(line), "\n"))
		}
	}
	return out
}

func checkIDs(t testing.TB, got []string, first, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%d lines, want %d", len(got), n)
	}
	for i, line := range got {
		if want := fmt.Sprintf(`{"id":"%s-%d"`, sinktest.Epoch, first+i); !strings.HasPrefix(line, want) {
			t.Fatalf("line %d is %.60s, want %s", i, line, want)
		}
	}
}

// idSink writes the payloads in lines that tell the event, so that the suite
// can find them: a raw notification has no id.
type idSink struct{ *Sink }

func (s idSink) Publish(ctx context.Context, msgs []bridge.Message, results []error) {
	wrapped := make([]bridge.Message, len(msgs))
	for i, m := range msgs {
		if isObject(m.Payload) {
			m.Payload = []byte(fmt.Sprintf(`{"id":%q,"notification":%s}`, m.Event.ID, m.Payload))
		}
		wrapped[i] = m
	}
	s.Sink.Publish(ctx, wrapped, results)
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, sinktest.Harness{
		Features: sinktest.Features{Once: true, OneDestination: true},
		Start: func(t *testing.T) sinktest.Destination {
			path := filepath.Join(t.TempDir(), "events.jsonl")
			fail := false
			return sinktest.Destination{
				Open: func(t *testing.T) bridge.Sink {
					s, err := open(config(path), sinktest.Env(t, "sink"))
					must(t, err)
					s.write = func(f *os.File, b []byte) (int, error) {
						if fail {
							n, _ := f.Write(b[:len(b)/2])
							return n, syscall.ENOSPC
						}
						return f.Write(b)
					}
					return idSink{s}
				},
				Received: func(t *testing.T) []sinktest.Delivered {
					var out []sinktest.Delivered
					for _, line := range lines(t, path) {
						var o struct {
							ID           string          `json:"id"`
							Notification json.RawMessage `json:"notification"`
							Base64       *string         `json:"payload_base64"`
						}
						must(t, json.Unmarshal([]byte(line), &o))
						d := sinktest.Delivered{ID: o.ID, Payload: o.Notification}
						if o.Base64 != nil {
							d.Payload, _ = base64.StdEncoding.DecodeString(*o.Base64)
						}
						out = append(out, d)
					}
					return out
				},
				Down: func(*testing.T) { fail = true },
				Up:   func(*testing.T) { fail = false },
			}
		},
	})
}

// A crash anywhere in a write: the batch is there once, whole.
func TestCrashInWrite(t *testing.T) {
	probe := messages(4, 3)
	var whole []byte
	for _, m := range probe {
		whole = appendLine(whole, m.Event, m.Payload)
	}
	for _, written := range []int{0, 1, len(whole) / 2, len(whole) - 1, len(whole)} {
		t.Run(fmt.Sprint(written), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			s := openSink(t, config(path))
			must(t, publish(t, s, messages(1, 3)))
			died := errors.New("died")
			s.write = func(f *os.File, b []byte) (int, error) {
				_, err := f.Write(b[:written])
				must(t, err)
				crash(t, s)
				return 0, died
			}
			func() {
				defer func() { _ = recover() }() // the file is gone under the dead process's feet
				_ = publish(t, s, probe)
			}()
			s = openSink(t, config(path))
			pos, ok, err := s.Resume(t.Context(), bridge.Position{}, false)
			want := uint64(3)
			if written == len(whole) {
				want = 6
			}
			if err != nil || !ok || pos.ID.Offset != want {
				t.Errorf("Resume: got %v %v %v, want offset %d", pos, ok, err, want)
			}
			must(t, publish(t, s, probe))
			must(t, publish(t, s, messages(7, 2)))
			checkIDs(t, lines(t, path), 1, 8)
		})
	}
}

// A page that never reached the disk reads as zeroes after a power cut.
func TestTornPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := openSink(t, config(path))
	must(t, publish(t, s, messages(1, 3)))
	must(t, publish(t, s, messages(4, 3)))
	before, after := s.pos.Before.Size, s.pos.After.Size
	crash(t, s)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, after-before-10), before+10)
	must(t, errors.Join(err, f.Close()))
	s = openSink(t, config(path))
	must(t, publish(t, s, messages(4, 4)))
	checkIDs(t, lines(t, path), 1, 7)
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := openSink(t, config(path))
	must(t, publish(t, s, messages(1, 3)))
	real := s.write
	s.write = func(f *os.File, b []byte) (int, error) {
		n, _ := f.Write(b[:len(b)-5])
		return n, &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	err := publish(t, s, messages(4, 3))
	if bridge.KindOf(err) != bridge.KindUnavailable || !strings.Contains(err.Error(), "full") {
		t.Errorf("got %v, want unavailable and that the disk is full", err)
	}
	checkIDs(t, lines(t, path), 1, 3)
	s.write = real
	must(t, publish(t, s, messages(4, 3)))
	checkIDs(t, lines(t, path), 1, 6)
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	c := config(path)
	c.MaxSize, c.Keep, c.MaxAge = 4096, 2, time.Hour
	s := openSink(t, c)
	clock := time.Now()
	s.now = func() time.Time { return clock }
	n := 1
	for range 12 {
		must(t, publish(t, s, messages(uint64(n), 10)))
		n += 10
	}
	old, err := s.rotated()
	must(t, err)
	if len(old) != 2 {
		t.Fatalf("old files %v, want 2", old)
	}
	got := lines(t, append(old, path)...)
	checkIDs(t, got, n-len(got), len(got))
	for _, p := range append(old, path) {
		if st, _ := os.Stat(p); st.Size() > 4096 {
			t.Errorf("%s has %d bytes, want at most 4096", p, st.Size())
		}
	}
	before, _ := os.Stat(path)
	clock = clock.Add(2 * time.Hour)
	must(t, publish(t, s, messages(uint64(n), 1)))
	if after, _ := os.Stat(path); os.SameFile(before, after) {
		t.Error("no new file after max_age")
	}
	// The position survives a rotation and a crash right after it.
	must(t, s.rotate())
	crash(t, s)
	s = openSink(t, c)
	pos, ok, err := s.Resume(t.Context(), bridge.Position{}, false)
	if err != nil || !ok || pos.ID.Offset != uint64(n) {
		t.Errorf("Resume after a rotation: got %v %v %v, want offset %d", pos, ok, err, n)
	}
}

// logrotate moves the file away while it is written.
func TestMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := openSink(t, config(path))
	must(t, publish(t, s, messages(1, 3)))
	must(t, os.Rename(path, path+".1"))
	must(t, publish(t, s, messages(4, 3)))
	checkIDs(t, lines(t, path+".1", path), 1, 6)
}

func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	must(t, publish(t, openSink(t, config(path)), messages(1, 1)))
	err := publish(t, openSink(t, config(path)), messages(2, 1))
	if bridge.KindOf(err) != bridge.KindMisconfigured || !strings.Contains(err.Error(), "another") {
		t.Errorf("second writer: got %v, want misconfigured", err)
	}
}

func TestAnotherJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := openSink(t, config(path))
	must(t, publish(t, s, messages(1, 3)))
	must(t, s.Close(t.Context()))
	env := sinktest.Env(t, "sink")
	env.JournalID = "another"
	s, err := open(config(path), env)
	must(t, err)
	defer s.Close(t.Context())
	if _, ok, err := s.Resume(t.Context(), bridge.Position{}, false); ok || err != nil {
		t.Errorf("Resume: got ok %v, err %v; want not ok", ok, err)
	}
	must(t, publish(t, s, messages(1, 1)))
	if got := lines(t, path); len(got) != 4 {
		t.Errorf("%d lines, want 4", len(got))
	}
}

func TestReplayIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	s := openSink(t, config(path))
	must(t, publish(t, s, messages(1, 3)))
	replay := messages(2, 1)
	replay[0].Event.Flags |= bridge.FlagReplay
	must(t, publish(t, s, replay))
	must(t, publish(t, s, messages(3, 2)))
	if got := lines(t, path); len(got) != 5 {
		t.Errorf("%d lines, want 3, the replay and 1", len(got))
	}
}

func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	s := openSink(t, config(filepath.Join(dir, "f")))
	must(t, os.RemoveAll(dir))
	if err := publish(t, s, messages(1, 1)); bridge.KindOf(err) != bridge.KindMisconfigured {
		t.Errorf("without a directory: got %v, want misconfigured", err)
	}
	must(t, os.MkdirAll(dir, 0o755))
	must(t, publish(t, s, messages(1, 1)))
}

func TestStdout(t *testing.T) {
	s := openSink(t, config(Stdout))
	var out bytes.Buffer
	s.stdout = &out
	must(t, publish(t, s, messages(1, 2)))
	if got := strings.Count(out.String(), "\n"); got != 2 {
		t.Errorf("%d lines, want 2", got)
	}
	if _, ok, err := s.Resume(t.Context(), bridge.Position{}, true); ok || err != nil {
		t.Errorf("Resume: got ok %v, err %v; want not ok", ok, err)
	}
	s.stdout = failing{}
	if err := publish(t, s, messages(3, 1)); bridge.KindOf(err) != bridge.KindUnavailable {
		t.Errorf("broken pipe: got %v, want unavailable", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"minimal", func(*Config) {}, nil},
		{"stdout", func(c *Config) { c.Path = Stdout }, nil},
		{"no path", func(c *Config) { c.Path = "" }, []string{"path"}},
		{"directory", func(c *Config) { c.Path = dir }, []string{"path"}},
		{"no directory", func(c *Config) { c.Path = "/nonexistent/f" }, []string{"path"}},
		{"small", func(c *Config) { c.MaxSize = 5 }, []string{"max_size"}},
		{"auto", func(c *Config) { c.MaxSize = setting.SizeAuto }, []string{"max_size"}},
		{"negative", func(c *Config) { c.MaxAge, c.Keep = -1, -1 }, []string{"max_age", "keep"}},
		{"words", func(c *Config) { c.Format, c.From = "xml", "then" }, []string{"from", "format"}},
		{"route", func(c *Config) { c.Route = []Route{{Format: "x"}} }, []string{"route[0].match", "route[0].format"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(filepath.Join(dir, "f"))
			tt.change(&c)
			var got []string
			for _, m := range c.Validate() {
				got = append(got, m.Key)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseSlot(f *testing.F) {
	good, _ := formatSlot(position{Number: 7, Journal: "j", After: mark{Epoch: "e", Offset: 3, Size: 9}})
	f.Add(good)
	f.Add([]byte("00000000 {}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseSlot(b)
		if !ok {
			return
		}
		again, err := formatSlot(p)
		if err != nil {
			return
		}
		if q, ok := parseSlot(again); !ok || q != p {
			t.Errorf("round trip: got %+v %v, want %+v", q, ok, p)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := openSink(b, config(filepath.Join(b.TempDir(), "f")))
			results := make([]error, size)
			next := uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				msgs := messages(next, size)
				next += uint64(size)
				b.StartTimer()
				s.Publish(b.Context(), msgs, results)
				if results[0] != nil {
					b.Fatal(results[0])
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
