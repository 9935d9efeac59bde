package natsserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// ErrLocked is the cause when another process holds the data directory.
var ErrLocked = errors.New("the data directory is in use")

// lockDir takes the lock of a data directory. The file tells people who
// holds it; what holds it is the flock, which the kernel drops with the process.
func lockDir(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, "lock")
	l := flock.New(path)
	ok, err := l.TryLock()
	if err != nil {
		return nil, &bridge.Error{
			Op: "lock data directory", Kind: bridge.KindMisconfigured, Err: err,
			Hint: "the directory must be writable and on a file system with locks",
		}
	}
	if !ok {
		who := "another process"
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			who = strings.TrimSpace(string(b))
		}
		return nil, &bridge.Error{
			Op: "lock data directory", Kind: bridge.KindMisconfigured,
			Err:  fmt.Errorf("%s: %w by %s", dir, ErrLocked, who),
			Hint: "stop it, or give this one a directory of its own (--data)",
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	note := fmt.Sprintf("pid %d on %s since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(note), 0o600); err != nil {
		return nil, errors.Join(bridge.Errorf(bridge.KindMisconfigured, "lock data directory", "%w", err), l.Unlock())
	}
	return l, nil
}
