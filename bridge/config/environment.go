package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// envPrefix begins every variable that overrides a key.
const envPrefix = "CYCLE_BRIDGE_"

// fileVariable names the configuration file.
const fileVariable = envPrefix + "CONFIG"

// environment is the list of "NAME=value" that the process was given.
type environment map[string]string

func newEnvironment(list []string) environment {
	env := make(environment, len(list))
	for _, kv := range list {
		if name, value, ok := strings.Cut(kv, "="); ok && name != "" {
			env[name] = value
		}
	}
	return env
}

func (e environment) lookup(name string) (string, bool) {
	v, ok := e[name]
	return v, ok
}

// layers merges default, file and overrides of the scalars outside lists.
type layers struct {
	v      *viper.Viper
	origin map[string]string // key: the variable or flag that overrides it
	keys   map[string]scalarKey
}

// newLayers registers every key of defaults: viper ignores what it does not know.
func newLayers(defaults reflect.Value) *layers {
	l := &layers{v: viper.New(), origin: map[string]string{}, keys: map[string]scalarKey{}}
	for _, k := range scalarKeys(defaults, "") {
		l.keys[k.path] = k
		if k.isList {
			continue
		}
		text := ""
		if k.secret == "" {
			text = scalarText(k.value)
		}
		l.v.SetDefault(k.path, text)
	}
	return l
}

// override gives key a value above the file's. The value goes in by Set and
// not by viper's own reading of the environment, which drops empty values
// unless told otherwise and cannot be given another environment than the
// process's.
func (l *layers) override(key, value, origin string) {
	l.v.Set(key, value)
	l.origin[key] = origin
}

// overridden reports whether a variable or flag sets key, for a secret also
// by its other key: a secret is replaced as a whole.
func (l *layers) overridden(key string) bool {
	if s := l.keys[key].secret; s != "" {
		return l.origin[s] != "" || l.origin[s+"_file"] != ""
	}
	return l.origin[key] != ""
}

func variableOf(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// kubernetesVariable matches what Kubernetes injects for a Service whose name
// begins with cycle-bridge (kubelet: envvars.FromServices).
var kubernetesVariable = regexp.MustCompile(`^CYCLE_BRIDGE_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// ofKubernetes reports whether name was set by Kubernetes. The value of
// <SERVICE>_PORT is a URL there: a plain number is somebody's slip.
func ofKubernetes(name, value string) bool {
	if kubernetesVariable.MatchString(name) {
		return true
	}
	if !strings.HasSuffix(name, "_PORT") {
		return false
	}
	scheme, _, ok := strings.Cut(value, "://")
	return ok && slices.Contains([]string{"tcp", "udp", "sctp"}, scheme)
}

// fromEnvironment takes the overrides from env and reports every variable
// with the prefix that is none. known are further variables to leave alone.
func (l *layers) fromEnvironment(env environment, known []string, ps *problems) {
	byVariable := map[string]scalarKey{}
	for _, k := range l.keys {
		byVariable[variableOf(k.path)] = k
	}
	var names []string // without the prefix, which would make everything look near
	for name, k := range byVariable {
		if !k.isList {
			names = append(names, strings.TrimPrefix(name, envPrefix))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, envPrefix) || name == fileVariable || slices.Contains(known, name) {
			continue
		}
		k, ok := byVariable[name]
		switch {
		case ok && k.isList:
			ps.add(Problem{Variable: name, Key: k.path, Text: "a list cannot be set by a variable: write it in the file, where ${VAR} stands for a value"})
		case ok:
			l.override(k.path, env[name], name)
		case ofKubernetes(name, env[name]):
		default:
			text := "no such key"
			if n := nearest(strings.TrimPrefix(name, envPrefix), names); n != "" {
				text += fmt.Sprintf("; did you mean %s%s?", envPrefix, n)
			} else {
				text += fmt.Sprintf("; variables are %s<KEY>, for example %s", envPrefix, variableOf("nats.listen"))
			}
			ps.add(Problem{Variable: name, Text: text})
		}
	}
}

// fromFile puts the file's scalars under the overrides. What cannot be
// expanded is left out here: the decoder reports it.
func (l *layers) fromFile(root *node, env environment) {
	tree := map[string]any{}
	for path, k := range l.keys {
		n := root.at(path)
		if k.isList || n == nil || n.kind != scalarNode || n.null || l.overridden(path) {
			continue
		}
		text := n.text
		if !n.literal {
			var err error
			if text, err = expand(text, env.lookup); err != nil {
				continue
			}
		}
		put(tree, strings.Split(path, "."), text)
	}
	// The map is ours and holds strings only: there is nothing to fail.
	if err := l.v.MergeConfigMap(tree); err != nil {
		panic(fmt.Sprintf("config: %v", err))
	}
}

func put(tree map[string]any, path []string, value string) {
	for len(path) > 1 {
		next, ok := tree[path[0]].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[path[0]] = next
		}
		tree, path = next, path[1:]
	}
	tree[path[0]] = value
}
