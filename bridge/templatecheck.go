package bridge

import (
	"net/url"
	"strings"
)

// checkText checks a text in quotes, which must be one legal piece.
func (t *Template) checkText(text string, at int) error {
	switch {
	case t.kind == DestinationNone:
		return nil
	case text == "":
		return syntaxErrorf(t.text, at, "empty text")
	}
	for i := range len(text) {
		if byteClass[text[i]]&t.x.class == 0 {
			return syntaxErrorf(t.text, at+1+i, "%q cannot stand in a %s", text[i], t.kind)
		}
	}
	if t.kind != DestinationSubject && (text == "." || text == "..") {
		return syntaxErrorf(t.text, at, "%q alone cannot stand in a %s", text, t.kind)
	}
	return nil
}

// check checks the literal text, so that no event can make an illegal
// destination. A placeholder is never empty but in a key and a URL.
func (t *Template) check() error {
	switch t.kind {
	case DestinationSubject:
		return t.checkSubject()
	case DestinationKafka:
		return t.checkKafka()
	case DestinationURL:
		return t.checkURL()
	default:
		return nil
	}
}

func (t *Template) checkSubject() error {
	if strings.HasPrefix(t.text, "$") {
		return syntaxErrorf(t.text, 0, "subjects that begin with $ belong to the NATS server")
	}
	longest, empty := 0, true // empty: the token so far
	for i := range t.parts {
		part := &t.parts[i]
		for j := range len(part.literal) {
			switch c := part.literal[j]; {
			case c == '.' && empty:
				return syntaxErrorf(t.text, part.at+j, "empty token")
			case c == '.':
				empty = true
				continue
			case c == '*' || c == '>':
				return syntaxErrorf(t.text, part.at+j, "wildcard %q in a subject to publish to", c)
			case c <= ' ' || c >= 0x7f:
				return syntaxErrorf(t.text, part.at+j, "a subject is made of printable ASCII without spaces")
			}
			empty = false
		}
		longest += len(part.literal)
		if part.alternatives != nil {
			empty = false
			longest += part.longest()
		}
	}
	switch {
	case empty:
		return syntaxErrorf(t.text, len(t.text), "empty token")
	case longest > maxSubject:
		return syntaxErrorf(t.text, 0, "the subject could become %d bytes long, a NATS server takes about %d", longest, maxSubject)
	}
	return nil
}

// longest returns how long a placeholder's part of a subject can become.
func (part *templatePart) longest() int {
	n := maxSubjectValue
	for i := range part.alternatives {
		switch p := &part.alternatives[i]; p.what {
		case whatText:
			n = max(n, len(p.text))
		case whatTopic:
			n = max(n, maxSubjectTopic)
		}
	}
	return n + len("%62") // of a topic that pretends
}

func (t *Template) checkKafka() error {
	length := 0
	for i := range t.parts {
		part := &t.parts[i]
		for j := range len(part.literal) {
			if byteClass[part.literal[j]]&kafkaByte == 0 {
				return syntaxErrorf(t.text, part.at+j, "a Kafka topic is made of letters, digits, '.', '_' and '-'")
			}
		}
		length += len(part.literal)
	}
	switch {
	case length > maxKafkaTopic:
		return syntaxErrorf(t.text, 0, "a Kafka topic has at most %d characters", maxKafkaTopic)
	case t.text == "." || t.text == "..":
		return syntaxErrorf(t.text, 0, "%q is not a Kafka topic", t.text)
	}
	return nil
}

// checkURL makes sure that no value can choose the host.
func (t *Template) checkURL() error {
	for i := range t.parts {
		part := &t.parts[i]
		for j := range len(part.literal) {
			switch c := part.literal[j]; {
			case c <= ' ' || c >= 0x7f:
				return syntaxErrorf(t.text, part.at+j, "a URL is made of printable ASCII without spaces")
			case c == '#':
				return syntaxErrorf(t.text, part.at+j, "# has no meaning for a server")
			}
		}
	}
	first := t.parts[0].literal
	scheme, rest, ok := strings.Cut(first, "://")
	if !ok || scheme != "https" && scheme != "http" {
		return syntaxErrorf(t.text, 0, "a URL begins with https:// or http://")
	}
	if !strings.ContainsAny(rest, "/?") && len(first) < len(t.text) {
		return syntaxErrorf(t.text, len(first), "a placeholder cannot be part of the host: end that with a /")
	}
	switch u, err := url.Parse(first); {
	case err != nil || u.Host == "":
		return syntaxErrorf(t.text, len(scheme)+len("://"), "not a URL with a host")
	case u.User != nil:
		return syntaxErrorf(t.text, len(scheme)+len("://"), "a URL carries no user and password")
	}
	return nil
}
