package arc

import "strings"

const (
	// lineLength is where a line is folded (RFC 5322 section 2.1.1), its leading
	// space not counted.
	lineLength = 72
	// maxWord bounds what cannot be folded: a line has at most 998 octets.
	maxWord = 900
)

// folder writes a field word by word.
type folder struct {
	b    strings.Builder
	line int
}

func newFolder(name string) *folder {
	f := &folder{}
	f.b.WriteString(name + ":")
	f.line = len(name) + 1
	return f
}

// word writes s behind a space, on a line of its own where it does not fit.
func (f *folder) word(s string) {
	if f.line+1+len(s) > lineLength {
		f.b.WriteString("\r\n")
		f.line = -1
	}
	f.b.WriteString(" " + s)
	f.line += 1 + len(s)
}

// names writes h=, which may be broken behind each colon.
func (f *folder) names(list []string) {
	rest := "h=" + strings.Join(list, ":") + ";"
	for len(rest) > lineLength {
		n := 1 + strings.LastIndexByte(rest[:lineLength], ':')
		if n == 0 { // a name longer than a line
			n = 1 + strings.IndexByte(rest, ':')
		}
		if n == 0 {
			break
		}
		f.word(rest[:n])
		rest = rest[n:]
	}
	f.word(rest)
}

// signature writes b=. It is not folded, for there are verifiers that want it
// so, and because seals cover the white space in it; only that of a huge key
// has to be.
func (f *folder) signature(b string) {
	rest := "b=" + b + ";"
	for len(rest) > maxWord {
		f.word(rest[:maxWord])
		rest = rest[maxWord:]
	}
	f.word(rest)
}

// String is the field with its CRLF.
func (f *folder) String() string { return f.b.String() + "\r\n" }
