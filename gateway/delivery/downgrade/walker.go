package downgrade

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is walked through.
const (
	maxHeader = 512 << 10 // octets of the header of one part
	maxDepth  = 30        // multiparts inside each other
	maxParts  = 20_000
	pieceSize = 8 << 10
)

// kind tells what a piece of the message is.
type kind int

const (
	pieceHeader kind = iota // a whole header with its empty line
	pieceBody               // octets of the body of a leaf
	pieceFrame              // delimiters, preambles and epilogues
	pieceEnd                // the body of a leaf ends; no octets
)

// piece is a run of octets of one part. All pieces together are the message.
type piece struct {
	kind   kind
	part   *part
	octets []byte
}

// walker cuts a message into pieces. It holds one line, or a part of it, and
// one header in memory.
type walker struct {
	in        *bufio.Reader
	parts     int
	open      []*part // multiparts that the current line is inside of
	leaf      *part   // whose body the current line belongs to
	lineStart bool
	heldCRLF  bool // a line end that is the leaf's unless a delimiter follows
	queue     []piece
	ended     bool
}

func newWalker(r io.Reader) *walker {
	return &walker{in: bufio.NewReaderSize(r, pieceSize), lineStart: true}
}

// next gives the next piece, valid until the next call, or io.EOF.
func (w *walker) next() (piece, error) {
	for len(w.queue) == 0 {
		if w.ended {
			return piece{}, io.EOF
		}
		if err := w.step(); err != nil {
			return piece{}, err
		}
	}
	p := w.queue[0]
	w.queue = w.queue[1:]
	return p, nil
}

// step reads a header, or one line or a part of it.
func (w *walker) step() error {
	w.queue = w.queue[:0]
	if w.parts == 0 {
		return w.header(nil)
	}
	line, err := w.in.ReadSlice('\n')
	switch {
	case err == io.EOF && len(line) == 0:
		w.end()
		return nil
	case err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("read message: %w", err)
	}
	if errors.Is(err, bufio.ErrBufferFull) && line[len(line)-1] == '\r' {
		_ = w.in.UnreadByte() // keep CR and LF together; it cannot fail behind a read
		line = line[:len(line)-1]
	}
	atStart := w.lineStart
	w.lineStart = bytes.HasSuffix(line, []byte("\n"))
	if depth, last := w.delimiter(line); atStart && depth >= 0 {
		return w.boundary(line, depth, last)
	}
	w.content(line)
	return nil
}

// content is a line, or a part of it, that is no delimiter.
func (w *walker) content(line []byte) {
	if w.leaf == nil {
		w.emit(pieceFrame, nil, line)
		return
	}
	if w.heldCRLF {
		w.emit(pieceBody, w.leaf, []byte("\r\n"))
		w.heldCRLF = false
	}
	if text, ok := bytes.CutSuffix(line, []byte("\r\n")); ok {
		line, w.heldCRLF = text, true
	}
	if len(line) > 0 {
		w.emit(pieceBody, w.leaf, line)
	}
}

func (w *walker) emit(k kind, p *part, octets []byte) {
	w.queue = append(w.queue, piece{k, p, octets})
}

// delimiter finds the multipart that a line delimits, the innermost first
// (RFC 2046 section 5.1.2), or -1.
func (w *walker) delimiter(line []byte) (depth int, last bool) {
	if !bytes.HasPrefix(line, []byte("--")) {
		return -1, false
	}
	text := bytes.TrimRight(line[2:], " \t\r\n")
	for i := len(w.open) - 1; i >= 0; i-- {
		boundary := w.open[i].boundary
		if string(text) == boundary {
			return i, false
		}
		if len(text) == len(boundary)+2 && string(text) == boundary+"--" {
			return i, true
		}
	}
	return -1, false
}

// boundary ends a leaf and what is inside the delimited multipart, and begins
// the next part.
func (w *walker) boundary(line []byte, depth int, last bool) error {
	w.endLeaf()
	if w.heldCRLF { // it belongs to the delimiter (RFC 2046 section 5.1.1)
		w.emit(pieceFrame, nil, []byte("\r\n"))
		w.heldCRLF = false
	}
	w.emit(pieceFrame, nil, bytes.Clone(line))
	parent := w.open[depth]
	if last {
		w.open = w.open[:depth] // what follows is epilogue
		return nil
	}
	w.open = w.open[:depth+1]
	return w.header(parent)
}

func (w *walker) endLeaf() {
	if w.leaf != nil {
		w.emit(pieceEnd, w.leaf, nil)
		w.leaf = nil
	}
}

// end is the end of the message. A line end that is still held is the leaf's.
func (w *walker) end() {
	w.ended = true
	if w.leaf != nil && w.heldCRLF {
		w.emit(pieceBody, w.leaf, []byte("\r\n"))
	}
	w.endLeaf()
}

// header reads the header of a part, and those of the messages that it
// consists of: message/rfc822 has a header of its own at once.
func (w *walker) header(parent *part) error {
	for {
		raw, err := w.readHeader()
		if err != nil {
			return err
		}
		if w.parts++; w.parts > maxParts || len(w.open) > maxDepth {
			return &Error{"too many parts"}
		}
		p := newPart(w.parts-1, raw, parent)
		w.emit(pieceHeader, p, raw)
		if p.isMessage() && w.parts < maxParts {
			parent = p
			continue
		}
		if p.boundary != "" {
			w.open = append(w.open, p)
			return nil
		}
		w.leaf = p
		return nil
	}
}

// readHeader reads up to the empty line, or to a delimiter, which ends a
// header that lacks it.
func (w *walker) readHeader() ([]byte, error) {
	var raw []byte
	for {
		if next, err := w.in.Peek(2); err == nil && string(next) == "--" && w.peekDelimiter() {
			return raw, nil
		}
		line, err := w.in.ReadSlice('\n')
		raw = append(raw, line...)
		switch {
		case len(raw) > maxHeader:
			return nil, &Error{"header of a part is too long"}
		case err == io.EOF:
			return raw, nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, fmt.Errorf("read message: %w", err)
		case len(line) == 2 && line[0] == '\r' && (len(raw) == 2 || raw[len(raw)-3] == '\n'):
			return raw, nil
		}
	}
}

// peekDelimiter tells whether a delimiter stands next.
func (w *walker) peekDelimiter() bool {
	ahead, _ := w.in.Peek(maxBoundary + 8) // a shorter rest is all there is
	line, _, found := bytes.Cut(ahead, []byte("\n"))
	depth, _ := w.delimiter(line)
	return depth >= 0 && (found || len(ahead) < maxBoundary+8)
}
