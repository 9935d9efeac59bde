package jetjournal

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/journaltest"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

var quiet = slog.New(slog.DiscardHandler)

// opened is a journal with its embedded server.
type opened struct {
	*Journal
	server *natsserver.Server
}

func (o *opened) Close(ctx context.Context) error {
	err := o.Journal.Close(ctx)
	if serr := o.server.Shutdown(ctx); err == nil {
		err = serr
	}
	return err
}

type setup struct {
	dir    string
	max    setting.Size
	change func(*Options)
	log    *slog.Logger
}

func (s setup) config() Config {
	c := Defaults()
	c.Dir, c.MaxBytes = s.dir, 256<<20
	if s.max != 0 {
		c.MaxBytes = s.max
	}
	return c
}

func (s setup) open(ctx context.Context) (*opened, error) {
	c := s.config()
	nc := natsserver.Defaults()
	nc.Listen = ""
	log := quiet
	if s.log != nil {
		log = s.log
	}
	srv, err := natsserver.Start(ctx, natsserver.Options{
		Dir: s.dir, Config: nc, JournalMaxBytes: int64(c.MaxBytes), CycleMaxBytes: 64 << 20, Log: log,
		EncryptionKey: c.EncryptionKey,
	})
	if err != nil {
		return nil, err
	}
	o := Options{Config: c, Server: srv, Log: log}
	if s.change != nil {
		s.change(&o)
	}
	j, err := Open(ctx, o)
	if err != nil {
		_ = srv.Shutdown(ctx)
		return nil, err
	}
	return &opened{j, srv}, nil
}

func (s setup) must(t *testing.T) *opened {
	t.Helper()
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

type storage struct{ setup }

func (s storage) Open(t *testing.T) bridge.Journal {
	t.Helper()
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return j
}

// Crash copies the directory as it is: what a killed process leaves, for what
// was written to files is there, and what was not is not.
func (s storage) Crash(t *testing.T) journaltest.Storage {
	t.Helper()
	s.setup.dir = copyDir(t, s.setup.dir)
	return s
}

func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if out, err := exec.Command("cp", "-a", dir+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
	return to
}

func (s storage) DeadLetters(t *testing.T, j bridge.Journal) []bridge.DeadLetter {
	t.Helper()
	ls, err := j.(*opened).DeadLetters(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []bridge.DeadLetter
	for _, l := range ls {
		out = append(out, l.DeadLetter)
	}
	return out
}

func TestConformance(t *testing.T) {
	journaltest.Run(t, journaltest.Harness{
		New: func(t *testing.T, limits journaltest.Limits) journaltest.Storage {
			t.Helper()
			return storage{setup{dir: t.TempDir(), max: setting.Size(limits.MaxBytes)}}
		},
	})
}

func TestConformanceEncrypted(t *testing.T) {
	if testing.Short() {
		t.Skip("the same again")
	}
	dir := t.TempDir()
	s := setup{dir: dir}
	start := func(key string) (*natsserver.Server, error) {
		nc := natsserver.Defaults()
		nc.Listen = ""
		return natsserver.Start(t.Context(), natsserver.Options{
			Dir: dir, Config: nc, JournalMaxBytes: 256 << 20, CycleMaxBytes: 64 << 20, EncryptionKey: setting.NewSecret(key),
		})
	}
	for term := range 2 {
		srv, err := start("a key")
		if err != nil {
			t.Fatal(err)
		}
		j, err := Open(t.Context(), Options{Config: s.config(), Server: srv})
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(t.Context(), numbered(term*10, 10)); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("grep", "-r", "container.state.changed", dir).CombinedOutput(); err == nil {
		t.Errorf("the store holds clear text: %s", out)
	}
}

// numbered makes n events of journaltest.
func numbered(from, n int) []bridge.Event {
	es := make([]bridge.Event, n)
	for i := range es {
		es[i] = journaltest.Event(from + i)
	}
	return es
}

// short are intervals for tests of faults.
func short() timing {
	return timing{
		deadline: 500 * time.Millisecond, patience: 100 * time.Millisecond, canary: 200 * time.Millisecond,
		grace: 300 * time.Millisecond, restart: 500 * time.Millisecond, write: 10 * time.Millisecond, sync: 50 * time.Millisecond,
	}
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("JETJOURNAL_CHILD"); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}
