package bridge

import "bytes"

// actions are the actions of more than one segment, by their last segment.
// They are those of the known topics (facts/hub-topics.csv); what is not here
// is told by rule, so that topics nobody knows yet have a kind as well.
func longAction(last, topic []byte) int {
	var known []string
	switch string(last) {
	case "changed":
		// state.changed, desired_state.changed, evacuation.changed are the rule.
		known = []string{"health.status.changed", "readiness.status.changed"}
	case "reconfigured":
		known = []string{"traffic-drain.reconfigured", "monitoring.reconfigured"}
	case "updated":
		known = []string{"vpn.users.updated", "attachments.updated"}
	case "modified":
		known = []string{"lb.ips.modified", "ips.modified"}
	case "update":
		known = []string{"migration.update"}
	case "ready":
		known = []string{"certificate.ready"}
	case "restart":
		known = []string{"compute.restart"}
	case "started":
		known = []string{"evacuation.started"}
	case "completed":
		known = []string{"evacuation.completed"}
	}
	for _, a := range known {
		if at := len(topic) - len(a); at > 0 && topic[at-1] == '.' && string(topic[at:]) == a {
			return at
		}
	}
	return -1
}

// splitTopic divides a topic into the kind of resource and what happened to
// it: container.instance and state.changed. The action is the longest known
// one of several segments; else the last two segments when the last is
// "changed"; else the last. A topic of one segment is a kind without action,
// and the kind is never empty but where the topic begins with a dot.
func splitTopic(topic []byte) (kind, action []byte) {
	at := bytes.LastIndexByte(topic, '.')
	if at < 0 {
		return topic, nil
	}
	last := topic[at+1:]
	if long := longAction(last, topic); long > 0 {
		return topic[:long-1], topic[long:]
	}
	if string(last) == "changed" {
		if before := bytes.LastIndexByte(topic[:at], '.'); before >= 0 {
			at = before
		}
	}
	return topic[:at], topic[at+1:]
}

// TopicParts divides a topic as the placeholders {family}, {kind} and {action} do.
func TopicParts(topic string) (family, kind, action string) {
	t := []byte(topic)
	k, a := splitTopic(t)
	return string(firstSegment(t)), string(k), string(a)
}

func firstSegment(topic []byte) []byte {
	if before, _, ok := bytes.Cut(topic, []byte{'.'}); ok {
		return before
	}
	return topic
}

// unparsedTopic is what stands for the topic of a frame that has none.
var unparsedTopic = []byte(TopicUnparsed)

const bridgeFamily = "bridge"

// unparsed reports whether e is a frame that is not a notification.
func unparsed(e *Event) bool { return e.Flags&FlagUnparsed != 0 || !e.Note.Parsed() }

func origin(e *Event) string {
	if e.Source == nil {
		return OriginHub
	}
	return e.Source.Origin
}

// topicOf returns the topic that an event is routed by. pretends is true when
// it has the form of one of the bridge's own topics and is none.
func topicOf(e *Event) (topic []byte, pretends bool) {
	if unparsed(e) {
		return unparsedTopic, false
	}
	topic = e.Note.Topic()
	return topic, string(firstSegment(topic)) == bridgeFamily && origin(e) != OriginBridge
}
