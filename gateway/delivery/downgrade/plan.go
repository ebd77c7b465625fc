package downgrade

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"mime/quotedprintable"
	"strings"
)

// Error says why a message cannot be re-encoded.
type Error struct{ Reason string }

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

// Encodings of RFC 2045 section 6.
const (
	sevenBit        = "7bit"
	quotedPrintable = "quoted-printable"
	base64Encoding  = "base64"
)

// Plan says which parts of one message are written in which encoding.
type Plan struct {
	encodings map[int]string
}

// count is what Examine knows of a leaf.
type count struct{ all, eight int64 }

// Examine reads a message, and decides for every part how it is written. It
// gives an *Error when a part must not be touched and cannot stay.
func Examine(r io.Reader) (*Plan, error) {
	plan := &Plan{encodings: map[int]string{}}
	w := newWalker(r)
	var n count
	for {
		p, err := w.next()
		if errors.Is(err, io.EOF) {
			return plan, nil
		}
		if err != nil {
			return nil, err
		}
		switch p.kind {
		case pieceHeader:
			n = count{}
			plan.relabel(p.part)
		case pieceBody:
			n.all += int64(len(p.octets))
			n.eight += eightBits(p.octets)
		case pieceEnd:
			if err := plan.choose(p.part, n); err != nil {
				return nil, err
			}
		}
	}
}

// relabel calls a part 7bit whose 8bit or binary is about to go away: on a
// multipart and on a message no other encoding may stand (RFC 2045 section 6.4).
func (plan *Plan) relabel(p *part) {
	if !p.sealed && !p.malformed && (p.encoding == "8bit" || p.encoding == "binary") {
		plan.encodings[p.number] = sevenBit
	}
}

// choose decides on a leaf: base64 where quoted-printable would be longer, or
// where the octets are no text.
func (plan *Plan) choose(p *part, n count) error {
	if n.eight == 0 {
		return nil
	}
	if reason := p.forbidden(); reason != "" {
		return &Error{reason}
	}
	switch {
	case p.encoding == quotedPrintable:
		plan.encodings[p.number] = quotedPrintable
	case strings.HasPrefix(p.mediaType, "text/") && n.eight*3 < n.all:
		plan.encodings[p.number] = quotedPrintable
	default:
		plan.encodings[p.number] = base64Encoding
	}
	return nil
}

// Reader gives the message of the plan in its new encoding. It must be read
// from the same octets that were examined.
func (plan *Plan) Reader(r io.Reader) io.Reader {
	return &reader{plan: plan, walker: newWalker(r)}
}

type reader struct {
	plan    *Plan
	walker  *walker
	out     bytes.Buffer
	encoder io.WriteCloser // of the current leaf; nil: its octets stay
	err     error
}

// Read gives the next octets.
func (r *reader) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.err = r.step()
	}
	return r.out.Read(p)
}

func (r *reader) step() error {
	p, err := r.walker.next()
	if err != nil {
		return err
	}
	switch p.kind {
	case pieceHeader:
		r.header(p)
	case pieceFrame:
		writeSevenBit(&r.out, p.octets)
	case pieceBody:
		if r.encoder == nil {
			r.out.Write(p.octets)
			return nil
		}
		_, err = r.encoder.Write(p.octets)
	case pieceEnd:
		if r.encoder != nil {
			err = r.encoder.Close()
			r.encoder = nil
		}
	}
	return err
}

// header writes the header of a part and makes the encoder of its body.
func (r *reader) header(p piece) {
	encoding, changed := r.plan.encodings[p.part.number]
	if !changed || encoding == p.part.encoding && encoding != quotedPrintable {
		r.out.Write(p.octets)
		return
	}
	if p.part.encoding == quotedPrintable {
		r.out.Write(p.octets)
		r.encoder = &eightBitEncoder{&r.out}
		return
	}
	r.out.Write(p.part.rewrite(p.octets, encoding))
	switch encoding {
	case quotedPrintable:
		r.encoder = quotedprintable.NewWriter(&r.out)
	case base64Encoding:
		lines := &lineWriter{out: &r.out}
		r.encoder = &base64Encoder{base64.NewEncoder(base64.StdEncoding, lines), lines}
	}
}

// eightBits counts octets above 127.
func eightBits(b []byte) (n int64) {
	for _, c := range b {
		n += int64(c >> 7)
	}
	return n
}

// writeSevenBit writes what nobody reads, without its 8-bit octets.
func writeSevenBit(out *bytes.Buffer, b []byte) {
	if eightBits(b) == 0 {
		out.Write(b)
		return
	}
	for _, c := range b {
		if c >= 0x80 {
			c = '?'
		}
		out.WriteByte(c)
	}
}
