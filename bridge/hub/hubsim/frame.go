package hubsim

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Opcodes and header bits of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	bitFin  = 0x80
	bitRsv1 = 0x40
	bitMask = 0x80
)

// frameHeaderMax is the longest header of an unmasked frame.
const frameHeaderMax = 10

// appendHeader appends the header of an unmasked frame; b0 is its first byte.
func appendHeader(dst []byte, b0 byte, length int) []byte {
	switch {
	case length < 126:
		return append(dst, b0, byte(length))
	case length < 1<<16:
		return append(dst, b0, 126, byte(length>>8), byte(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, b0, 127), uint64(length))
}

// appendFrame appends a whole unmasked frame.
func appendFrame(dst []byte, b0 byte, payload []byte) []byte {
	return append(appendHeader(dst, b0, len(payload)), payload...)
}

// frameLength returns the length of the first of some encoded, unmasked
// frames; of bytes that are none, all of them.
func frameLength(b []byte) int {
	n := len(b)
	switch {
	case len(b) < 2:
	case b[1] < 126:
		n = 2 + int(b[1])
	case b[1] == 126 && len(b) >= 4:
		n = 4 + int(binary.BigEndian.Uint16(b[2:]))
	case b[1] == 127 && len(b) >= frameHeaderMax:
		n = frameHeaderMax + int(binary.BigEndian.Uint64(b[2:])&(1<<40-1))
	}
	return min(n, len(b))
}

// appendClose appends a close frame. Code 0 sends an empty one.
func appendClose(dst []byte, code int, reason string) []byte {
	if code == 0 {
		return appendHeader(dst, bitFin|opClose, 0)
	}
	if len(reason) > 123 {
		reason = reason[:123]
	}
	dst = appendHeader(dst, bitFin|opClose, 2+len(reason))
	dst = append(dst, byte(code>>8), byte(code))
	return append(dst, reason...)
}

// clientFrame is a frame as a client sent it, unmasked.
type clientFrame struct {
	op      byte
	fin     bool
	payload []byte // valid until the next read
}

// readClientFrame reads one masked frame of at most 64 KiB. buf is reused.
func readClientFrame(r *bufio.Reader, buf []byte) (clientFrame, []byte, error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return clientFrame{}, buf, err
	}
	f := clientFrame{op: h[0] & 0xf, fin: h[0]&bitFin != 0}
	if h[1]&bitMask == 0 {
		return f, buf, fmt.Errorf("client frame is not masked")
	}
	n := uint64(h[1] &^ bitMask)
	switch n {
	case 126:
		if _, err := io.ReadFull(r, h[:2]); err != nil {
			return f, buf, err
		}
		n = uint64(binary.BigEndian.Uint16(h[:2]))
	case 127:
		if _, err := io.ReadFull(r, h[:8]); err != nil {
			return f, buf, err
		}
		n = binary.BigEndian.Uint64(h[:8])
	}
	if n > 64<<10 {
		return f, buf, fmt.Errorf("client frame of %d bytes is too long", n)
	}
	var mask [4]byte
	if _, err := io.ReadFull(r, mask[:]); err != nil {
		return f, buf, err
	}
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return f, buf, err
	}
	for i := range buf {
		buf[i] ^= mask[i&3]
	}
	f.payload = buf
	return f, buf, nil
}
