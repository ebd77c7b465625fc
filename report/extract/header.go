package extract

import (
	"bytes"
	"mime"
	"strings"
)

// maxHeader bounds the header of the message and of each part.
const maxHeader = 256 << 10

// maxValue bounds what is kept of a field; each folded line is a copy of it.
const maxValue = 8 << 10

// header is fields by lower-case name; of several with one name the first.
type header map[string]string

// split cuts a message or part into its header and body. It forgives what
// reporters do: lines that end in LF, and lines that are no field.
func split(b []byte) (header, []byte) {
	h, name := header{}, ""
	for pos := 0; pos < len(b); {
		line, next := nextLine(b, pos)
		switch {
		case len(line) == 0:
			return h, b[next:]
		case next > maxHeader:
			return h, b[next:]
		case line[0] == ' ' || line[0] == '\t':
			if name != "" && len(h[name]) < maxValue {
				h[name] += " " + string(bytes.TrimSpace(line[:min(len(line), maxValue)]))
			}
		default:
			name = h.begin(line)
		}
		pos = next
	}
	return h, nil
}

// begin notes a new field and gives its name, "" where it is none or one that
// has been seen.
func (h header) begin(line []byte) string {
	field, value, ok := bytes.Cut(line, []byte(":"))
	name := strings.ToLower(string(bytes.TrimSpace(field)))
	if _, seen := h[name]; !ok || seen || name == "" {
		return ""
	}
	value = bytes.TrimSpace(value)
	h[name] = string(value[:min(len(value), maxValue)])
	return name
}

// nextLine is the line at pos without its end, and where the next one begins.
func nextLine(b []byte, pos int) (line []byte, next int) {
	n := bytes.IndexByte(b[pos:], '\n')
	if n < 0 {
		return b[pos:], len(b)
	}
	return bytes.TrimSuffix(b[pos:pos+n], []byte("\r")), pos + n + 1
}

// mediaType is the type of a part in lower case with its parameters; what
// cannot be read is text/plain (RFC 2045 section 5.2), but a boundary is looked
// for all the same.
func (h header) mediaType() (string, map[string]string) {
	value := h["content-type"]
	kind, params, err := mime.ParseMediaType(value)
	if err == nil {
		return kind, params
	}
	kind, rest, _ := strings.Cut(value, ";")
	params = map[string]string{}
	if i := strings.Index(strings.ToLower(rest), "boundary="); i >= 0 {
		boundary := rest[i+len("boundary="):]
		if quoted, ok := strings.CutPrefix(boundary, `"`); ok {
			boundary, _, _ = strings.Cut(quoted, `"`)
		} else {
			boundary, _, _ = strings.Cut(boundary, ";")
		}
		params["boundary"] = strings.TrimSpace(boundary)
	}
	if kind = strings.ToLower(strings.TrimSpace(kind)); kind == "" {
		kind = "text/plain"
	}
	return kind, params
}

// fileName is what the part calls itself.
func (h header) fileName() string {
	if _, params, err := mime.ParseMediaType(h["content-disposition"]); err == nil && params["filename"] != "" {
		return params["filename"]
	}
	_, params := h.mediaType()
	return params["name"]
}
