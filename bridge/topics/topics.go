// Package topics is what is known of the topics of Cycle hubs: the union of
// the published lists, with the resource that each is about. A topic that is
// not here is no mistake: hubs get new ones, and the bridge passes them on.
package topics

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed hub-topics.csv
var table string

// Topic is one topic that a hub is known to send, or to have sent.
type Topic struct {
	Name       string `json:"topic"`
	Kind       string `json:"kind"`                 // what it is about, for people: "container instance"
	RESTPath   string `json:"rest_path,omitempty"`  // the request that fetches the resource; empty where there is none
	ID         string `json:"id,omitempty"`         // where the ids in RESTPath stand in the notification
	Capability string `json:"capability,omitempty"` // that an API key needs to fetch it
	Notes      string `json:"notes,omitempty"`
}

// columns of hub-topics.csv, in order.
var columns = []string{"topic", "object_kind", "rest_path", "id_in_context_or_object", "capability", "notes"}

// load reads the table once. The table is part of the program and has a test:
// a mistake in it is one of the program, and panics.
var load = sync.OnceValue(func() []Topic {
	topics, err := parse(table)
	if err != nil {
		panic(err)
	}
	return topics
})

func parse(text string) ([]Topic, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = len(columns)
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read hub-topics.csv: %w", err)
	}
	if len(rows) == 0 || !slices.Equal(rows[0], columns) {
		return nil, fmt.Errorf("read hub-topics.csv: columns are not %s", strings.Join(columns, ","))
	}
	topics := make([]Topic, 0, len(rows)-1)
	for _, row := range rows[1:] {
		topics = append(topics, Topic{
			Name: row[0], Kind: row[1], RESTPath: row[2], ID: row[3], Capability: row[4], Notes: row[5],
		})
	}
	slices.SortFunc(topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics, nil
}

// All returns every known topic, sorted by name. The slice is the caller's.
func All() []Topic { return slices.Clone(load()) }

// Names returns the names of every known topic, sorted. The slice is the caller's.
func Names() []string {
	topics := load()
	names := make([]string, len(topics))
	for i := range topics {
		names[i] = topics[i].Name
	}
	return names
}

// Lookup returns the topic of that name.
func Lookup(name string) (t Topic, ok bool) {
	topics := load()
	i, ok := slices.BinarySearchFunc(topics, name, func(t Topic, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return Topic{}, false
	}
	return topics[i], true
}
