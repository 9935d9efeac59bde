package natsconn

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/nats-io/nats.go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// maxSubject keeps subject, reply and sizes inside the server's control line
// (4096 bytes), beyond which it closes the connection for good.
const maxSubject = 3 << 10

// Message builds NATS messages from a bridge's, without allocating as long
// as they carry the same header names, which is what they do. It is for one
// goroutine. The zero value is ready.
//
// The result of Build is valid until the next Build and must be handed to
// PublishMsg only, which copies everything before it returns: headers and
// data refer to the slices of the bridge's message.
type Message struct {
	msg    nats.Msg
	names  []string
	values [][]string // values[i] is msg.Header[names[i]]
	n      int
	size   int
}

// Reset begins a message.
func (m *Message) Reset(subject, reply string, payload []byte) {
	m.msg.Subject, m.msg.Reply, m.msg.Data = subject, reply, payload
	m.n = 0
	m.size = 0
}

// Set adds a header. A name is set at most once a message.
func (m *Message) Set(name, value string) {
	m.size += len(name) + len(value) + 4
	if m.n < len(m.names) && m.names[m.n] == name {
		m.values[m.n][0] = value
		m.n++
		return
	}
	m.truncate(m.n)
	if m.msg.Header == nil {
		m.msg.Header = nats.Header{}
	}
	v := []string{value}
	m.names, m.values = append(m.names, name), append(m.values, v)
	m.msg.Header[name] = v
	m.n++
}

// SetBytes is Set without copying value, which must not change before the
// message was published.
func (m *Message) SetBytes(name string, value []byte) {
	m.Set(name, unsafe.String(unsafe.SliceData(value), len(value)))
}

// Has reports whether the header was set since Reset.
func (m *Message) Has(name string) bool {
	return slices.Contains(m.names[:m.n], name)
}

// Get returns the value of a header that was set since Reset, or "".
func (m *Message) Get(name string) string {
	for i, n := range m.names[:m.n] {
		if n == name {
			return m.values[i][0]
		}
	}
	return ""
}

// SetHeaders adds all headers of a bridge's message.
func (m *Message) SetHeaders(headers []bridge.Header) {
	for i := range headers {
		m.SetBytes(headers[i].Name, headers[i].Value)
	}
}

// Size returns the bytes that the server counts: headers and payload. It is
// exact, or a little more than exact where values have white space around them.
func (m *Message) Size() int {
	if m.n == 0 {
		return len(m.msg.Data)
	}
	return m.size + len("NATS/1.0\r\n\r\n") + len(m.msg.Data)
}

// Build returns the message.
func (m *Message) Build() *nats.Msg {
	m.truncate(m.n)
	return &m.msg
}

// truncate drops the headers of the message before that this one has not.
func (m *Message) truncate(n int) {
	for _, name := range m.names[n:] {
		delete(m.msg.Header, name)
	}
	m.names, m.values = m.names[:n], m.values[:n]
}

// CheckSubject returns a KindRejected error for a subject that a server would
// refuse in a way that hurts: by closing the connection, or by storing what
// nobody can subscribe to.
func CheckSubject(op, subject string) error {
	if len(subject) > maxSubject {
		return bridge.Errorf(bridge.KindRejected, op, "subject of %d bytes: more than %d", len(subject), maxSubject)
	}
	prev := byte('.')
	for i := range len(subject) {
		c := subject[i]
		if c <= ' ' || c == '*' || c == '>' || c == 0x7f || c == '.' && prev == '.' {
			return bridge.Errorf(bridge.KindRejected, op, "subject %s is not valid", clip(subject))
		}
		prev = c
	}
	if prev == '.' {
		return bridge.Errorf(bridge.KindRejected, op, "subject %s is not valid", clip(subject))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q...", s[:80])
	}
	return fmt.Sprintf("%q", s)
}
