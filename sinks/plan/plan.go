// Package plan is the part of a sink's configuration that several sinks have:
// routes, formats and where to begin.
package plan

import (
	"errors"
	"fmt"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Mistakes compiles the plan and returns every mistake at its key in the
// sink's configuration. destination is the key that holds a destination there:
// subject, topic or url.
func Mistakes(p bridge.Plan, destination string) []setting.Mistake {
	var out []setting.Mistake
	if p.From != "" {
		out = setting.OneOf("from", p.From, "start", "now")
	}
	_, err := bridge.NewRouter(p, nil)
	for _, err := range unjoin(err) {
		route, ok := errors.AsType[*bridge.RouteError](err)
		if !ok {
			out = append(out, setting.Mistake{Key: "route", Text: err.Error()})
			continue
		}
		key := route.Field
		if key == "destination" {
			key = destination
		}
		if route.Rule >= 0 {
			key = fmt.Sprintf("route[%d].%s", route.Rule, key)
		}
		out = append(out, setting.Mistake{Key: key, Text: route.Err.Error()})
	}
	return out
}

// unjoin takes apart what errors.Join has put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// SubjectRoute is one rule of a sink that publishes to NATS subjects.
type SubjectRoute struct {
	Match   string `yaml:"match" doc:"pattern over the topic: * one segment, > the rest"`
	When    string `yaml:"when" doc:"condition in CEL; not available in this version"`
	Subject string `yaml:"subject" doc:"template of the subject; empty: the sink's"`
	Key     string `yaml:"key" doc:"template of the key; empty: the sink's"`
	Format  string `yaml:"format" doc:"raw or envelope; empty: the sink's"`
}

// SubjectRules returns the rules that routes stand for.
func SubjectRules(routes []SubjectRoute) []bridge.Rule {
	var out []bridge.Rule
	for _, r := range routes {
		out = append(out, bridge.Rule{
			Match: r.Match, When: r.When, Destination: r.Subject, Key: r.Key, Format: r.Format,
		})
	}
	return out
}
