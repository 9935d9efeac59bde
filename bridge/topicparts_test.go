package bridge

import (
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

// kinds are the resource stems of facts/protocols.md §1.4, and those of the
// older topics in hub-topics.csv.
var kinds = []string{
	"billing.credit", "billing.discount", "billing.invoice", "billing.method", "billing.order", "billing.service",
	"container", "container.backup", "container.instance", "container.instances", "dns.certificate", "dns.zone",
	"dns.zone.record", "dns.zone.records", "environment", "environment.pod", "environment.scoped-variable",
	"environment.services", "environment.deployments", "event", "hub.activity", "hub", "hub.location", "hub.api_key",
	"hub.membership", "hub.role", "hub.integration", "image", "image.source", "infrastructure.external-volumes",
	"infrastructure.ips.assignment", "infrastructure.virtual-providers.iso", "ips_pool", "infrastructure.cluster",
	"infrastructure.provider", "infrastructure.server", "infrastructure.autoscale.group", "internal.service.compute",
	"job", "pipeline", "pipeline.key", "pipeline.run", "sdn.network", "secret", "stack", "stack.build",
	"virtual-machine", "virtual-machine.ssh-key",
}

func TestTopicPartsKnown(t *testing.T) {
	unused := make(map[string]bool)
	for _, k := range kinds {
		unused[k] = true
	}
	stems := make(map[string]string) // object kind of the table -> kind
	for _, topic := range topics.All() {
		_, kind, action := TopicParts(topic.Name)
		if kind+"."+action != topic.Name {
			t.Errorf("%s: kind %q, action %q", topic.Name, kind, action)
		}
		if _, ok := unused[kind]; !ok {
			t.Errorf("%s: kind %q is none of the known", topic.Name, kind)
		}
		unused[kind] = false
		// One kind of object has one kind of topic, but for the services of
		// an environment, which the table tells apart.
		if other, ok := stems[topic.Kind]; ok && other != kind {
			t.Errorf("%s (%s): kind %q, elsewhere %q", topic.Name, topic.Kind, kind, other)
		}
		stems[topic.Kind] = kind
	}
	for k, still := range unused {
		if still {
			t.Errorf("no topic has the kind %q", k)
		}
	}
}

func TestTopicParts(t *testing.T) {
	for _, tt := range []struct{ topic, family, kind, action string }{
		{"container.instance.state.changed", "container", "container.instance", "state.changed"},
		{"container.desired_state.changed", "container", "container", "desired_state.changed"},
		{"container.instance.health.status.changed", "container", "container.instance", "health.status.changed"},
		{"infrastructure.provider.*", "infrastructure", "infrastructure.provider", "*"},
		{"environment.services.lb.ips.modified", "environment", "environment.services", "lb.ips.modified"},
		{"virtual-machine.ips.modified", "virtual-machine", "virtual-machine", "ips.modified"},
		{"bridge.sink.overrun", "bridge", "bridge.sink", "overrun"},
		{"new.kind.of.thing.moved", "new", "new.kind.of.thing", "moved"},
		{"new.thing.colour.changed", "new", "new.thing", "colour.changed"},
		{"state.changed", "state", "state", "changed"},
		{"ips.modified", "ips", "ips", "modified"},
		{"one", "one", "one", ""},
		{"changed", "changed", "changed", ""},
		{"a.", "a", "a", ""},
		{".a", "", "", "a"},
	} {
		family, kind, action := TopicParts(tt.topic)
		if family != tt.family || kind != tt.kind || action != tt.action {
			t.Errorf("%q: %q, %q, %q, want %q, %q, %q", tt.topic, family, kind, action, tt.family, tt.kind, tt.action)
		}
	}
}
