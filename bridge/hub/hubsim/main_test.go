package hubsim

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails the run when goroutines of this package are left.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftovers(5 * time.Second); left != "" {
			fmt.Fprintf(os.Stderr, "goroutines left:\n%s\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

func leftovers(limit time.Duration) string {
	var left []byte
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = nil
		for g := range bytes.SplitSeq(buf, []byte("\n\n")) {
			if bytes.Contains(g, []byte("bridge/hub")) && !bytes.Contains(g, []byte("leftovers(")) {
				left = append(append(left, g...), '\n')
			}
		}
		if left == nil {
			return ""
		}
	}
	return string(left)
}
