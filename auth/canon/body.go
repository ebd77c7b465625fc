package canon

import (
	"bytes"
	"io"
)

// newlines is what runs of empty lines are written from.
const newlines = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" +
	"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"

// NewBody gives a writer that hands the canonical form of the body written to
// it to w. Close writes what the form puts at the end; it does not close w.
// The writer fails only when w does.
func NewBody(form Form, w io.Writer) io.WriteCloser {
	if form == Simple {
		return &simpleBody{w: w}
	}
	return &relaxedBody{out: buffer{w: w}}
}

// simpleBody removes empty lines at the end (RFC 6376 section 3.4.3).
type simpleBody struct {
	w     io.Writer
	lines int64 // line ends not yet written
	cr    bool  // a CR behind them that may begin another
	err   error
}

func (b *simpleBody) Write(p []byte) (int, error) {
	n := len(p)
	if b.cr && n > 0 {
		b.cr = false
		if p[0] == '\n' {
			b.lines++
			p = p[1:]
		} else {
			b.flushLines()
			b.write([]byte("\r"))
		}
	}
	for len(p) >= 2 && p[0] == '\r' && p[1] == '\n' {
		b.lines++
		p = p[2:]
	}
	switch {
	case len(p) == 1 && p[0] == '\r':
		b.cr = true
	case len(p) > 0:
		b.flushLines()
		b.writeText(p)
	}
	return n, b.err
}

// writeText writes p but for the line ends at its end.
func (b *simpleBody) writeText(p []byte) {
	if p[len(p)-1] == '\r' {
		b.cr = true
		p = p[:len(p)-1]
	}
	for len(p) >= 2 && p[len(p)-2] == '\r' && p[len(p)-1] == '\n' {
		b.lines++
		p = p[:len(p)-2]
	}
	b.write(p)
}

func (b *simpleBody) flushLines() {
	for b.lines > 0 && b.err == nil {
		n := min(b.lines, int64(len(newlines)/2))
		b.write([]byte(newlines[:2*n]))
		b.lines -= n
	}
}

func (b *simpleBody) write(p []byte) {
	if b.err == nil && len(p) > 0 {
		_, b.err = b.w.Write(p)
	}
}

// Close ends the body in exactly one CRLF, the empty body too.
func (b *simpleBody) Close() error {
	if b.cr {
		b.flushLines()
		b.write([]byte("\r"))
	}
	b.write([]byte("\r\n"))
	return b.err
}

// relaxedBody also removes white space at the end of lines and reduces it to
// one space within them (RFC 6376 section 3.4.4).
type relaxedBody struct {
	out   buffer
	lines int64 // line ends not yet written
	space bool  // white space of the current line not yet written
	cr    bool  // a CR behind it that may begin a line end
	text  bool  // something has been written
}

// Write goes from CR to CR.
func (b *relaxedBody) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if b.cr {
			b.cr = false
			if p[0] == '\n' {
				b.lines++
				b.space = false
				p = p[1:]
				continue
			}
			b.writeOctet('\r')
		}
		for len(p) >= 2 && p[0] == '\r' && p[1] == '\n' {
			b.lines++
			b.space = false
			p = p[2:]
		}
		end := bytes.IndexByte(p, '\r')
		if end < 0 {
			b.writeLine(p)
			break
		}
		b.writeLine(p[:end])
		b.cr = true
		p = p[end+1:]
	}
	return n, b.out.err
}

// window is how much of a line is looked at once for whether it can be copied.
const window = 1024

// writeLine takes octets of one line.
func (b *relaxedBody) writeLine(p []byte) {
	for len(p) > 0 {
		piece := p[:min(len(p), window)]
		p = p[len(piece):]
		if isPlain(piece) {
			b.flush()
			b.out.write(piece)
			continue
		}
		for _, c := range piece {
			if c == ' ' || c == '\t' {
				b.space = true
			} else {
				b.writeOctet(c)
			}
		}
	}
}

// isPlain tells whether white space in p is nothing but single spaces between
// words.
func isPlain(p []byte) bool {
	first, last := p[0], p[len(p)-1]
	return first != ' ' && last != ' ' && bytes.IndexByte(p, '\t') < 0 && !bytes.Contains(p, []byte("  "))
}

func (b *relaxedBody) writeOctet(c byte) {
	b.flush()
	b.out.octet(c)
}

// flush writes what stood before a visible octet.
func (b *relaxedBody) flush() {
	b.text = true
	for b.lines > 0 && b.out.err == nil {
		n := min(b.lines, int64(len(newlines)/2))
		b.out.write([]byte(newlines[:2*n]))
		b.lines -= n
	}
	if b.space {
		b.space = false
		b.out.octet(' ')
	}
}

// Close ends the body in one CRLF; an empty body stays empty.
func (b *relaxedBody) Close() error {
	if b.cr {
		b.writeOctet('\r')
	}
	if b.text {
		b.out.write([]byte("\r\n"))
	}
	b.out.flush()
	return b.out.err
}

// buffer joins small writes.
type buffer struct {
	w   io.Writer
	n   int
	err error
	b   [4096]byte
}

func (b *buffer) write(p []byte) {
	if len(p) > len(b.b)-b.n {
		b.flush()
	}
	b.n += copy(b.b[b.n:], p)
}

func (b *buffer) octet(c byte) {
	if b.n == len(b.b) {
		b.flush()
	}
	b.b[b.n] = c
	b.n++
}

func (b *buffer) flush() {
	if b.err == nil && b.n > 0 {
		_, b.err = b.w.Write(b.b[:b.n])
	}
	b.n = 0
}
