package bridge

import "fmt"

// SyntaxError says what is wrong with a pattern, a template or a path, and where.
type SyntaxError struct {
	Text   string // the whole text; empty where it may be a secret
	Offset int    // of the byte it is about, from 0
	Msg    string
}

func (e *SyntaxError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("%s (at character %d)", e.Msg, e.Offset+1)
	}
	return fmt.Sprintf("%q: %s (at character %d)", e.Text, e.Msg, e.Offset+1)
}

func syntaxErrorf(text string, offset int, format string, args ...any) error {
	return &SyntaxError{Text: text, Offset: offset, Msg: fmt.Sprintf(format, args...)}
}

// nearest returns the name that is closest to what was written, "" if none is close.
func nearest(written string, names []string) string {
	best, least := "", 1+max(1, len(written)/3)
	for _, n := range names {
		if d := distance(written, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is the number of single-byte edits from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
