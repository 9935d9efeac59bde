package jetjournal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/journaltest"
)

// child appends numbered groups for ever and prints each acknowledged one, as
// "first-number epoch first-offset count".
func child(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	from, err := strconv.Atoi(os.Getenv("JETJOURNAL_FROM"))
	if err != nil {
		fail(err)
	}
	j, err := setup{dir: dir}.open(context.Background())
	if err != nil {
		fail(err)
	}
	for n := from; ; {
		count := n%37 + 1
		es := numbered(n, count)
		if err := j.Append(context.Background(), es); err != nil {
			fail(err)
		}
		fmt.Println(n, es[0].ID.Epoch, es[0].ID.Offset, count)
		n += count
	}
}

func TestKillLoop(t *testing.T) {
	cycles := 8
	if testing.Short() {
		cycles = 3
	}
	dir := t.TempDir()
	acked := map[bridge.ID]int{}
	next := 0
	for cycle := range cycles {
		cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec // ourselves
		cmd.Env = append(os.Environ(), "JETJOURNAL_CHILD="+dir, "JETJOURNAL_FROM="+strconv.Itoa(next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 0
		stopAt := 20 + 61*cycle
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			var n, count int
			var id bridge.ID
			if _, err := fmt.Sscan(sc.Text(), &n, &id.Epoch, &id.Offset, &count); err != nil {
				break // the last line may be cut
			}
			for i := range count {
				one := bridge.ID{Epoch: id.Epoch, Offset: id.Offset + uint64(i)}
				if was, ok := acked[one]; ok {
					t.Fatalf("cycle %d: id %v was given to %d and to %d", cycle, one, was, n+i)
				}
				acked[one] = n + i
			}
			next = n + count
			if lines++; lines == stopAt {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || lines < stopAt {
			t.Fatalf("cycle %d: the child ended by itself after %d groups: %v %s", cycle, lines, err, stderr.String())
		}
		// What was under way may be stored; the next child's numbers must differ.
		next += 1000
	}
	j := setup{dir: dir}.must(t)
	if lost := j.Lost(); len(lost) > 0 {
		t.Errorf("lost = %+v", lost)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := j.NewReader(ctx, bridge.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	total, want := 0, uint64(1)
	for {
		b, err := r.Next(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		if b.Skipped != nil {
			t.Errorf("skipped %+v", *b.Skipped)
		}
		if len(b.Events) == 0 {
			break
		}
		for i := range b.Events {
			e := &b.Events[i]
			if e.ID.Offset != want {
				t.Fatalf("offset %d, want %d", e.ID.Offset, want)
			}
			want++
			total++
			if n, ok := acked[e.ID]; ok {
				if got := journaltest.Number(e); got != n {
					t.Fatalf("id %v is event %d, was acknowledged as %d", e.ID, got, n)
				}
				delete(acked, e.ID)
			}
		}
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged events of %d are lost", len(acked), total)
	}
	if j.Breaks() > 0 {
		t.Errorf("%d breaks in the chain", j.Breaks())
	}
	t.Logf("%d kills, %d events stored, all acknowledged ones there", cycles, total)
}

// TestDiskFull fills a small file system under the journal and empties it.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s := setup{dir: dir, max: 30 << 20, change: func(o *Options) { o.timing = short() }}
	j, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	for g := range 10 {
		if err := j.Append(ctx, numbered(g*100, 100)); err != nil {
			t.Fatal(err)
		}
	}
	filler := dir + "/filler"
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 64<<10); ; {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	if err := f.Close(); err != nil {
		t.Logf("close filler: %v", err)
	}
	done := make(chan error, 1)
	const groups = 200
	go func() {
		for g := 10; g < groups; g++ {
			if err := j.Append(ctx, numbered(g*100, 100)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	poll(t, "unhealthy on a full disk", func() bool { return !j.Info().Healthy })
	poll(t, "the problem names the disk", func() bool { return strings.Contains(j.Info().Problem, "is full") })
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("Append after space came back: %v", err)
	}
	if i := j.Info(); !i.Healthy {
		t.Errorf("info = %+v, want healthy", i)
	}
	j.turn <- struct{}{}
	j.tail.reset(j.w.last+1, j.w.next)
	j.release()
	got, skips := readAll(t, j, bridge.Position{})
	wantNumbers(t, got, [2]int{0, groups * 100})
	if len(skips) > 0 {
		t.Errorf("skips = %+v", skips)
	}
}
