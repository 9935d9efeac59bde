package config

import (
	"fmt"
	"os"
	"strings"
)

// Variables of the configuration without a file.
const (
	apiKeyVariable = "CYCLE_API_KEY"
	hubIDVariable  = "CYCLE_HUB_ID"
)

// fromVariables makes the tree of a configuration without a file: one hub, as
// the CYCLE_* variables describe it. An empty variable counts as not set.
func fromVariables(env environment, ps *problems) *node {
	hub := &node{kind: mappingNode}
	filter := &node{kind: mappingNode}
	value := func(to *node, key, variable, text string) {
		to.pairs = append(to.pairs, pair{key: key, value: &node{text: text, literal: true, variable: variable}})
	}
	for _, s := range []struct {
		to            *node
		key, variable string
	}{
		{hub, "id", hubIDVariable},
		{hub, "api_key", apiKeyVariable},
		{hub, "api_key_file", apiKeyVariable + "_FILE"},
		{hub, "api_url", "CYCLE_API_URL"},
		{hub, "connections", "CYCLE_CONNECTIONS"},
		{filter, "topic", "CYCLE_FILTER_TOPIC"},
	} {
		text := env[s.variable]
		if s.variable == apiKeyVariable {
			text = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "Bearer "))
		}
		if text != "" {
			value(s.to, s.key, s.variable, text)
		}
	}
	for _, s := range []struct{ key, variable string }{
		{"containers", "CYCLE_FILTER_CONTAINERS"},
		{"environments", "CYCLE_FILTER_ENVIRONMENTS"},
		{"clusters", "CYCLE_FILTER_CLUSTERS"},
	} {
		list := &node{kind: listNode, variable: s.variable}
		for item := range strings.SplitSeq(env[s.variable], ",") {
			if item = strings.TrimSpace(item); item != "" {
				list.items = append(list.items, &node{text: item, literal: true, variable: s.variable})
			}
		}
		if len(list.items) > 0 {
			filter.pairs = append(filter.pairs, pair{key: s.key, value: list})
		}
	}
	hub.pairs = append(hub.pairs, pair{key: "filter", value: filter})
	missingVariables(env, ps)
	hubs := &node{kind: listNode, items: []*node{hub}}
	return &node{kind: mappingNode, pairs: []pair{{key: "hubs", value: hubs}}}
}

func missingVariables(env environment, ps *problems) {
	noKey := env[apiKeyVariable] == "" && env[apiKeyVariable+"_FILE"] == ""
	noHub := env[hubIDVariable] == ""
	if noKey && noHub {
		places := searchPaths(env)
		if wd, err := os.Getwd(); err == nil {
			places[0] = wd + string(os.PathSeparator) + places[0]
		}
		ps.add(Problem{Text: fmt.Sprintf("there is no configuration: name a file with -c or %s, or write one of %s, or set %s and %s",
			fileVariable, strings.Join(places, ", "), apiKeyVariable, hubIDVariable)})
	}
	if noKey {
		ps.add(Problem{Variable: apiKeyVariable, Key: "hubs[0].api_key", Text: fmt.Sprintf(
			"is not set, nor is %s_FILE: want an API key with the capability apionly-notifications-listen", apiKeyVariable)})
	}
	if noHub {
		ps.add(Problem{Variable: hubIDVariable, Key: "hubs[0].id", Text: "is not set: want the hub's id (Hub settings in the portal)"})
	}
}
