package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/cycle-bridge/cycle-bridge/bridge/config"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks"
	"github.com/cycle-bridge/cycle-bridge/sinks/jetstream"
)

// configOptions are what config needs to know of the sinks, and of this process.
func (a *app) configOptions(flags ...config.Flag) config.Options {
	types := make(map[string]config.Type)
	for _, t := range sinks.Types() {
		types[t.Name] = config.Type{New: func() any { return t.New() }, Doc: t.Doc}
	}
	return config.Options{
		Path: a.configFile, Stdin: a.in, Env: a.env, Flags: flags,
		SinkTypes:    types,
		DefaultSinks: func() []config.Sink { return []config.Sink{embeddedSink()} },
		Check:        checkSinks,
	}
}

// embeddedSink is the sink of a configuration that names none.
func embeddedSink() config.Sink {
	c := jetstream.Defaults()
	c.URL = "embedded"
	return config.Sink{Name: "nats", Type: "jetstream", Config: &c}
}

// load reads the configuration; its mistakes are a usage error.
func (a *app) load(flags ...config.Flag) (*config.Config, error) {
	cfg, err := config.Load(a.configOptions(flags...))
	if err != nil {
		return nil, usage(err)
	}
	return cfg, nil
}

// printMistakes writes what is wrong with a configuration, one a line.
func printMistakes(w io.Writer, err error) {
	invalid, ok := errors.AsType[*config.Invalid](err)
	if !ok {
		fmt.Fprintf(w, "cycle-bridge: %v\n", err)
		return
	}
	for _, p := range invalid.Problems {
		fmt.Fprintln(w, p)
	}
}

// checkSinks finds what sinks contradict in each other or in the rest.
func checkSinks(c *config.Config) []setting.Mistake {
	var out []setting.Mistake
	type target struct{ url, stream string }
	first := make(map[target]string)
	for i, s := range c.Sinks {
		js, ok := s.Config.(*jetstream.Config)
		if !ok {
			continue
		}
		at := func(key, format string, args ...any) {
			out = append(out, setting.Mistake{Key: fmt.Sprintf("sinks[%d].%s", i, key), Text: fmt.Sprintf(format, args...)})
		}
		if js.IsEmbedded() && c.Journal.URL != "" {
			at("url", "there is no embedded server when journal.url is set: name the server to publish to")
		}
		t := target{js.URL, js.Stream}
		other, taken := first[t]
		if !taken {
			first[t] = s.Name
			continue
		}
		switch {
		case js.IsEmbedded():
			at("url", "the sink %q already writes the embedded stream, which takes one writer: use routes of that sink instead", other)
		case js.Exclusive:
			at("exclusive", "the sink %q writes the same stream", other)
		case js.Dedupe != "sink":
			at("dedupe", "the sink %q writes the same stream, and the server drops an event id that it has seen: want dedupe: sink", other)
		}
	}
	return out
}
