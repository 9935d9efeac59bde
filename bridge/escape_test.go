package bridge

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// legalSubject reports whether one can publish to s (docs.nats.io, subjects).
func legalSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsAny(token, "*>") {
			return false
		}
	}
	return len(s) <= 4000 && !strings.HasPrefix(s, "$") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// legalKafkaTopic is the check of Kafka's own Topic.validate.
func legalKafkaTopic(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 249 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
	})
}

// unescape undoes appendValue for values that were not cut.
func unescape(s string, x *escaping) (v string, ok bool) {
	if s == x.missing {
		return "", true
	}
	var b strings.Builder
	for s != "" {
		rest, escaped := strings.CutPrefix(s, x.intro)
		if !escaped {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		if len(rest) < 2 {
			return "", false
		}
		c, err := strconv.ParseUint(rest[:2], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		s = rest[2:]
	}
	return b.String(), true
}

func unescapeSegments(s string) (topic string, ok bool) {
	var segments []string
	for token := range strings.SplitSeq(s, ".") {
		v, ok := unescape(token, &subjectEscaping)
		if !ok {
			return "", false
		}
		segments = append(segments, v)
	}
	return strings.Join(segments, "."), true
}

func TestEscape(t *testing.T) {
	for _, tt := range []struct{ value, subject, kafka, url, header string }{
		{"", "_", "_", "", ""},
		{"651586fca6078e98982dbd90", "651586fca6078e98982dbd90", "651586fca6078e98982dbd90", "651586fca6078e98982dbd90", "651586fca6078e98982dbd90"},
		{"_", "%5F", "_x5f", "_", "_"},
		{"__consumer_offsets", "%5F_consumer_offsets", "_x5f_consumer_offsets", "__consumer_offsets", "__consumer_offsets"},
		{"ips_pool", "ips_pool", "ips_pool", "ips_pool", "ips_pool"},
		{"a_x41", "a_x41", "a_x5fx41", "a_x41", "a_x41"},
		{"a_", "a_", "a_", "a_", "a_"},
		{".", "%2E", "_x2e", "%2E", "."},
		{"..", "%2E%2E", "_x2e.", "%2E%2E", ".."},
		{"...", "%2E%2E%2E", "...", "...", "..."},
		{"container.instance", "container%2Einstance", "container.instance", "container.instance", "container.instance"},
		{"provider.*", "provider%2E%2A", "provider._x2a", "provider.%2A", "provider.*"},
		{"$JS", "%24JS", "_x24JS", "%24JS", "$JS"},
		{"50%", "50%25", "50_x25", "50%25", "50%25"},
		{"a b", "a%20b", "a_x20b", "a%20b", "a b"},
		{" a ", "%20a%20", "_x20a_x20", "%20a%20", "%20a%20"},
		{" ", "%20", "_x20", "%20", "%20"},
		{"a\r\nb", "a%0D%0Ab", "a_x0d_x0ab", "a%0D%0Ab", "a%0D%0Ab"},
		{"é", "%C3%A9", "_xc3_xa9", "%C3%A9", "%C3%A9"},
		{"a/b?c=d&e#f", "a%2Fb%3Fc%3Dd%26e%23f", "a_x2fb_x3fc_x3dd_x26e_x23f", "a%2Fb%3Fc%3Dd%26e%23f", "a/b?c=d&e#f"},
		{"~", "%7E", "_x7e", "%7E", "~"},
	} {
		for _, c := range []struct {
			name      string
			got, want string
		}{
			{"subject", string(appendValue(nil, tt.value, &subjectEscaping, maxSubjectValue)), tt.subject},
			{"Kafka topic", string(appendValue(nil, []byte(tt.value), &kafkaEscaping, maxKafkaValue)), tt.kafka},
			{"URL", string(appendValue(nil, tt.value, &urlEscaping, maxURLValue)), tt.url},
			{"header", string(appendHeaderValue(nil, tt.value)), tt.header},
		} {
			if c.got != c.want {
				t.Errorf("%q in a %s: %q, want %q", tt.value, c.name, c.got, c.want)
			}
		}
	}
}

// TestEscapeEveryPair looks for two short values with one destination.
func TestEscapeEveryPair(t *testing.T) {
	const alphabet = "_x5f.%2~-A \x00\xff"
	values := []string{""}
	for range 4 {
		for _, v := range slices.Clip(values) {
			for i := range len(alphabet) {
				values = append(values, v+alphabet[i:i+1])
			}
		}
	}
	for name, x := range map[string]*escaping{
		"subject": &subjectEscaping, "kafka": &kafkaEscaping, "url": &urlEscaping, "header": &headerEscaping,
	} {
		seen := make(map[string]string)
		for _, v := range values {
			got := string(appendValue(nil, v, x, x.limit))
			if x == &headerEscaping {
				got = string(appendHeaderValue(nil, v))
			}
			if other, ok := seen[got]; ok && other != v {
				t.Fatalf("%s: %q and %q both become %q", name, other, v, got)
			}
			seen[got] = v
		}
	}
}

func TestEscapeCut(t *testing.T) {
	long := strings.Repeat("a", 5000)
	for name, x := range map[string]*escaping{
		"subject": &subjectEscaping, "kafka": &kafkaEscaping, "url": &urlEscaping, "header": &headerEscaping,
	} {
		fit := strings.Repeat("a", x.limit)
		if got := string(appendValue(nil, fit, x, x.limit)); got != fit {
			t.Errorf("%s: a value of just the limit was changed to %q", name, got)
		}
		seen := make(map[string]string)
		for _, v := range []string{fit + "a", fit + "b", long, long + "x", strings.Repeat(".", 4000), strings.Repeat("\x00", x.limit/3+1)} {
			got := string(appendValue([]byte("keep"), v, x, x.limit))
			rest, ok := strings.CutPrefix(got, "keep")
			if !ok || len(rest) > x.limit {
				t.Errorf("%s: %.20q has %d bytes, want at most %d", name, v, len(rest), x.limit)
			}
			if _, whole := unescape(rest, x); whole && x != &urlEscaping {
				t.Errorf("%s: what was cut, %q, reads like a whole value", name, rest)
			}
			if other, ok := seen[rest]; ok {
				t.Errorf("%s: %.20q and %.20q both become %q", name, other, v, rest)
			}
			seen[rest] = v
		}
	}
	topic := strings.Repeat("a.b_.", 1000)
	got := string(appendSegments([]byte("keep."), []byte(topic)))
	if !legalSubject(got) || len(got) > len("keep.")+maxSubjectTopic || !strings.HasPrefix(got, "keep.a.b_.a") {
		t.Errorf("a long topic became %q", got)
	}
	if other := string(appendSegments([]byte("keep."), []byte(topic+"c"))); other == got {
		t.Errorf("two long topics both became %q", got)
	}
	dots := string(appendSegments(nil, []byte(strings.Repeat(".", 1<<20))))
	if !legalSubject(dots) || len(dots) > maxSubjectTopic {
		t.Errorf("a topic of dots became %d bytes: %.50q", len(dots), dots)
	}
}
