package bridge

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"unicode/utf8"
)

// appendEnvelope appends the JSON object
//
//	{"id","offset","hub_id","topic","object_id","received_at","origin","flags":[…],"notification"}
//
// and, of a message that was too long to keep, "truncated":{"length","sha256"} of
// the whole. hub_id and object_id are null where there is none. notification is the raw
// bytes as they came. Of a frame that is not a JSON object, or of which only
// the beginning was kept, it is null, and "raw" holds the frame as a string,
// or "raw_base64" where it is not UTF-8: so notification is always an object
// or null, and the frame can be told byte for byte.
func (c *Encoder) appendEnvelope(dst []byte, e *Event) []byte {
	dst = append(dst, `{"id":`...)
	dst = append(dst, '"')
	dst = e.ID.Append(dst)
	dst = append(dst, `","offset":`...)
	dst = strconv.AppendUint(dst, e.ID.Offset, 10)
	dst = append(dst, `,"hub_id":`...)
	if origin(e) == OriginBridge {
		dst = appendJSONStringOrNull(dst, e.Note.Hub())
	} else {
		dst = appendJSONStringOrNull(dst, hubOf(e))
	}
	dst = append(dst, `,"topic":`...)
	topic, _ := topicOf(e)
	dst = appendJSONString(dst, topic)
	dst = append(dst, `,"object_id":`...)
	dst = appendJSONStringOrNull(dst, e.Note.Object())
	dst = append(dst, `,"received_at":"`...)
	dst = c.clock.append(dst, e.ReceivedAt)
	dst = append(dst, `","origin":`...)
	dst = appendJSONString(dst, origin(e))
	dst = append(dst, `,"flags":[`...)
	dst = appendFlagNames(dst, e.Flags)
	dst = append(dst, ']')
	if e.Cut != nil {
		dst = append(dst, `,"truncated":{"length":`...)
		dst = strconv.AppendUint(dst, e.Cut.Length, 10)
		dst = append(dst, `,"sha256":"`...)
		dst = hex.AppendEncode(dst, e.Cut.SHA256[:])
		dst = append(dst, `"}`...)
	}
	dst = append(dst, `,"notification":`...)
	dst = appendFrame(dst, e)
	return append(dst, '}')
}

func appendFlagNames(dst []byte, f Flags) []byte {
	first := true
	for _, s := range shownFlags {
		if f&s.flag == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, '"')
		dst = append(dst, s.name...)
		dst = append(dst, '"')
	}
	return dst
}

func appendFrame(dst []byte, e *Event) []byte {
	switch {
	case e.Note.Parsed() && e.Flags&FlagTruncated == 0 || isObject(e.Raw):
		return append(dst, e.Raw...)
	case utf8.Valid(e.Raw):
		dst = append(dst, `null,"raw":`...)
		return appendJSONString(dst, e.Raw)
	default:
		dst = append(dst, `null,"raw_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Raw)
		return append(dst, '"')
	}
}

// isObject reports whether a frame is a JSON object that nests no deeper than
// notifications may.
func isObject(raw []byte) bool {
	s := scanner{b: raw}
	s.space()
	if s.peek() != '{' || !s.value(0) {
		return false
	}
	s.space()
	return s.i == len(raw)
}

const lowerHex = "0123456789abcdef"

// appendJSONString appends valid UTF-8 as a JSON string; what is not valid
// becomes U+FFFD.
func appendJSONString[T ~string | ~[]byte](dst []byte, v T) []byte {
	dst = append(dst, '"')
	i := 0
	for i < len(v) && ' ' <= v[i] && v[i] < 0x7f && v[i] != '"' && v[i] != '\\' {
		i++
	}
	dst = append(dst, v[:i]...) // as a rule all of it
	for i < len(v) {
		c := v[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, `\u00`...)
			dst = append(dst, lowerHex[c>>4], lowerHex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRuneInString(string(v[i:min(len(v), i+utf8.UTFMax)]))
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}

func appendJSONStringOrNull[T ~string | ~[]byte](dst []byte, v T) []byte {
	if len(v) == 0 {
		return append(dst, "null"...)
	}
	return appendJSONString(dst, v)
}
