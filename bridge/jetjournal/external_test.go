package jetjournal

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/journaltest"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// external starts a server of its own on loopback. extra is configuration text.
func external(t *testing.T, extra string) string {
	t.Helper()
	o := &server.Options{}
	err := o.ProcessConfigString(fmt.Sprintf("listen: 127.0.0.1:-1\njetstream { store_dir: %q }\nmax_payload: 8MB\n%s", t.TempDir(), extra))
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	// In text sync_interval would stand in the same block.
	o.SyncAlways = strings.Contains(extra, "# always")
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s.ClientURL()
}

// away is a journal on a server elsewhere. A crash there leaves the old
// process's connection open; the new one takes over.
type away struct{ c Config }

func (s away) Open(t *testing.T) bridge.Journal {
	t.Helper()
	j, err := Open(t.Context(), Options{Config: s.c, Log: quiet, timing: short()})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return j
}

func (s away) Crash(*testing.T) journaltest.Storage { return s }

func (s away) DeadLetters(t *testing.T, j bridge.Journal) []bridge.DeadLetter {
	t.Helper()
	ls, err := j.(*Journal).DeadLetters(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []bridge.DeadLetter
	for _, l := range ls {
		out = append(out, l.DeadLetter)
	}
	return out
}

func TestConformanceExternal(t *testing.T) {
	url := external(t, "")
	var n atomic.Int64
	journaltest.Run(t, journaltest.Harness{New: func(_ *testing.T, l journaltest.Limits) journaltest.Storage {
		c := Defaults()
		c.URL, c.Name, c.Durability = url, fmt.Sprintf("journal-%d", n.Add(1)), DurabilityRelaxed
		c.MaxBytes = setting.Size(l.MaxBytes)
		if l.MaxBytes == 0 {
			c.MaxBytes = 64 << 20
		}
		return away{c}
	}})
}

func TestDurabilityOfExternalServer(t *testing.T) {
	const accounts = "accounts { SYS { users [{user: sys, password: x}] }, A { jetstream: enabled, users [{user: a, password: x}] } }\nsystem_account: SYS\n"
	tests := []struct {
		name, extra, durability string
		visible                 bool
		refused, warned         bool
	}{
		{"cannot be seen", "", DurabilityFsync, false, false, true},
		{"relaxed", "", DurabilityRelaxed, false, false, false},
		{"seen not to sync", accounts, DurabilityFsync, true, true, false},
		{"seen to sync", accounts + "# always\n", DurabilityFsync, true, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url := external(t, tt.extra)
			c := Defaults()
			c.URL, c.Name, c.Durability = url, "hubs", tt.durability
			if tt.visible {
				// What a connection with system credentials is told; the system
				// account itself has no JetStream to keep a journal in.
				c.Username, c.Password = "sys", setting.NewSecret("x")
				nc, err := c.Connect(t.Context(), "test")
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				j := &Journal{cfg: c, where: c.Where(), link: &link{nc: nc}}
				err = j.checkDurability(t.Context())
				if (err != nil) != tt.refused || (len(j.warnings) > 0) != tt.warned {
					t.Errorf("error = %v, warnings = %q", err, j.warnings)
				}
				if tt.refused && bridge.KindOf(err) != bridge.KindMisconfigured {
					t.Errorf("kind = %v, want %v", bridge.KindOf(err), bridge.KindMisconfigured)
				}
				return
			}
			j, err := Open(t.Context(), Options{Config: c, Log: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close(context.Background())
			if (len(j.Warnings()) > 0) != tt.warned {
				t.Errorf("warnings = %q", j.Warnings())
			}
		})
	}
}

func TestForeignStreamIsRefused(t *testing.T) {
	url := external(t, "")
	c := Defaults()
	c.URL, c.Name, c.Durability = url, "cycle-bridge", DurabilityRelaxed
	nc, err := c.Connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("$JS.API.STREAM.CREATE.cycle-bridge", []byte(`{"name":"cycle-bridge","subjects":["mine"],"storage":"file"}`), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Config: c, Log: quiet})
	if bridge.KindOf(err) != bridge.KindMisconfigured || !strings.Contains(err.Error(), "not a journal") {
		t.Errorf("Open = %v, want a refusal", err)
	}
}
