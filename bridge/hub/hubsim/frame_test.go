package hubsim

import (
	"bytes"
	"testing"
)

func TestFrameLengthTakesFramesApart(t *testing.T) {
	var all []byte
	var want [][]byte
	for _, n := range []int{0, 1, 125, 126, 400, 65535, 65536, 100_000} {
		f := appendFrame(nil, bitFin|opText, bytes.Repeat([]byte{'x'}, n))
		want = append(want, f)
		all = append(all, f...)
	}
	for i, w := range want {
		n := frameLength(all)
		if !bytes.Equal(all[:n], w) {
			t.Fatalf("frame %d: got %d bytes, want %d", i, n, len(w))
		}
		all = all[n:]
	}
	if n := frameLength([]byte{0x81}); n != 1 {
		t.Errorf("half a header: got %d, want all of it", n)
	}
}
