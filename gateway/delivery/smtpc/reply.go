package smtpc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"gatepost/mail"
)

// Bounds of a reply. RFC 5321 section 4.5.3.1.5 has 512 octets for a line;
// servers write more.
const (
	maxReplyLine   = 4096
	maxReplyLines  = 128
	maxReplyOctets = 32 << 10
	maxReplyText   = 1000 // octets of the text that are kept
)

// replyReader reads replies. The text of the last one stays in lines, one
// line each, as the server wrote it.
type replyReader struct {
	in    *bufio.Reader
	lines []byte
}

func newReplyReader(r io.Reader) *replyReader {
	return &replyReader{in: bufio.NewReaderSize(r, maxReplyLine)}
}

// next reads one reply (RFC 5321 section 4.2): all lines of the same code, "-"
// behind the code on all but the last. A line may end in LF alone.
func (r *replyReader) next() (mail.Reply, error) {
	r.lines = r.lines[:0]
	code := 0
	for range maxReplyLines {
		line, err := r.line()
		if err != nil {
			return mail.Reply{}, err
		}
		c, more, text, ok := cutReplyLine(line)
		if !ok || code != 0 && c != code {
			return mail.Reply{}, fmt.Errorf("%w: %q", ErrReply, mail.SafeText(string(line), 80))
		}
		code = c
		if len(r.lines) > 0 {
			r.lines = append(r.lines, '\n')
		}
		r.lines = append(r.lines, text...)
		if !more {
			return newReply(code, r.lines), nil
		}
		if len(r.lines) > maxReplyOctets {
			break
		}
	}
	return mail.Reply{}, fmt.Errorf("%w: longer than %d lines or %d octets", ErrReply, maxReplyLines, maxReplyOctets)
}

// line reads up to LF and gives what stands before CRLF. It is valid until
// the next read.
func (r *replyReader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: line longer than %d octets", ErrReply, maxReplyLine)
	}
	if err == io.EOF && len(line) > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// cutReplyLine splits "250-text". A code alone is a reply too (RFC 5321
// section 4.2, last paragraph).
func cutReplyLine(line []byte) (code int, more bool, text []byte, ok bool) {
	if len(line) < 3 {
		return 0, false, nil, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, nil, false
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, false, nil, false
	}
	if len(line) == 3 {
		return code, false, nil, true
	}
	return code, line[3] == '-', line[4:], line[3] == ' ' || line[3] == '-'
}

// newReply makes the text of a reply safe and takes the enhanced code (RFC
// 2034 section 4), which stands on every line, off it.
func newReply(code int, lines []byte) mail.Reply {
	reply := mail.Reply{Code: code}
	first, rest, more := bytes.Cut(lines, []byte("\n"))
	reply.Enhanced, first = cutEnhanced(code, first)
	if !more {
		reply.Text = mail.SafeText(string(first), maxReplyText)
		return reply
	}
	text := append(make([]byte, 0, len(lines)), first...)
	for line := range bytes.SplitSeq(rest, []byte("\n")) {
		_, line = cutEnhanced(code, line)
		text = append(append(text, ' '), line...)
	}
	reply.Text = mail.SafeText(string(text), maxReplyText)
	return reply
}

// cutEnhanced reads "5.1.1 " where its class fits the code.
func cutEnhanced(code int, text []byte) (mail.Enhanced, []byte) {
	var e mail.Enhanced
	rest := text
	for i := range e {
		n, digits := uint16(0), 0
		for digits < len(rest) && digits < 3 && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + uint16(rest[digits]-'0')
			digits++
		}
		e[i], rest = n, rest[digits:]
		switch {
		case digits == 0:
			return mail.Enhanced{}, text
		case i < 2 && (len(rest) == 0 || rest[0] != '.'):
			return mail.Enhanced{}, text
		case i < 2:
			rest = rest[1:]
		}
	}
	if int(e[0]) != code/100 || len(rest) > 0 && rest[0] != ' ' {
		return mail.Enhanced{}, text
	}
	return e, bytes.TrimLeft(rest, " ")
}
