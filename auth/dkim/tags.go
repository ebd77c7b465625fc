package dkim

import (
	"errors"
	"fmt"
	"strings"
)

// ErrTags reports what is no tag list.
var ErrTags = errors.New("malformed tag list")

// Tags is a tag list (RFC 6376 section 3.2): values by tag name, white space
// around them removed.
type Tags map[string]string

// ParseTags reads a tag list. A tag that comes twice makes all of it invalid.
// Empty elements, which the grammar does not know and real records hold, are
// passed over.
func ParseTags(s string) (Tags, error) {
	tags := Tags{}
	for spec := range strings.SplitSeq(s, ";") {
		spec = trimFWS(spec)
		if spec == "" {
			continue
		}
		name, value, ok := strings.Cut(spec, "=")
		name = trimFWS(name)
		if !ok || !isTagName(name) {
			return nil, fmt.Errorf("%w: no tag in %.40q", ErrTags, spec)
		}
		if _, twice := tags[name]; twice {
			return nil, fmt.Errorf("%w: tag %s comes twice", ErrTags, name)
		}
		value = trimFWS(value)
		if hasControl(value) {
			return nil, fmt.Errorf("%w: control octet in tag %s", ErrTags, name)
		}
		tags[name] = value
	}
	return tags, nil
}

// trimFWS removes folding white space at both ends.
func trimFWS(s string) string { return strings.Trim(s, " \t\r\n") }

// removeFWS removes folding white space everywhere.
func removeFWS(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	return strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s)
}

// isTagName: a letter, then letters, digits and underscores.
func isTagName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// items reads a list with colons between its elements; empty ones are passed
// over.
func items(s string) []string {
	var list []string
	for item := range strings.SplitSeq(s, ":") {
		if item = trimFWS(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
