package bridge

import (
	"crypto/sha256"
	"encoding/hex"
)

// Values from payloads become parts of addresses, so they are escaped: byte by
// byte, into letters that cannot mean anything there, and injectively, so that
// two values never share a destination.
//
//	subject token   A-Z a-z 0-9 - _ stand for themselves, all else is %XX
//	Kafka topic     A-Z a-z 0-9 . - _ stand for themselves, all else is _xXX
//	URL             A-Z a-z 0-9 . - _ stand for themselves, all else is %XX
//	header value    printable ASCII stands for itself but for % and a space at
//	                either end, all else is %XX
//
// In subjects and Kafka topics "_" alone means that there is no value, and a
// leading "_" is escaped: that keeps a value "_" apart from none, and keeps
// values out of _INBOX and __consumer_offsets. In a Kafka topic "_" is escaped
// where an "x" follows. The values "." and ".." have their first dot escaped
// in Kafka topics and both in URLs. What comes out longer than the limit is cut and
// ends in a marker that no escape begins with, and 128 bits of the value's SHA-256.
type escaping struct {
	class     byte // bit in byteClass: stands for itself
	intro     string
	digits    string
	marker    string // before the hash of a value that was cut
	missing   string // for no value
	limit     int    // bytes of the escaped value
	leading   bool   // a leading _ is escaped
	dots      bool   // values of one or two dots are escaped
	allDots   bool   // ... every dot of them
	following byte   // a _ is escaped before this byte
}

const hashLen = 32 // hex digits of the hash of a value that was cut

// Limits of escaped values. A subject has to fit a NATS protocol line
// (max_control_line, 4096 bytes by default); a Kafka topic has 249 bytes (Kafka,
// org.apache.kafka.common.internals.Topic); a URL and headers a few thousand.
const (
	maxSubjectValue = 200
	maxSubjectTopic = 400
	maxSubject      = 3072
	maxKafkaValue   = 200
	maxKafkaTopic   = 249
	maxURLValue     = 1024
	maxHeaderValue  = 1024
)

var (
	subjectEscaping = escaping{
		class: subjectByte, intro: "%", digits: "0123456789ABCDEF", marker: "%-",
		missing: "_", limit: maxSubjectValue, leading: true,
	}
	kafkaEscaping = escaping{
		class: kafkaByte, intro: "_x", digits: "0123456789abcdef", marker: "_x-",
		missing: "_", limit: maxKafkaValue, leading: true, dots: true, following: 'x',
	}
	urlEscaping = escaping{
		class: urlByte, intro: "%", digits: "0123456789ABCDEF", marker: "~",
		limit: maxURLValue, dots: true, allDots: true,
	}
	headerEscaping = escaping{
		class: headerByte, intro: "%", digits: "0123456789ABCDEF", marker: "%-", limit: maxHeaderValue,
	}
)

// Bits of byteClass: where a byte stands for itself.
const (
	subjectByte = 1 << iota
	kafkaByte
	urlByte
	headerByte
)

var byteClass = makeByteClass()

func makeByteClass() (class [256]byte) {
	for c := range class {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-':
			class[c] = subjectByte | kafkaByte | urlByte | headerByte
		case c == '_':
			class[c] = subjectByte | kafkaByte | urlByte | headerByte
		case c == '.':
			class[c] = kafkaByte | urlByte | headerByte
		case ' ' <= c && c <= '~' && c != '%':
			class[c] = headerByte
		}
	}
	return class
}

func (x *escaping) appendByte(dst []byte, c byte) []byte {
	dst = append(dst, x.intro...)
	return append(dst, x.digits[c>>4], x.digits[c&15])
}

// appendValue appends the escaped value, at most limit bytes, or what stands
// for none.
func appendValue[T ~string | ~[]byte](dst []byte, v T, x *escaping, limit int) []byte {
	if len(v) == 0 {
		return append(dst, x.missing...)
	}
	start, i := len(dst), 0
	switch {
	case x.leading && v[0] == '_':
		dst = x.appendByte(dst, '_')
		i = 1
	case x.dots && v[0] == '.' && (len(v) == 1 || len(v) == 2 && v[1] == '.'):
		dst = x.appendByte(dst, '.')
		if x.allDots && len(v) == 2 {
			return x.appendByte(dst, '.')
		}
		i = 1
	}
	// Most values need nothing, and are copied as a whole.
	if i == 0 && len(v) <= limit {
		for i < len(v) && byteClass[v[i]]&x.class != 0 && (v[i] != '_' || x.following == 0) {
			i++
		}
		dst = append(dst, v[:i]...)
	}
	for ; i < len(v); i++ {
		c := v[i]
		if byteClass[c]&x.class == 0 || c == '_' && x.following != 0 && i+1 < len(v) && v[i+1] == x.following {
			dst = x.appendByte(dst, c)
		} else {
			dst = append(dst, c)
		}
		if len(dst)-start > limit {
			break
		}
	}
	if len(dst)-start > limit {
		return appendCut(dst[:start], dst[start:], []byte(v), x, limit)
	}
	return dst
}

// appendCut appends the beginning of escaped and the hash of whole to dst,
// together limit bytes. escaped may be what follows dst in the same array.
func appendCut(dst, escaped, whole []byte, x *escaping, limit int) []byte {
	sum := sha256.Sum256(whole)
	dst = append(dst, escaped[:limit-len(x.marker)-hashLen]...)
	dst = append(dst, x.marker...)
	return hex.AppendEncode(dst, sum[:hashLen/2])
}

// appendSegments appends a topic to a subject, one token a segment.
func appendSegments(dst, topic []byte) []byte {
	x := &subjectEscaping
	start := len(dst)
	for i := 0; ; {
		end := i
		for end < len(topic) && topic[end] != '.' {
			end++
		}
		dst = appendValue(dst, topic[i:end], x, maxSubjectTopic)
		if len(dst)-start > maxSubjectTopic {
			return appendCut(dst[:start], dst[start:], topic, x, maxSubjectTopic)
		}
		if end == len(topic) {
			return dst
		}
		dst = append(dst, '.')
		i = end + 1
	}
}

// appendHeaderValue appends a header value in which nothing can end the header.
func appendHeaderValue[T ~string | ~[]byte](dst []byte, v T) []byte {
	start := len(dst)
	dst = appendValue(dst, v, &headerEscaping, maxHeaderValue)
	// NATS and HTTP trim values.
	if len(dst) > start && dst[len(dst)-1] == ' ' {
		dst = headerEscaping.appendByte(dst[:len(dst)-1], ' ')
	}
	if len(dst) > start && dst[start] == ' ' {
		dst = append(dst, "  "...)
		copy(dst[start+3:], dst[start+1:len(dst)-2])
		copy(dst[start:], "%20")
	}
	return dst
}
