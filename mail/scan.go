package mail

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// maxLine is the longest line of a message without CRLF (RFC 5322 section 2.1.1).
const maxLine = 998

// Scanner finds the Shape of what is written to it, in one pass and in bulk.
// Its zero value is ready.
type Scanner struct {
	shape  Shape
	size   int64
	line   int64 // octets of the unfinished line
	lastCR bool  // the unfinished line ends in CR
	body   bool  // the empty line has been seen
}

// Write takes the next octets of the message. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	if !s.body {
		p = s.writeHeader(p)
	}
	if !s.shape.LongLine {
		s.lines(p)
	}
	if !s.shape.EightBitBody {
		s.shape.EightBitBody = hasEightBit(p)
	}
	s.size += int64(len(p))
	return n, nil
}

// writeHeader takes the header's part of p and gives the rest.
func (s *Scanner) writeHeader(p []byte) []byte {
	for len(p) > 0 && !s.body {
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		s.headerLine(p[:n])
		p = p[n:]
	}
	return p
}

func (s *Scanner) headerLine(p []byte) {
	s.body = s.line+int64(len(p)) == 2 && p[len(p)-1] == '\n' && (len(p) == 2 && p[0] == '\r' || len(p) == 1 && s.lastCR)
	s.shape.EightBitHeader = s.shape.EightBitHeader || hasEightBit(p)
	s.size += int64(len(p))
	s.shape.HeaderSize = s.size
	s.lines(p)
}

// lines measures the lines that end in LF; a CR before it does not count.
func (s *Scanner) lines(p []byte) {
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			s.line += int64(len(p))
			s.lastCR = p[len(p)-1] == '\r'
			break
		}
		length := s.line + int64(n)
		if n > 0 && p[n-1] == '\r' || n == 0 && s.lastCR {
			length--
		}
		s.shape.LongLine = s.shape.LongLine || length > maxLine
		s.line, s.lastCR = 0, false
		p = p[n+1:]
	}
}

// Shape is what has been found so far.
func (s *Scanner) Shape() Shape {
	shape := s.shape
	shape.LongLine = shape.LongLine || s.line > maxLine+1 || s.line > maxLine && !s.lastCR
	return shape
}

// Size is the number of octets written.
func (s *Scanner) Size() int64 { return s.size }

// Scan finds the Shape of a message.
func Scan(r io.Reader) (Shape, error) {
	var s Scanner
	if _, err := io.CopyBuffer(&s, struct{ io.Reader }{r}, make([]byte, 32<<10)); err != nil {
		return Shape{}, fmt.Errorf("scan message: %w", err)
	}
	return s.Shape(), nil
}

// hasEightBit looks for octets above 127, eight at a time.
func hasEightBit(p []byte) bool {
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&0x8080808080808080 != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
