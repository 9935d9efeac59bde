package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// nearest returns the one of known that word is most likely a slip of, or "":
// one edit for every three characters (two where there are four, as swapping
// two letters counts as two), as a guess further away misleads more often than
// it helps.
func nearest(word string, known []string) string {
	best, at := "", 0
	if len(word) > 100 {
		return ""
	}
	for _, k := range known {
		d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k))
		limit := max(len(word), len(k)) / 3
		if min(len(word), len(k)) >= 4 {
			limit = max(limit, 2)
		}
		if d <= limit && (best == "" || d < at) {
			best, at = k, d
		}
	}
	return best
}

// suggestion ends a message about an unknown word: the nearest known one, or
// all of them where they are few.
func suggestion(word string, known []string) string {
	if n := nearest(word, known); n != "" {
		return fmt.Sprintf("; did you mean %s?", n)
	}
	if len(known) == 0 || len(known) > 20 {
		return ""
	}
	return "; known here: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// oneOf returns a mistake unless value is one of allowed.
func oneOf(key, value string, allowed ...string) *setting.Mistake {
	if slices.Contains(allowed, value) {
		return nil
	}
	text := fmt.Sprintf("%q is not known: want %s", value, strings.Join(allowed, ", "))
	if n := nearest(value, allowed); n != "" {
		text += fmt.Sprintf("; did you mean %s?", n)
	}
	return &setting.Mistake{Key: key, Text: text}
}
