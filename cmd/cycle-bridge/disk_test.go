package main

import (
	"os"
	"strings"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// (18) A retention that is larger than the disk, (24) a directory that cannot
// be written or is not on a disk.
func TestDataDirectory(t *testing.T) {
	sim, api := simulator(t, hubsim.Options{})
	t.Run("(18) larger than the disk", func(t *testing.T) {
		env := append(zeroConfig(sim, api, t.TempDir()), "CYCLE_BRIDGE_JOURNAL_MAX_BYTES=100000TiB")
		p := startProcess(t, env, "run")
		if code := p.wait(); code != exitUsage || !strings.Contains(p.log(), "journal.max_bytes: 100000TiB is more than the whole disk") {
			t.Errorf("got exit code %d: %s", code, p.log())
		}
	})
	t.Run("(24) not writable", func(t *testing.T) {
		p := startProcess(t, zeroConfig(sim, api, "/proc/cycle-bridge"), "run")
		if code := p.wait(); code != exitFailed || !strings.Contains(p.log(), "/proc/cycle-bridge") {
			t.Errorf("got exit code %d: %s", code, p.log())
		}
	})
	t.Run("(24) in memory", func(t *testing.T) {
		if diskWarning("/dev/shm") == "" {
			t.Skip("/dev/shm is not a tmpfs here")
		}
		dir, err := os.MkdirTemp("/dev/shm", "cycle-bridge-test-") //nolint:usetesting // it must be on that file system
		if err != nil {
			t.Skip("/dev/shm cannot be written: ", err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		p := startProcess(t, zeroConfig(sim, api, dir), "run")
		p.line("the data directory is in memory")
	})
}
