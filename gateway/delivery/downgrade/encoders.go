package downgrade

import (
	"bytes"
	"io"
)

const upperHex = "0123456789ABCDEF"

// eightBitEncoder mends quoted-printable that holds bare 8-bit octets: those
// alone are encoded, the rest is quoted-printable already.
type eightBitEncoder struct{ out *bytes.Buffer }

func (e *eightBitEncoder) Write(p []byte) (int, error) {
	for _, c := range p {
		if c >= 0x80 {
			e.out.Write([]byte{'=', upperHex[c>>4], upperHex[c&15]})
			continue
		}
		e.out.WriteByte(c)
	}
	return len(p), nil
}

func (e *eightBitEncoder) Close() error { return nil }

// base64Encoder encodes into lines.
type base64Encoder struct {
	io.WriteCloser
	lines *lineWriter
}

func (e *base64Encoder) Close() error {
	err := e.WriteCloser.Close()
	e.lines.end()
	return err
}

// maxEncodedLine is RFC 2045 section 6.8.
const maxEncodedLine = 76

// lineWriter breaks what is written to it into lines.
type lineWriter struct {
	out  *bytes.Buffer
	used int // of the line
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.used == maxEncodedLine {
			w.out.WriteString("\r\n")
			w.used = 0
		}
		take := min(len(p), maxEncodedLine-w.used)
		w.out.Write(p[:take])
		w.used += take
		p = p[take:]
	}
	return n, nil
}

// end ends the last line. Before a delimiter that makes a line end more than
// needed, which decoders skip.
func (w *lineWriter) end() {
	if w.used > 0 {
		w.out.WriteString("\r\n")
	}
}
