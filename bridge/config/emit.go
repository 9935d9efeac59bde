package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// emitter writes structs as YAML lines.
type emitter struct {
	docs    bool // with docs, and with commented prototypes of empty lists
	secrets bool // with the values of secrets: for the example's placeholders
}

// fields returns the lines of the struct v, indented by indent spaces.
func (e emitter) fields(v reflect.Value, indent int) []string {
	var out []string
	long := false // the block before has several lines
	for _, f := range fieldsOf(v.Type()) {
		block := e.field(f, v.FieldByIndex(f.index), indent)
		if e.docs && indent == 0 && len(out) > 0 && (long || len(block) > 1) {
			out = append(out, "")
		}
		out, long = append(out, block...), len(block) > 1
	}
	return out
}

func (e emitter) field(f field, v reflect.Value, indent int) []string {
	pad := strings.Repeat(" ", indent)
	line := func(text string) string {
		if e.docs && f.doc != "" {
			return pad + text + "  # " + f.doc
		}
		return pad + text
	}
	switch {
	case f.typ == secretType:
		return e.secret(f, v.Interface().(setting.Secret), pad, line)
	case f.typ.Kind() == reflect.Pointer:
		if v.IsNil() {
			return []string{pad + strings.TrimPrefix(line("# "+f.key+":"), pad)}
		}
		return e.field(field{key: f.key, doc: f.doc, typ: f.typ.Elem()}, v.Elem(), indent)
	case isScalar(f.typ):
		return []string{line(f.key + ": " + quote(redactURL(scalarText(v))))}
	case f.typ.Kind() == reflect.Struct:
		inner := e.fields(v, indent+2)
		if len(inner) == 0 {
			return []string{line(f.key + ": {}")}
		}
		return append([]string{line(f.key + ":")}, inner...)
	default:
		return e.list(f, v, indent, line)
	}
}

func (e emitter) secret(f field, s setting.Secret, pad string, line func(string) string) []string {
	shown := s.String()
	switch {
	case s.File() != "":
		return []string{line(f.key + "_file: " + quote(s.File()))}
	case e.secrets && !s.IsZero():
		shown, _ = s.Read() // a value in memory: no file, no error
	}
	out := []string{line(f.key + ": " + quote(shown))}
	if e.docs {
		out = append(out, pad+"# "+f.key+"_file: \"\"  # a file that holds it instead; read on every use")
	}
	return out
}

func (e emitter) list(f field, v reflect.Value, indent int, line func(string) string) []string {
	elem := f.typ.Elem()
	if isScalar(elem) {
		var items []string
		for i := range v.Len() {
			items = append(items, quote(redactURL(scalarText(v.Index(i)))))
		}
		return []string{line(f.key + ": [" + strings.Join(items, ", ") + "]")}
	}
	if v.Len() == 0 {
		out := []string{line(f.key + ": []")}
		if e.docs && len(fieldsOf(elem)) > 0 {
			proto := reflect.ValueOf(elementDefaults(reflect.Zero(elem).Interface()))
			out = append(out, commentOut(e.element(proto, indent+2), indent+2)...)
		}
		return out
	}
	out := []string{line(f.key + ":")}
	for i := range v.Len() {
		out = append(out, e.element(v.Index(i), indent+2)...)
	}
	return out
}

// element returns the lines of one element of a list of structs.
func (e emitter) element(v reflect.Value, indent int) []string {
	var lines []string
	pad := strings.Repeat(" ", indent+2)
	typed := func(name, typ string, cfg any) {
		lines = append(lines, pad+"name: "+quote(name), pad+"type: "+quote(typ))
		if cfg != nil {
			lines = append(lines, e.fields(reflect.ValueOf(cfg).Elem(), indent+2)...)
		}
	}
	switch s := v.Interface().(type) {
	case Sink:
		typed(s.Name, s.Type, s.Config)
	case Source:
		typed(s.Name, s.Type, s.Config)
	default:
		lines = e.fields(v, indent+2)
	}
	if len(lines) > 0 {
		lines[0] = strings.Repeat(" ", indent) + "- " + lines[0][indent+2:]
	}
	return lines
}

// commentOut puts "# " before every line, at the column indent.
func commentOut(lines []string, indent int) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		if l == "" {
			continue
		}
		out[i] = l[:indent] + "# " + l[indent:]
	}
	return out
}

var plain = regexp.MustCompile(`^[A-Za-z0-9/.][A-Za-z0-9_./:+-]*[A-Za-z0-9_/+-]$|^[A-Za-z0-9./]$`)

// quote returns s as a YAML scalar. The decoder takes the text of a scalar
// whatever YAML thinks of its type, so only null needs quotes among words.
func quote(s string) string {
	if plain.MatchString(s) && !strings.EqualFold(s, "null") {
		return s
	}
	if strings.HasPrefix(s, "${") && strings.HasSuffix(s, "}") && isVariable(s[2:len(s)-1]) {
		return s
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // a string has no reason to fail
		return fmt.Sprintf("%q", s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

var (
	urlUser  = regexp.MustCompile(`://[^\s,]*@`)
	urlToken = regexp.MustCompile(`(?i)([?&][^=&\s]*(?:token|key|secret|password|signature)[^=&\s]*=)[^&\s,]+`)
)

// redactURL hides what a URL may carry: user:pass@ and ?token=.
func redactURL(s string) string {
	s = urlUser.ReplaceAllString(s, "://[redacted]@")
	return urlToken.ReplaceAllString(s, "${1}[redacted]")
}
