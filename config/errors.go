package config

import (
	"fmt"
	"slices"
	"strings"
)

// Error is one thing wrong with the file: where it stands, which key it is
// and what was expected.
type Error struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Path string `json:"path"`
	Msg  string `json:"message"`
}

// Error is the line that is shown to the administrator.
func (e Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Path == "" {
		return where + ": " + e.Msg
	}
	return fmt.Sprintf("%s: %s: %s", where, e.Path, e.Msg)
}

// Errors is everything wrong with the file, in the order of its lines.
type Errors []Error

// Error is one line for each.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// OrNil sorts by line; no errors are a nil error.
func (es Errors) OrNil() error {
	if len(es) == 0 {
		return nil
	}
	slices.SortStableFunc(es, func(a, b Error) int { return a.Line - b.Line })
	return slices.Compact(es)
}
