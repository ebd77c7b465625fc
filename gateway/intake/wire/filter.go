package wire

import (
	"bytes"

	"gatepost/mail"
)

var (
	crlf    = []byte("\r\n")
	crlfDot = []byte("\r\n.")
	theEnd  = []byte(".\r\n")
)

// filter turns the octets of one message as they come in into those that
// go-smtp may see. It keeps its place between pieces, however they are cut.
type filter struct {
	normalize bool
	lineLimit int
	sizeLimit int64

	within  bool // DATA: not at the start of a line
	column  int  // octets of the line so far
	cr      bool // a CR came last, and what follows decides about it
	size    int64
	fault   mail.Reply // what is wrong with the message
	discard bool       // only the end of data is looked for
}

// undot takes DATA: it appends the content in src to dst and tells how much of
// src it used and whether it met the end of data (RFC 5321 section 4.1.1.4). It
// leaves octets in src that it cannot judge before more have come.
func (f *filter) undot(dst, src []byte) (out []byte, used int, end bool) {
	for used < len(src) {
		rest := src[used:]
		if !f.within {
			if bytes.HasPrefix(rest, theEnd) {
				return dst, used + len(theEnd), true
			}
			if bytes.HasPrefix(theEnd, rest) {
				return dst, used, false
			}
			f.within = true
			if rest[0] == '.' { // RFC 5321 section 4.5.2
				used++
				continue
			}
		}
		n := contentLength(rest)
		dst = f.clean(dst, rest[:n])
		used += n
		if n == 0 {
			return dst, used, false
		}
		f.within = !bytes.HasSuffix(rest[:n], crlf)
	}
	return dst, used, false
}

// contentLength is how much of src surely is content: up to the CRLF before
// the next dot, or all but a CR at the end.
func contentLength(src []byte) int {
	if i := bytes.Index(src, crlfDot); i >= 0 {
		return i + 2
	}
	if src[len(src)-1] == '\r' {
		return len(src) - 1
	}
	return len(src)
}

// clean appends src to dst as the policy wants it. After a fault it appends
// nothing.
func (f *filter) clean(dst, src []byte) []byte {
	if f.discard || !f.fault.IsZero() {
		return dst
	}
	nul := bytes.IndexByte(src, 0)
	if nul >= 0 {
		src = src[:nul]
	}
	before := len(dst)
	for len(src) > 0 && f.fault.IsZero() {
		if f.cr {
			dst, src = f.afterCR(dst, src)
			continue
		}
		n := f.cleanRun(src)
		dst = append(dst, src[:n]...)
		if src = src[n:]; len(src) > 0 {
			dst, src = f.newline(dst, src)
		}
	}
	f.count(len(dst) - before)
	if nul >= 0 {
		f.fail(mail.ReplyNUL)
	}
	return dst
}

// cleanRun is the length of what needs no change at the start of src: lines
// ending in CRLF, and what is left without CR and LF.
func (f *filter) cleanRun(src []byte) int {
	pos := 0
	for pos < len(src) {
		line := src[pos:]
		lf := bytes.IndexByte(line, '\n')
		if lf >= 0 {
			line = line[:lf+1]
		}
		cr := bytes.IndexByte(line, '\r')
		if lf > 0 && cr == lf-1 {
			f.advance(len(line))
			f.column = 0
			pos += len(line)
			continue
		}
		n := len(line)
		if cr >= 0 {
			n = cr
		} else if lf >= 0 {
			n = lf
		}
		f.advance(n)
		return pos + n
	}
	return pos
}

// newline takes what cleanRun stopped at: a bare LF, or a CR.
func (f *filter) newline(dst, src []byte) ([]byte, []byte) {
	if src[0] == '\r' {
		f.cr = true
		return dst, src[1:]
	}
	return f.bare(dst), src[1:]
}

// afterCR takes what follows a CR that was held back.
func (f *filter) afterCR(dst, src []byte) ([]byte, []byte) {
	switch src[0] {
	case '\n':
		f.cr = false
		f.advance(2)
		f.column = 0
		return append(dst, crlf...), src[1:]
	case '\r':
		if !f.normalize {
			return f.bare(dst), nil
		}
		return dst, src[1:] // a run of CRs is one
	}
	f.cr = false
	return f.bare(dst), src
}

// bare ends a line that ended in a bare CR or LF.
func (f *filter) bare(dst []byte) []byte {
	if !f.normalize {
		f.fail(mail.ReplyBareNewline) // RFC 5321 section 2.3.8
		return dst
	}
	f.advance(2)
	f.column = 0
	return append(dst, crlf...)
}

// finish ends the message behind its last octet.
func (f *filter) finish(dst []byte) []byte {
	if !f.cr || f.discard || !f.fault.IsZero() {
		return dst
	}
	f.cr = false
	before := len(dst)
	dst = f.bare(dst)
	f.count(len(dst) - before)
	return dst
}

func (f *filter) advance(n int) {
	if f.column += n; f.column > f.lineLimit {
		f.fail(mail.ReplyMessageLine)
	}
}

func (f *filter) count(n int) {
	if f.size += int64(n); f.size > f.sizeLimit {
		f.fail(mail.ReplyTooBig)
	}
}

// fail keeps the first fault.
func (f *filter) fail(r mail.Reply) {
	if f.fault.IsZero() {
		f.fault = r
	}
}
