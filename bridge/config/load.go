package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Options say where the configuration comes from and what it may hold.
type Options struct {
	// Path is the file that the user named (-c); "-" is Stdin. Empty searches:
	// CYCLE_BRIDGE_CONFIG, ./cycle-bridge.yaml, then cycle-bridge/config.yaml in
	// $XDG_CONFIG_HOME (default ~/.config) and in /etc. With none of them the
	// configuration comes from CYCLE_API_KEY, CYCLE_HUB_ID and their like.
	Path  string
	Stdin io.Reader
	// Env is the environment as os.Environ has it; nil means os.Environ().
	Env []string
	// KnownEnv are CYCLE_BRIDGE_* variables that are not keys.
	KnownEnv []string
	// Flags override keys, above everything else.
	Flags []Flag
	// SinkTypes and SourceTypes by name.
	SinkTypes   map[string]Type
	SourceTypes map[string]Type
	// DefaultSinks returns the sinks of a configuration without the key
	// "sinks"; each call new ones. May be nil.
	DefaultSinks func() []Sink
	// Check finds what parts contradict each other, for parts that this package
	// does not know. Keys are whole paths: sinks[1].stream. It is called only
	// when nothing else is wrong. May be nil.
	Check func(*Config) []setting.Mistake
}

// Flag is a command line flag that sets a key outside lists.
type Flag struct {
	Name  string // for messages: --data
	Key   string // journal.dir
	Value string
}

// Load reads the configuration. The error of a configuration that cannot be
// used is a *bridge.Error of KindMisconfigured around an *Invalid with
// everything that is wrong.
func Load(o Options) (*Config, error) {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	env := newEnvironment(o.Env)
	ps := &problems{}
	var root *node
	file, data, err := o.read(env)
	switch {
	case err != nil:
		text := err.Error()
		if pe, ok := errors.AsType[*fs.PathError](err); ok { // without the path, which stands before it
			text = "cannot be read: " + pe.Err.Error()
		}
		p := Problem{File: o.shown(file), Text: text}
		if o.Path == "" && env[fileVariable] != "" {
			p.Text += " (named by " + fileVariable + ")"
		}
		ps.add(p)
		return nil, invalid(file, ps)
	case file == "":
		root = fromVariables(env, ps)
	default:
		if root = parseDocument(o.shown(file), data, ps); root == nil {
			if len(ps.errors) == 0 {
				ps.add(Problem{File: o.shown(file), Line: 1, Text: "the file is empty: it needs at least hubs, each with id and api_key"})
			}
			return nil, invalid(file, ps)
		}
	}
	c := Defaults()
	d := o.decoder(o.shown(file), root, env, &c, ps)
	d.document(&c)
	if p := root.get("sinks"); o.DefaultSinks != nil && (p == nil || p.value.null) {
		c.Sinks = o.DefaultSinks()
	}
	c.File = file
	d.check(&c, o.Check)
	d.mask()
	c.Warnings = sorted(ps.warnings)
	if len(ps.errors) > 0 {
		return nil, invalid(file, ps)
	}
	return &c, nil
}

// decoder makes a decoder and fills its layers: the file's scalars below,
// the variables above, the flags on top.
func (o Options) decoder(file string, root *node, env environment, defaults *Config, ps *problems) *decoder {
	d := &decoder{
		file: file, root: root, env: env, problems: ps,
		layers: newLayers(reflect.ValueOf(defaults).Elem()),
		sinks:  o.SinkTypes, sources: o.SourceTypes, hidden: map[string]string{},
	}
	d.layers.fromEnvironment(env, o.KnownEnv, ps)
	for _, f := range o.Flags {
		if k, ok := d.layers.keys[f.Key]; !ok || k.isList {
			panic("config: the flag " + f.Name + " sets " + f.Key + ", which is no key outside lists")
		}
		d.layers.override(f.Key, f.Value, f.Name)
	}
	d.layers.fromFile(root, env)
	return d
}

func invalid(file string, ps *problems) error {
	inv := &Invalid{File: file, Problems: sorted(ps.errors)}
	if ps.more > 0 {
		inv.Problems = append(inv.Problems, Problem{Text: fmt.Sprintf("and %d more mistakes", ps.more)})
	}
	return &bridge.Error{Op: "config", Kind: bridge.KindMisconfigured, Err: inv}
}

// shown is the file's name in messages: as the user wrote it.
func (o Options) shown(file string) string {
	switch {
	case file == "-":
		return "<stdin>"
	case o.Path != "":
		return o.Path
	}
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, file); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return file
}

// read finds the file and reads it, once. file is empty when there is none.
func (o Options) read(env environment) (file string, data []byte, err error) {
	named := cmp.Or(o.Path, env[fileVariable])
	if named == "-" && o.Path == "-" {
		if o.Stdin == nil {
			return "-", nil, errors.New("there is no standard input to read the configuration from")
		}
		data, err = readLimited(o.Stdin)
		return "-", data, err
	}
	if named != "" {
		data, err = readFile(named)
		return absolute(named), data, err
	}
	for _, path := range searchPaths(env) {
		data, err = readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return absolute(path), data, err
	}
	return "", nil, nil
}

// searchPaths lists where the file is looked for when nobody named one.
func searchPaths(env environment) []string {
	paths := []string{"cycle-bridge.yaml"}
	dir := env["XDG_CONFIG_HOME"]
	if dir == "" && env["HOME"] != "" {
		dir = filepath.Join(env["HOME"], ".config")
	}
	if filepath.IsAbs(dir) { // a relative one is to be ignored, says the XDG specification
		paths = append(paths, filepath.Join(dir, "cycle-bridge", "config.yaml"))
	}
	return append(paths, "/etc/cycle-bridge/config.yaml")
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.New("is a directory: want a file")
	}
	return readLimited(f)
}

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileBytes {
		return nil, fmt.Errorf("the file is larger than %s", setting.Size(maxFileBytes))
	}
	return data, nil
}

// mask takes hidden texts out of every message, longest first.
func (d *decoder) mask() {
	texts := slices.SortedFunc(maps.Keys(d.hidden), func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	for _, list := range [][]Problem{d.problems.errors, d.problems.warnings} {
		for i := range list {
			for _, t := range texts {
				list[i].Text = strings.ReplaceAll(list[i].Text, t, d.hidden[t])
			}
		}
	}
}
