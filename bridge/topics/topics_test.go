package topics

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	all := All()
	if got, want := len(all), 236; got != want {
		t.Errorf("%d topics, want %d", got, want)
	}
	// facts/protocols.md §1.4: segments of [a-z_-], 2 to 5 of them, at most
	// 51 characters; one old entry is a wildcard.
	grammar := regexp.MustCompile(`^[a-z_-]+(\.[a-z_-]+){1,4}$`)
	seen := make(map[string]bool)
	for _, topic := range all {
		if seen[topic.Name] {
			t.Errorf("topic %s stands twice", topic.Name)
		}
		seen[topic.Name] = true
		if name := strings.Replace(topic.Name, "*", "x", 1); !grammar.MatchString(name) || len(name) > 51 {
			t.Errorf("topic %q is not of the known form", topic.Name)
		}
		if topic.Kind == "" {
			t.Errorf("topic %s has no kind", topic.Name)
		}
		if topic.RESTPath != "" && !strings.HasPrefix(topic.RESTPath, "GET /v1/") {
			t.Errorf("topic %s: REST path %q", topic.Name, topic.RESTPath)
		}
		if strings.HasPrefix(topic.Name, "bridge.") {
			t.Errorf("topic %s is one of the bridge's own", topic.Name)
		}
	}
	if !slices.IsSortedFunc(all, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the topics are not sorted")
	}
}

// TestListedTopics has a few of each list in facts/protocols.md §1.4.
func TestListedTopics(t *testing.T) {
	for _, name := range []string{
		"container.new", "container.created", "container.instance.health.status.changed", "dns.zone.certificate.ready",
		"environment.services.vpn.users.updated", "event.pushed", "ips_pool.reconfigured", "virtual-machine.ssh-key.new",
		"internal.service.compute.connected", "infrastructure.provider.*", "secret.error", "stack.build.deployed",
	} {
		if topic, ok := Lookup(name); !ok || topic.Name != name {
			t.Errorf("Lookup(%q) = %q, %v", name, topic.Name, ok)
		}
	}
	for _, name := range []string{"", "container", "container.state.change", "zzz.new"} {
		if topic, ok := Lookup(name); ok || topic != (Topic{}) {
			t.Errorf("Lookup(%q) = %+v, %v, want none", name, topic, ok)
		}
	}
}

func TestOwnership(t *testing.T) {
	All()[0].Name = "changed"
	Names()[0] = "changed"
	if got := All()[0].Name; got != Names()[0] || got == "changed" {
		t.Errorf("the first topic is %q after a caller changed its slice", got)
	}
}

func TestParseRefuses(t *testing.T) {
	header := strings.Join(columns, ",") + "\n"
	for name, text := range map[string]string{
		"empty":         "",
		"other columns": "topic,kind\n",
		"short row":     header + "a.b,c\n",
		"open quote":    header + "\"a.b,c,d,e,f,g\n",
	} {
		if got, err := parse(text); err == nil {
			t.Errorf("%s: parse gave %v, want an error", name, got)
		}
	}
	if got, err := parse(header + "b.c,k,,,,\na.b,k,,,,\n"); err != nil || len(got) != 2 || got[0].Name != "a.b" {
		t.Errorf("parse = %v, %v, want two rows sorted", got, err)
	}
}
