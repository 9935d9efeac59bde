package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// decoder fills structs from a node tree and the layers above it, and reports
// what does not fit.
type decoder struct {
	file     string
	root     *node
	env      environment
	layers   *layers
	problems *problems
	sinks    map[string]Type
	sources  map[string]Type
	hidden   map[string]string // text that no message may show: what stands there instead
}

func (d *decoder) fail(n *node, key, format string, args ...any) {
	d.failAt(place{n.line, n.col, n.variable}, key, format, args...)
}

func (d *decoder) failAt(at place, key, format string, args ...any) {
	d.problems.add(d.problemAt(at, key, fmt.Sprintf(format, args...)))
}

func (d *decoder) problemAt(at place, key, text string) Problem {
	p := Problem{Key: key, Text: text, Variable: at.variable}
	if p.Variable == "" {
		p.File, p.Line, p.Column = d.file, at.line, at.col
	}
	return p
}

// problem places a text at a key: at the variable that set it, else where it
// stands in the file.
func (d *decoder) problem(key, text string) Problem {
	for _, k := range []string{key, key + "_file"} {
		if origin := d.layers.origin[k]; origin != "" {
			return Problem{Variable: origin, Key: key, Text: text}
		}
	}
	return d.problemAt(d.root.locate(key), key, text)
}

// document decodes the root into c.
func (d *decoder) document(c *Config) {
	d.fields(d.root, "", reflect.ValueOf(c).Elem(), true, nil)
}

// fields decodes a mapping into the struct v. n may be nil: then only the
// layers above the file count. outside says that no list is around it. extra
// are keys that somebody else decodes.
func (d *decoder) fields(n *node, path string, v reflect.Value, outside bool, extra []string) {
	if n != nil && n.null {
		n = nil
	}
	if n != nil && n.kind != mappingNode {
		d.fail(n, path, "is %s: want a mapping (key: value)", n.kind)
		return
	}
	fields := fieldsOf(v.Type())
	if n != nil {
		d.unknown(n, path, append(keysOf(fields), extra...))
	}
	for _, f := range fields {
		key := join(path, f.key)
		child, fv := (*node)(nil), v.FieldByIndex(f.index)
		if p := n.get(f.key); p != nil {
			child = p.value
		}
		if f.later {
			d.later(child, key, fv, outside)
			continue
		}
		if f.typ == secretType {
			d.secret(n, path, f.key, fv, outside)
			continue
		}
		d.value(child, key, fv, outside)
	}
}

func (d *decoder) unknown(n *node, path string, known []string) {
	for _, p := range n.pairs {
		if slices.Contains(known, p.key) {
			continue
		}
		shown := shownKey(p.key)
		text := "unknown key" + suggestion(shown, known)
		if before, _, ok := strings.Cut(p.key, ":"); ok && slices.Contains(known, before) {
			text = fmt.Sprintf("unknown key: is a space missing after %s:?", before)
		}
		d.failAt(place{p.line, p.col, ""}, join(path, shown), "%s", text)
	}
}

// later decodes a key that may only have its default.
func (d *decoder) later(n *node, key string, v reflect.Value, outside bool) {
	before := v.Interface()
	if v.Kind() == reflect.Struct {
		if n != nil && (n.kind != mappingNode || len(n.pairs) > 0) && !n.null {
			d.fail(n, key, "not available in this version: leave it out")
		}
		return
	}
	count := len(d.problems.errors)
	d.value(n, key, v, outside)
	if len(d.problems.errors) == count && !reflect.DeepEqual(before, v.Interface()) {
		d.problems.add(d.problem(key, "not available in this version: leave it out"))
	}
}

func (d *decoder) value(n *node, key string, v reflect.Value, outside bool) {
	switch t := v.Type(); {
	case t == reflect.TypeFor[[]Sink]():
		d.typed(n, key, "sink", d.sinks, func(name, typ string, cfg any) {
			v.Set(reflect.Append(v, reflect.ValueOf(Sink{name, typ, cfg})))
		})
	case t == reflect.TypeFor[[]Source]():
		d.typed(n, key, "source", d.sources, func(name, typ string, cfg any) {
			v.Set(reflect.Append(v, reflect.ValueOf(Source{name, typ, cfg})))
		})
	case isScalar(t):
		d.scalar(n, key, v, outside)
	case t.Kind() == reflect.Struct:
		d.fields(n, key, v, outside, nil)
	case t.Kind() == reflect.Pointer:
		if n != nil && !n.null {
			p := reflect.New(t.Elem())
			d.value(n, key, p.Elem(), false)
			v.Set(p)
		}
	case t.Kind() == reflect.Slice:
		d.list(n, key, v)
	default:
		panic(fmt.Sprintf("config: %s has the type %s", key, t))
	}
}

func (d *decoder) list(n *node, key string, v reflect.Value) {
	switch {
	case n == nil || n.null:
		return
	case n.kind != listNode:
		d.fail(n, key, "is %s: want a list ([a, b], or a line with - for each)", n.kind)
		return
	case len(n.items) == 0:
		v.SetZero()
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		e := out.Index(i)
		if e.Kind() == reflect.Struct && !isScalar(e.Type()) {
			e.Set(reflect.ValueOf(elementDefaults(e.Interface())))
		}
		d.value(item, fmt.Sprintf("%s[%d]", key, i), e, false)
	}
	v.Set(out)
}

// typed decodes a list whose elements have a name, a type, and what the type
// says. Every element is added, also one that is wrong, so that the index is
// that of the file.
func (d *decoder) typed(n *node, key, what string, types map[string]Type, add func(name, typ string, cfg any)) {
	switch {
	case n == nil || n.null:
		return
	case n.kind != listNode:
		d.fail(n, key, "is %s: want a list with a line - for each %s", n.kind, what)
		return
	}
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", key, i)
		if len(types) == 0 {
			d.fail(item, at, "not available in this version: there is no type of %s yet", what)
			add("", "", nil)
			continue
		}
		if item.kind != mappingNode {
			d.fail(item, at, "is %s: want a mapping with name, type and what the type takes", item.kind)
			add("", "", nil)
			continue
		}
		var name, typ string
		for _, f := range []struct {
			key string
			to  *string
		}{{"name", &name}, {"type", &typ}} {
			if p := item.get(f.key); p != nil {
				d.scalar(p.value, join(at, f.key), reflect.ValueOf(f.to).Elem(), false)
			} else {
				d.fail(item, join(at, f.key), "required")
			}
		}
		t, ok := types[typ]
		if !ok {
			if typ != "" {
				known := make([]string, 0, len(types))
				for k := range types {
					known = append(known, k)
				}
				slices.Sort(known)
				d.fail(item.get("type").value, at+".type", "%q is no type of %s%s", typ, what, suggestion(typ, known))
			}
			add(name, typ, nil)
			continue
		}
		cfg := t.New()
		d.fields(item, at, reflect.ValueOf(cfg).Elem(), false, []string{"name", "type"})
		add(name, typ, cfg)
	}
}

// scalar decodes one scalar: from the layers above the file or, where they
// have nothing and in lists, from n.
func (d *decoder) scalar(n *node, key string, v reflect.Value, outside bool) {
	if outside && d.layers.overridden(key) {
		if err := setScalar(v, d.layers.v.GetString(key)); err != nil {
			d.problems.add(d.problem(key, err.Error()))
		}
		return
	}
	text, ok := d.text(n, key)
	if !ok {
		return
	}
	if outside { // the merged value; without an override it is the file's
		if d.layers.v.IsSet(key) {
			text = d.layers.v.GetString(key)
		}
	}
	if err := setScalar(v, text); err != nil {
		d.fail(n, key, "%s", err)
	}
}

// text returns the expanded text of a scalar. ok is false when there is none;
// what is wrong with it is then reported.
func (d *decoder) text(n *node, key string) (text string, ok bool) {
	switch {
	case n == nil:
		return "", false
	case n.kind != scalarNode:
		d.fail(n, key, "is %s: want a single value", n.kind)
		return "", false
	case n.null:
		d.fail(n, key, `has no value: write one, "" for an empty one, or leave the key out`)
		return "", false
	case n.literal:
		return n.text, true
	}
	text, err := expand(n.text, d.env.lookup)
	if err != nil {
		d.fail(n, key, "%s", err)
		return "", false
	}
	if text != n.text {
		d.hide(text, n.text)
	}
	return text, true
}

// hide keeps text out of every message. Short texts are not hidden: they are
// no secrets, and would tear words apart.
func (d *decoder) hide(text, shown string) {
	if len(text) >= 8 {
		d.hidden[text] = shown
	}
}

// secret decodes a secret from its two keys.
func (d *decoder) secret(n *node, path, name string, v reflect.Value, outside bool) {
	key := join(path, name)
	if outside && d.layers.overridden(key) {
		inline, inlineSet := d.layers.origin[key]
		file, fileSet := d.layers.origin[key+"_file"]
		switch {
		case inlineSet && fileSet:
			d.problems.add(Problem{Variable: file, Key: key + "_file", Text: fmt.Sprintf("%s is set as well: want one of the two", inline)})
		case fileSet:
			d.secretFile(key, d.layers.v.GetString(key+"_file"), v)
		default:
			d.setSecret(d.layers.v.GetString(key), v)
		}
		return
	}
	inline, file := n.get(name), n.get(name+"_file")
	switch {
	case inline != nil && file != nil:
		d.failAt(place{file.line, file.col, file.value.variable}, key+"_file", "%s is set as well: want one of the two", name)
	case inline != nil:
		if text, ok := d.text(inline.value, key); ok {
			d.setSecret(text, v)
		}
	case file != nil:
		if text, ok := d.text(file.value, key+"_file"); ok {
			d.secretFile(key, text, v)
		}
	}
}

func (d *decoder) setSecret(text string, v reflect.Value) {
	d.hide(text, "[redacted]")
	v.Set(reflect.ValueOf(setting.NewSecret(text)))
}

// secretFile checks the file now, as the first use may come hours later.
func (d *decoder) secretFile(key, path string, v reflect.Value) {
	key += "_file"
	if path == "" {
		return
	}
	s := setting.SecretFile(path)
	v.Set(reflect.ValueOf(s))
	value, err := s.Read()
	if err != nil {
		text := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			text = fmt.Sprintf("the secret file %s does not exist", path)
		}
		d.problems.add(d.problem(key, text))
		return
	}
	d.hide(value, "[redacted]")
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		d.problems.warn(d.problem(key, fmt.Sprintf("everybody on this machine can read the secret file %s: chmod 600 it", path)))
	}
}
