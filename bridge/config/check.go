package config

import (
	"fmt"
	"reflect"
	"regexp"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// validator is a part of the configuration that can find its own mistakes,
// with keys relative to itself.
type validator interface{ Validate() []setting.Mistake }

// names of hubs, sources and sinks go into subjects, durable names and metric
// labels unescaped.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// check runs every check that needs decoded values. A mistake at, in or
// around a key that is already known to be wrong is dropped as its
// consequence.
func (d *decoder) check(c *Config, more func(*Config) []setting.Mistake) {
	for i := range c.Hubs {
		if c.Hubs[i].Name == "" { // the id is unique, and well-formed once it passes
			c.Hubs[i].Name = c.Hubs[i].ID
		}
	}
	d.place("", shape(c))
	for i := range c.Hubs {
		d.validate(fmt.Sprintf("hubs[%d]", i), c.Hubs[i])
	}
	for i := range c.Sources {
		d.validate(fmt.Sprintf("sources[%d]", i), c.Sources[i].Config)
	}
	d.validate("journal", c.Journal.Config)
	d.validate("nats", c.NATS)
	for i := range c.Sinks {
		d.validate(fmt.Sprintf("sinks[%d]", i), c.Sinks[i].Config)
	}
	d.validate("http", c.HTTP)
	d.validate("log", c.Log)
	if c.ShutdownTimeout <= 0 {
		d.place("", []setting.Mistake{{Key: "shutdown_timeout", Text: "must be longer than 0s"}})
	}
	d.certificates(c)
	if more != nil && len(d.problems.errors) == 0 {
		d.place("", more(c))
	}
}

func (d *decoder) validate(path string, part any) {
	if v, ok := part.(validator); ok {
		d.place(path, v.Validate())
	}
}

// place reports the mistakes of one part. They are collected first: two
// mistakes of one part at one key are both told.
func (d *decoder) place(path string, mistakes []setting.Mistake) {
	var found []Problem
	for _, m := range mistakes {
		key := path
		switch {
		case path == "":
			key = m.Key
		case m.Key != "" && m.Key[0] == '[':
			key += m.Key
		case m.Key != "":
			key += "." + m.Key
		}
		if !d.problems.touches(key) {
			found = append(found, d.problem(key, m.Text))
		}
	}
	for _, p := range found {
		d.problems.add(p)
	}
}

// shape checks what the lists must be as a whole: something to listen to, and
// names that tell their owners apart.
func shape(c *Config) []setting.Mistake {
	var out []setting.Mistake
	if len(c.Hubs) == 0 && len(c.Sources) == 0 {
		out = append(out, setting.Mistake{Key: "hubs", Text: "nothing to listen to: want at least one hub with id and api_key"})
	}
	feeds, sinks, ids := map[string]string{}, map[string]string{}, map[string]string{}
	name := func(key, value string, seen map[string]string) {
		switch first, dup := seen[value]; {
		case !nameForm.MatchString(value):
			out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf("%q is not a name: want 1 to 64 of A-Z a-z 0-9 _ -", clip(value))})
		case dup:
			out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf("the name %q is taken by %s", value, first)})
		default:
			seen[value] = key[:len(key)-len(".name")]
		}
	}
	for i, h := range c.Hubs {
		key := fmt.Sprintf("hubs[%d]", i)
		if first, dup := ids[h.ID]; dup && h.ID != "" {
			out = append(out, setting.Mistake{Key: key + ".id", Text: fmt.Sprintf("the same hub as %s: every event would be there twice", first)})
			if h.Name == h.ID {
				continue
			}
		}
		ids[h.ID] = key
		if h.Name != h.ID {
			name(key+".name", h.Name, feeds)
		}
	}
	for i, s := range c.Sources {
		name(fmt.Sprintf("sources[%d].name", i), s.Name, feeds)
	}
	for i, s := range c.Sinks {
		name(fmt.Sprintf("sinks[%d].name", i), s.Name, sinks)
	}
	return out
}

func clip(s string) string {
	if len(s) > 70 {
		return s[:70] + "..."
	}
	return s
}

// certificates checks the files of every TLS section.
func (d *decoder) certificates(c *Config) {
	now := time.Now()
	walkStructs(reflect.ValueOf(*c), "", func(v reflect.Value, path string) {
		if v.Type() == tlsType {
			d.place(path, v.Interface().(setting.TLS).Check(now))
		}
	})
}
