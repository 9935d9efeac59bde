// Package config reads the bridge's configuration: one YAML file (or none),
// the environment, and flags, into one tree of structs.
//
// What it promises:
//
//   - Everything wrong is reported at once, each mistake with file, line,
//     column and key path, sorted by line: unknown and duplicate keys (with the
//     nearest known one), wrong types, bad values, unset variables, what each
//     part's Validate finds, and what parts contradict each other.
//   - What is not written has the default of the struct that owns it. The
//     example file is generated from the same structs.
//   - Secrets are never printed: not in a mistake, not by Print, not in Hash.
//   - The file is read once. Nothing is read from it again, and nothing is
//     substituted in its text: variables are expanded in scalars after parsing,
//     so that a value can never add keys.
//
// The tree is found by reflection over `yaml` and `doc` tags, so that a key
// exists exactly once, in the struct of the package that uses it. Nothing here
// names a sink: the types of sinks come in through Options.
//
// Precedence, from weak to strong: default, file, CYCLE_BRIDGE_<KEY>, flag.
// viper merges these layers, for scalars outside lists; it knows no lines and
// drops empty variables, so everything else is done on the YAML node tree.
//
// Caveats: lists cannot be overridden by variables; an alias or a merge key
// has the position of its anchor; a key that a variable overrides is not
// checked in the file.
package config
