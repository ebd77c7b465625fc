package extract

import (
	"bytes"
	"regexp"
	"strings"
)

// How contents begin.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zipMagic  = []byte("PK\x03\x04")
	emptyZip  = []byte("PK\x05\x06")
	bom       = []byte("\xef\xbb\xbf")
	feedback  = regexp.MustCompile(`<([A-Za-z0-9_.-]+:)?feedback[\s>]`)
)

// lookAhead is how much of a part is searched for the mark of a report.
const lookAhead = 16 << 10

// content tells what a part is by what it is made of. Text for people is left
// out; what calls itself a report and is none stands there with the reason.
func (w *walker) content(name, kind string, b []byte) {
	switch {
	case bytes.HasPrefix(b, gzipMagic):
		w.gzip(name, b)
	case bytes.HasPrefix(b, zipMagic), bytes.HasPrefix(b, emptyZip):
		w.zip(name, b)
	default:
		w.plain(name, kind, b)
	}
}

// plain is a part that is not compressed, or what was compressed.
func (w *walker) plain(name, kind string, b []byte) {
	claim := claimed(name, kind)
	text := bytes.TrimLeft(bytes.TrimPrefix(b, bom), " \t\r\n")
	head := text[:min(len(text), lookAhead)]
	switch {
	case len(text) == 0 && claim != "":
		w.add(Document{Kind: claim, Name: name, Err: refuse("the file is empty")})
	case len(text) == 0:
	case text[0] == '<' && (feedback.Match(head) || claim == Aggregate):
		w.add(Document{Kind: Aggregate, Name: name, Data: text})
	case text[0] == '{' && (bytes.Contains(head, []byte(`"policies"`)) || bytes.Contains(head, []byte(`"report-id"`)) || claim == TLS):
		w.add(Document{Kind: TLS, Name: name, Data: text})
	case claim != "":
		w.add(Document{Kind: claim, Name: name, Err: refuse("the file is neither XML nor JSON nor an archive of them")})
	}
}

// claimed is what type and name say. Files of people (HTML, images) claim
// nothing.
func claimed(name, kind string) Kind {
	name = strings.ToLower(name)
	for _, suffix := range []string{".gz", ".zip"} {
		name = strings.TrimSuffix(name, suffix)
	}
	switch {
	case strings.HasPrefix(kind, "application/tlsrpt"), strings.HasSuffix(name, ".json"):
		return TLS
	case strings.HasSuffix(name, ".xml"), kind == "text/xml", kind == "application/xml",
		kind == "application/gzip", kind == "application/x-gzip", kind == "application/zip":
		return Aggregate
	}
	return ""
}
