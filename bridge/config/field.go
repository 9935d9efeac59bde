package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

var (
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	secretType      = reflect.TypeFor[setting.Secret]()
	durationType    = reflect.TypeFor[time.Duration]()
	tlsType         = reflect.TypeFor[setting.TLS]()
)

// field is one key of a struct.
type field struct {
	key   string
	doc   string
	index []int // for reflect.Value.FieldByIndex
	typ   reflect.Type
	later bool // takes its default only: it belongs to a later version
}

// fieldsOf returns the keys of a struct type in the order of its fields, with
// those of inlined structs in their place. Fields without a yaml tag, or with
// "-", are no keys. It panics on a key that stands twice: that is a mistake in
// the program.
func fieldsOf(t reflect.Type) []field {
	var out []field
	seen := map[string]bool{}
	var walk func(t reflect.Type, index []int)
	walk = func(t reflect.Type, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			tag, ok := f.Tag.Lookup("yaml")
			name, flags, _ := strings.Cut(tag, ",")
			at := append(append([]int(nil), index...), i)
			switch {
			case !ok || name == "-" || !f.IsExported() && !f.Anonymous:
				continue
			case flags == "inline":
				walk(f.Type, at)
				continue
			case seen[name]:
				panic(fmt.Sprintf("config: key %s stands twice in %s", name, t))
			}
			seen[name] = true
			out = append(out, field{
				key: name, doc: f.Tag.Get("doc"), index: at, typ: f.Type,
				later: f.Tag.Get("later") != "",
			})
		}
	}
	walk(t, nil)
	return out
}

// keysOf returns the names of fields, those of secret files included.
func keysOf(fields []field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.key)
		if f.typ == secretType {
			out = append(out, f.key+"_file")
		}
	}
	return out
}

// isScalar reports whether a value of type t is written as one scalar.
func isScalar(t reflect.Type) bool {
	if t == secretType || reflect.PointerTo(t).Implements(textUnmarshaler) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Interface, reflect.Map, reflect.Array:
		return false
	case reflect.Pointer:
		return isScalar(t.Elem())
	default:
		return true
	}
}

// scalarKey is a key outside lists that a variable may override.
type scalarKey struct {
	path   string
	typ    reflect.Type
	value  reflect.Value // the default
	secret string        // for both keys of a secret: the one without _file
	doc    string
	isList bool // known, but a list: no variable may set it
}

// scalarKeys returns every key outside lists of v, a struct; lists are there
// too, marked as such.
func scalarKeys(v reflect.Value, prefix string) []scalarKey {
	var out []scalarKey
	for _, f := range fieldsOf(v.Type()) {
		path := join(prefix, f.key)
		value := v.FieldByIndex(f.index)
		switch {
		case f.typ == secretType:
			out = append(out,
				scalarKey{path: path, typ: f.typ, value: value, secret: path, doc: f.doc},
				scalarKey{path: path + "_file", typ: f.typ, value: value, secret: path, doc: f.doc})
		case isScalar(f.typ):
			out = append(out, scalarKey{path: path, typ: f.typ, value: value, doc: f.doc})
		case f.typ.Kind() == reflect.Struct:
			out = append(out, scalarKeys(value, path)...)
		default:
			out = append(out, scalarKey{path: path, typ: f.typ, value: value, doc: f.doc, isList: true})
		}
	}
	return out
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// walkStructs calls f for v and every struct in it, with its path, parents
// first. Scalars that are structs (secrets) are not visited.
func walkStructs(v reflect.Value, path string, f func(v reflect.Value, path string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walkStructs(v.Elem(), path, f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkStructs(v.Index(i), fmt.Sprintf("%s[%d]", path, i), f)
		}
	case reflect.Struct:
		if isScalar(v.Type()) {
			return
		}
		f(v, path)
		switch e := v.Interface().(type) {
		case Sink:
			walkStructs(reflect.ValueOf(e.Config), path, f)
			return
		case Source:
			walkStructs(reflect.ValueOf(e.Config), path, f)
			return
		}
		for _, fd := range fieldsOf(v.Type()) {
			walkStructs(v.FieldByIndex(fd.index), join(path, fd.key), f)
		}
	}
}
