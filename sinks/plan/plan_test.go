package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/sinks/plan"
)

func TestMistakesAreAllTheirKeys(t *testing.T) {
	p := bridge.Plan{
		Kind: bridge.DestinationKafka, Destination: "cycle.{famly}", Format: "rwa",
		Rules: []bridge.Rule{
			{Match: "container.>", Destination: "ok"},
			{Match: "a..b", Key: "{nonsense}"},
			{Match: ">", Destination: "has space", When: "true"},
		},
	}
	var got []string
	for _, m := range plan.Mistakes(p, "topic") {
		got = append(got, m.Key)
		if m.Text == "" {
			t.Errorf("%s: no text", m.Key)
		}
	}
	want := []string{"topic", "format", "route[1].match", "route[1].key", "route[2].when", "route[2].topic"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNoMistakes(t *testing.T) {
	p := bridge.Plan{Kind: bridge.DestinationSubject, Destination: "cycle.{hub}.{topic}"}
	if got := plan.Mistakes(p, "subject"); got != nil {
		t.Errorf("got %v, want none", got)
	}
}
