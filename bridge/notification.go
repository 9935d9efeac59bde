package bridge

// Field is a member of a notification that routes can use.
type Field uint8

// The fields of a notification. List members give their first element.
const (
	FieldTopic Field = iota
	FieldObject
	FieldState
	FieldStatePrevious
	FieldError
	FieldHub
	FieldAccount
	FieldLabel
	FieldEnvironment
	FieldCluster
	FieldContainer
	FieldDNSZone
	FieldVirtualMachine
	numFields
)

// Notification is the parsed view of a notification's raw bytes. The zero
// value is that of a frame that is not a notification: every field is empty.
// It is immutable and refers to the raw bytes, which must not change while it
// is in use. It may be used concurrently.
//
// Slices that the methods return are read-only views and nil where the member
// is absent, null, empty, or of another type than the protocol says.
type Notification struct {
	raw     []byte
	spans   [numFields]span
	extra   []byte // values that had escapes, decoded
	escaped uint16 // bit f: span f is in extra
	dup     bool
}

type span struct{ start, end uint32 }

// Parsed reports whether n comes from a JSON object with a topic.
func (n *Notification) Parsed() bool {
	return n.spans[FieldTopic].end > n.spans[FieldTopic].start
}

// Duplicates reports whether a member that is read here stood in the
// notification more than once. The last one counts, as in encoding/json; other
// readers of the same bytes may take the first.
func (n *Notification) Duplicates() bool { return n.dup }

// Field returns the value of a field, with JSON escapes decoded.
func (n *Notification) Field(f Field) []byte {
	if f >= numFields {
		return nil
	}
	s := n.spans[f]
	if s.start == s.end {
		return nil
	}
	if n.escaped&(1<<f) != 0 {
		return n.extra[s.start:s.end:s.end]
	}
	return n.raw[s.start:s.end:s.end]
}

// Topic returns topic. It is never empty in a parsed notification.
func (n *Notification) Topic() []byte { return n.Field(FieldTopic) }

// Object returns object.id.
func (n *Notification) Object() []byte { return n.Field(FieldObject) }

// State returns object.state.
func (n *Notification) State() []byte { return n.Field(FieldState) }

// StatePrevious returns object.state_previous.
func (n *Notification) StatePrevious() []byte { return n.Field(FieldStatePrevious) }

// Error returns object.error.
func (n *Notification) Error() []byte { return n.Field(FieldError) }

// Hub returns context.hub_id as the payload has it. What is trusted is the
// event's Source.
func (n *Notification) Hub() []byte { return n.Field(FieldHub) }

// Account returns context.account_id.
func (n *Notification) Account() []byte { return n.Field(FieldAccount) }

// Label returns context.label.
func (n *Notification) Label() []byte { return n.Field(FieldLabel) }

// Environment returns context.environments[0].
func (n *Notification) Environment() []byte { return n.Field(FieldEnvironment) }

// Cluster returns context.clusters[0], which is a name, not an id.
func (n *Notification) Cluster() []byte { return n.Field(FieldCluster) }

// Container returns context.containers[0].
func (n *Notification) Container() []byte { return n.Field(FieldContainer) }

// DNSZone returns context.dns_zones[0].
func (n *Notification) DNSZone() []byte { return n.Field(FieldDNSZone) }

// VirtualMachine returns context.virtual_machines[0].
func (n *Notification) VirtualMachine() []byte { return n.Field(FieldVirtualMachine) }
