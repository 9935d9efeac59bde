package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// slotSize is what one record takes. There are two, written in turn, so that
// one whole record is there at any moment.
const slotSize = 1024

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// position is what is about to be written to the file.
type position struct {
	Number  uint64 `json:"n"` // of the record, ascending
	Journal string `json:"journal"`
	Before  mark   `json:"before"`
	After   mark   `json:"after"`
	CRC     uint32 `json:"crc"`  // of the bytes between the two sizes
	Born    int64  `json:"born"` // when the file was begun, seconds since 1970
	// Settled: the write is known to be there; what becomes of the file
	// afterwards does not take it back.
	Settled bool `json:"settled,omitempty"`
}

// mark is a place in the file: the last live event and the size.
type mark struct {
	Epoch  string `json:"epoch,omitempty"`
	Offset uint64 `json:"offset,omitempty"`
	Size   int64  `json:"size"`
}

func (m mark) id() bridge.ID { return bridge.ID{Epoch: m.Epoch, Offset: m.Offset} }

// slots is the file of two records.
type slots struct{ f *os.File }

func openSlots(path string) (slots, position, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return slots{}, position{}, err
	}
	s := slots{f}
	buf := make([]byte, 2*slotSize)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return slots{}, position{}, errors.Join(err, f.Close())
	}
	if n < len(buf) {
		// Room for both is taken now: a full disk then does not keep a record
		// from being written.
		if _, err := f.WriteAt(bytes.Repeat([]byte{' '}, len(buf)-n), int64(n)); err != nil {
			return slots{}, position{}, errors.Join(err, f.Close())
		}
	}
	var best position
	for i := range 2 {
		if p, ok := parseSlot(buf[i*slotSize : (i+1)*slotSize]); ok && p.Number > best.Number {
			best = p
		}
	}
	return s, best, nil
}

// put writes p as the next record and returns when it is durable.
func (s slots) put(p *position) error {
	p.Number++
	b, err := formatSlot(*p)
	if err != nil {
		return err
	}
	if _, err := s.f.WriteAt(b, int64(p.Number%2)*slotSize); err != nil {
		return err
	}
	return s.f.Sync()
}

func formatSlot(p position) ([]byte, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, "%08x ", crc32.Checksum(body, castagnoli))
	b = append(b, body...)
	if len(b) >= slotSize {
		return nil, fmt.Errorf("position record of %d bytes", len(b))
	}
	b = append(b, bytes.Repeat([]byte{' '}, slotSize-1-len(b))...)
	return append(b, '\n'), nil
}

func parseSlot(b []byte) (position, bool) {
	sum, body, ok := bytes.Cut(b, []byte(" "))
	if !ok {
		return position{}, false
	}
	body = bytes.TrimSpace(body)
	var p position
	if fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) != string(sum) || json.Unmarshal(body, &p) != nil {
		return position{}, false
	}
	return p, true
}
