package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadFiles loads every file of testdata/bad. Its first lines say what is
// wrong with it: "# want <line>:<column> <key>: <part of the text>". The number
// in the file's name is that of the list of bad inputs (reliability, section
// 4), 00 for others.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want, env []string
			for line := range strings.Lines(string(data)) {
				line = strings.TrimRight(line, "\r\n")
				if w, ok := strings.CutPrefix(line, "# want "); ok {
					want = append(want, w)
				}
				if e, ok := strings.CutPrefix(line, "# env "); ok {
					env = append(env, e)
				}
			}
			if len(want) == 0 {
				t.Fatal("the file wants nothing")
			}
			o := testOptions(t, append(env, "EMPTY=", "CANARY="+canary)...)
			o.Path = file
			_, err = Load(o)
			if err == nil {
				t.Fatal("the file was accepted")
			}
			checkProblems(t, problemsOf(t, err), want)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the message shows a secret:\n%v", err)
			}
			for _, p := range problemsOf(t, err) {
				if p.Variable == "" && p.File != file {
					t.Errorf("file of %v: got %q, want %q", p, p.File, file)
				}
			}
		})
	}
}
