package natsserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// autoMaxBytes bounds what "auto" takes of a large disk (DESIGN 11).
const autoMaxBytes = 10 << 30

// slackBytes is what each account may use above its stream's limit: cursors,
// dead letters, consumers (DESIGN 5).
const slackBytes = 1 << 30

// Space tells how many bytes an unprivileged process may still write on the
// file system of dir, and how many it has in all.
func Space(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	bs := uint64(st.Bsize) // a block size is positive; its type differs between systems
	return st.Bavail * bs, st.Blocks * bs, nil
}

// MaxBytes resolves a configured limit for a store under the data directory.
// auto is 30 % of what is free, at most 10 GiB. What the store already uses
// counts as free, so that the limit does not shrink while the store fills.
func MaxBytes(dir string, size setting.Size) (int64, error) {
	if size != setting.SizeAuto {
		return int64(size), nil
	}
	at := dir
	for {
		if _, err := os.Stat(at); err == nil {
			break
		}
		up := filepath.Dir(at)
		if up == at {
			break
		}
		at = up
	}
	free, _, err := Space(at)
	if err != nil {
		return 0, err
	}
	n := (free + used(filepath.Join(dir, storeDir))) / 10 * 3
	return int64(max(min(n, autoMaxBytes), minStoreBytes)), nil //nolint:gosec // at most 10 GiB
}

func used(dir string) (n uint64) {
	// What cannot be read counts as nothing: the figure only sets a default.
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // see above
		}
		if fi, err := d.Info(); err == nil {
			n += uint64(fi.Size()) //nolint:gosec // a size is not negative
		}
		return nil
	})
	return n
}

// reserved is what the accounts' limits were last. A server that starts with
// a lower limit than its streams reserve does not recover them, so the
// limits never go below what was granted once.
type reserved struct {
	Journal int64 `json:"journal"`
	Cycle   int64 `json:"cycle"`
}

func reserve(dir string, want reserved) (reserved, error) {
	path := filepath.Join(dir, "nats-limits.json")
	var old reserved
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return reserved{}, err
	case json.Unmarshal(b, &old) != nil:
		// Damaged: the largest that auto may ever have granted.
		old = reserved{Journal: autoMaxBytes, Cycle: autoMaxBytes}
	}
	r := reserved{Journal: max(old.Journal, want.Journal), Cycle: max(old.Cycle, want.Cycle)}
	if r == old {
		return r, nil
	}
	b, err = json.Marshal(r)
	if err != nil {
		return reserved{}, err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return reserved{}, err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return reserved{}, err
	}
	return r, os.Rename(tmp, path)
}
