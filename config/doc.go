// Package config reads gatepost.yaml. It is strict: an unknown key, a wrong
// type, a bad value, a name that is not there are errors, all of them reported
// at once with line, key path and what was expected. Nothing is ignored
// silently: a key whose function does not exist yet answers "not supported
// yet".
//
// The types carry their own documentation in tags (yaml, default, values,
// need, doc); docs/config.md is made from them. Only the root package
// gateway and the commands import config: every other package has its small
// Options, and reports what is wrong by key path, which Config.Line maps to
// the line of the file.
package config
