package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// checkRetention refuses a retention that the disk can never hold: the
// journal would fill it before it removes anything.
func checkRetention(dir, key string, size setting.Size) error {
	if size == setting.SizeAuto {
		return nil
	}
	_, total, err := natsserver.Space(existing(dir))
	if err != nil {
		return fmt.Errorf("journal.dir: %w", err)
	}
	if uint64(max(size, 0)) > total {
		return usage(fmt.Errorf("%s: %s is more than the whole disk of %s has (%s): lower it, or use auto",
			key, size, dir, setting.Size(total>>20<<20)))
	}
	return nil
}

// diskWarning says what is wrong with the file system for a journal; "" when
// nothing is known to be. The numbers are those of statfs(2).
func diskWarning(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(dir), &st); err != nil {
		return ""
	}
	switch uint64(st.Type) { // its type differs between systems
	case 0x01021994, 0x858458f6:
		return "the data directory is in memory (tmpfs): a restart of the machine loses the journal"
	case 0x6969:
		return "the data directory is on NFS: a lock there may not keep a second process out, and fsync may not mean a disk"
	}
	return ""
}
