package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/topics"
	"github.com/cycle-bridge/cycle-bridge/sinks/jetstream"
	"github.com/cycle-bridge/cycle-bridge/sinks/kafka"
)

// topicRow is what is known of a topic, and where its events go by default.
type topicRow struct {
	Topic      string `json:"topic"`
	Kind       string `json:"kind"`
	RESTPath   string `json:"rest_path,omitempty"`
	Subject    string `json:"subject"`
	KafkaTopic string `json:"kafka_topic"`
	Capability string `json:"capability,omitempty"`
	Notes      string `json:"notes,omitempty"`
}

func (a *app) topicsCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "topics [PATTERN]",
		Short: "List the known topics: kind, REST path, default subject and Kafka topic",
		Long: `List the topics that Cycle is known to send. Others pass through just the same.

  cycle-bridge topics 'container.>'
  cycle-bridge topics '*.state.changed' -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			pattern := ">"
			if len(args) > 0 {
				pattern = args[0]
			}
			rows, err := topicRows(pattern)
			if err != nil {
				return err
			}
			switch output {
			case "json":
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(rows)
			case "table":
				return a.printTopics(rows)
			}
			return usage(fmt.Errorf("unknown output %q: want table or json", output))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

func topicRows(pattern string) ([]topicRow, error) {
	match, err := bridge.ParsePattern(pattern)
	if err != nil {
		return nil, usage(fmt.Errorf("pattern: %w", err))
	}
	subject, err1 := bridge.NewRouter(jetstream.Defaults().Plan(), nil)
	topic, err2 := bridge.NewRouter(kafka.Defaults().Plan(), nil)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	rows := []topicRow{}
	for _, t := range topics.All() {
		if !match.Match([]byte(t.Name)) {
			continue
		}
		e, err := sampleEvent(t.Name)
		if err != nil {
			return nil, err
		}
		var s, k bridge.Message
		subject.Target(&e, &s)
		topic.Target(&e, &k)
		rows = append(rows, topicRow{
			Topic: t.Name, Kind: t.Kind, RESTPath: t.RESTPath, Capability: t.Capability, Notes: t.Notes,
			Subject: s.Destination, KafkaTopic: k.Destination,
		})
	}
	return rows, nil
}

// sampleEvent stands for any event with that topic.
func sampleEvent(topic string) (bridge.Event, error) {
	raw, err := json.Marshal(map[string]any{"topic": topic, "object": map[string]string{"id": "OBJECT"}})
	if err != nil {
		return bridge.Event{}, err
	}
	note, err := bridge.ParseNotification(raw)
	return bridge.Event{
		Raw: raw, Note: note, Source: &bridge.Source{Origin: bridge.OriginHub, ID: "HUB", Name: "HUB"},
	}, err
}

func (a *app) printTopics(rows []topicRow) error {
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "TOPIC\tKIND\tSUBJECT\tKAFKA TOPIC\tREST")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Topic, r.Kind, r.Subject, r.KafkaTopic, r.RESTPath)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "%d topics; others pass through just the same\n", len(rows))
	return nil
}
