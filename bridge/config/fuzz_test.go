package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzLoad loads any bytes twice: never a panic, the same result, and what
// loads prints to something that loads to the same.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(example(testOptions(f)))
	f.Add([]byte(hubYAML + "sinks: [{name: a, type: broker, brokers: [b:1], route: [{match: x}]}]"))
	o := testOptions(f, "CANARY="+canary, "CYCLE_HUB_ID="+hubID, "CYCLE_API_KEY="+canary)
	o.Path = "-"
	load := func(data []byte) (*Config, error) {
		o := o
		o.Stdin = bytes.NewReader(data)
		return Load(o)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("_file")) {
			t.Skip() // would read files of this machine
		}
		a, errA := load(data)
		b, errB := load(data)
		if (errA == nil) != (errB == nil) || errA != nil && errA.Error() != errB.Error() {
			t.Fatalf("two loads: got %v and %v", errA, errB)
		}
		if errA != nil {
			if strings.Contains(errA.Error(), canary) && !bytes.Contains(data, []byte(canary)) {
				t.Fatalf("the message shows a secret: %v", errA)
			}
			return
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("two loads: got\n%s\nand\n%s", a.text(), b.text())
		}
		if a.Hash() != b.Hash() {
			t.Fatal("two hashes")
		}
	})
}
