package bridge

import (
	"fmt"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
)

// benchEvents returns events of 400 to 600 bytes over 500 objects and every
// known topic.
func benchEvents(tb testing.TB) []Event {
	tb.Helper()
	names := topics.Names()
	src := &Source{Origin: OriginHub, ID: "5f1f1f1f1f1f1f1f1f1f1f1f", Name: "production"}
	events := make([]Event, 1000)
	for i := range events {
		object := fmt.Sprintf("651586fca6078e98982d%04x", i%500)
		raw := fmt.Appendf(nil, `{"topic":%q,"object":{"id":%q,"state":"running","state_previous":"starting"},"context":{"label":"a label of some length, as people write them",`+
			`"hub_id":"5f1f1f1f1f1f1f1f1f1f1f1f","account_id":"5f2f2f2f2f2f2f2f2f2f2f2f","environments":["651586fca6078e98982dbd91","651586fca6078e98982dbd92"],`+
			`"dns_zones":null,"clusters":["production"],"containers":[%q],"virtual_machines":null},"flags":null,"annotations":{"health":"healthy","ready":"ready"}}`,
			names[i%len(names)], object, object)
		note, err := ParseNotification(raw)
		if err != nil {
			tb.Fatal(err)
		}
		events[i] = Event{ID: ID{Epoch: "k3v9q0x7m2", Offset: uint64(i + 184467)}, ReceivedAt: 1_772_600_767_000_000_000 + int64(i)*1e5, Source: src, Raw: raw, Note: note}
	}
	return events
}

func BenchmarkParse(b *testing.B) {
	events := benchEvents(b)
	size := 0
	for i := range events {
		size += len(events[i].Raw)
	}
	b.SetBytes(int64(size / len(events)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := ParseNotification(events[i%len(events)].Raw); err != nil {
			b.Fatal(err)
		}
	}
}

func benchPlan(rules int) Plan {
	plan := Plan{Kind: DestinationSubject, Destination: "cycle.{hub}.{object}.{topic}"}
	for i := range rules - 1 {
		plan.Rules = append(plan.Rules, Rule{Match: fmt.Sprintf("other%d.*.>", i)})
	}
	plan.Rules = append(plan.Rules, Rule{Match: ">"})
	return plan
}

func BenchmarkRouteEncode(b *testing.B) {
	for _, format := range []Format{FormatRaw, FormatEnvelope} {
		for _, rules := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/routes=%d", format, rules), func(b *testing.B) {
				plan := benchPlan(rules)
				plan.Format = format.String()
				events := benchEvents(b)
				router, enc := mustRouter(b, plan), NewEncoder("j0urnal")
				msgs := make([]Message, len(events))
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					at := i % len(events)
					if at == 0 {
						enc.Reset()
					}
					f, ok := router.Target(&events[at], &msgs[at])
					if !ok {
						b.Fatal("not routed")
					}
					enc.Encode(&events[at], f, &msgs[at])
				}
			})
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	for _, t := range []struct {
		name, text string
		kind       DestinationKind
	}{
		{"subject", "cycle.{hub}.{object}.{topic}", DestinationSubject},
		{"kafka", "cycle.{family}", DestinationKafka},
		{"key", DefaultKey, DestinationNone},
		{"path", "{$.context.environments[0]}", DestinationSubject},
	} {
		b.Run(t.name, func(b *testing.B) {
			tmpl, err := ParseTemplate(t.text, t.kind)
			if err != nil {
				b.Fatal(err)
			}
			events := benchEvents(b)
			dst := make([]byte, 0, 1024)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				dst = tmpl.Append(dst[:0], &events[i%len(events)])
			}
		})
	}
}

// TestSteadyStateAllocations: an event costs no memory once the caches know
// its topic and destination.
func TestSteadyStateAllocations(t *testing.T) {
	events := benchEvents(t)
	for _, format := range []Format{FormatRaw, FormatEnvelope} {
		plan := benchPlan(3)
		plan.Format = format.String()
		router, enc := mustRouter(t, plan), NewEncoder("j0urnal")
		msgs := make([]Message, len(events))
		batch := func() {
			enc.Reset()
			for i := range events {
				if _, err := ParseNotification(events[i].Raw); err != nil {
					t.Fatal(err)
				}
				f, ok := router.Target(&events[i], &msgs[i])
				if !ok {
					t.Fatal("not routed")
				}
				enc.Encode(&events[i], f, &msgs[i])
			}
		}
		batch()
		if got := testing.AllocsPerRun(5, batch); got > 0 {
			t.Errorf("%s: %v allocations for %d events, want none", format, got, len(events))
		}
	}
}
