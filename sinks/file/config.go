package file

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/plan"
)

// Stdout is the path that means standard output.
const Stdout = "-"

// Config is a sink of type file.
type Config struct {
	Path    string        `yaml:"path" doc:"the file to append to; - is stdout"`
	MaxSize setting.Size  `yaml:"max_size" doc:"begin a new file at this size; 0: never"`
	MaxAge  time.Duration `yaml:"max_age" doc:"begin a new file at this age; 0: never"`
	Keep    int           `yaml:"keep" doc:"how many old files are kept; 0: all"`
	Format  string        `yaml:"format" doc:"envelope: the notification in a JSON envelope; raw: the notification, on one line"`
	From    string        `yaml:"from" doc:"where a new sink begins: start or now; empty: start at the journal's first run, else now"`
	Route   []Route       `yaml:"route" doc:"rules, the first match wins; none: everything matches"`
}

// Route is one rule of a file sink.
type Route struct {
	Match  string `yaml:"match" doc:"pattern over the topic: * one segment, > the rest"`
	When   string `yaml:"when" doc:"condition in CEL; not available in this version"`
	Format string `yaml:"format" doc:"envelope or raw; empty: the sink's"`
}

// Defaults returns a Config with every default.
func Defaults() Config {
	return Config{MaxSize: 100 << 20, Format: "envelope"}
}

// Plan returns what the configuration says about routing and encoding.
func (c Config) Plan() bridge.Plan {
	p := bridge.Plan{Kind: bridge.DestinationNone, From: c.From, Format: c.Format}
	for _, r := range c.Route {
		p.Rules = append(p.Rules, bridge.Rule{Match: r.Match, When: r.When, Format: r.Format})
	}
	return p
}

// Validate returns everything that is wrong with the configuration. Patterns
// and conditions are checked by the router.
func (c Config) Validate() []setting.Mistake {
	var out []setting.Mistake
	add := func(key, format string, args ...any) {
		out = append(out, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case c.Path == "":
		add("path", "required: a file, or - for stdout")
	case c.Path != Stdout:
		if st, err := os.Stat(c.Path); err == nil && !st.Mode().IsRegular() {
			add("path", "%s is not a regular file", c.Path)
		}
		if st, err := os.Stat(filepath.Dir(c.Path)); err != nil || !st.IsDir() {
			add("path", "there is no directory %s: make it", filepath.Dir(c.Path))
		}
	}
	switch {
	case c.MaxSize == setting.SizeAuto:
		add("max_size", "auto has no meaning here: want a size, or 0")
	case c.MaxSize < 0, c.MaxSize > 0 && c.MaxSize < 4096:
		add("max_size", "%d bytes is too small: want 4KiB or more, or 0", int64(c.MaxSize))
	}
	if c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < time.Second {
		add("max_age", "%v is too short: want 1s or more, or 0", c.MaxAge)
	}
	if c.Keep < 0 {
		add("keep", "%d is negative: want how many old files are kept, or 0 for all", c.Keep)
	}
	return append(out, plan.Mistakes(c.Plan(), "path")...)
}
