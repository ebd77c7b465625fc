package smtpc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"gatepost/mail"
)

const (
	readSize  = 32 << 10
	writeSize = 32 << 10 // what waits is written when it is longer than this
	// earlyReply is how long a server that closed in the middle of the message
	// is listened to: its reply may be waiting in the socket.
	earlyReply = time.Second
)

// Buffers are shared by the connections of one user.
type Buffers struct{ pool sync.Pool }

// NewBuffers makes an empty store of buffers.
func NewBuffers() *Buffers {
	return &Buffers{sync.Pool{New: func() any { return &buffers{in: make([]byte, readSize)} }}}
}

type buffers struct{ in, out []byte }

// Content sends the message and the final dot, after beforeDot agreed (nil:
// always), and gives the replies: one, or with LMTP one per accepted recipient
// (RFC 2033 section 4.2). With an error come those that arrived before it. A
// message must consist of lines that end in CRLF; only the last CRLF is added.
func (c *Conn) Content(ctx context.Context, r io.Reader, accepted int, beforeDot func(context.Context) error) ([]mail.Reply, error) {
	defer c.begin(ctx)()
	b := c.options.Buffers.pool.Get().(*buffers)
	defer c.options.Buffers.pool.Put(b)
	if err := c.send(r, b, beforeDot); err != nil {
		return nil, err
	}
	if !c.options.LMTP {
		accepted = 1
	}
	replies := make([]mail.Reply, 0, accepted)
	for range accepted {
		reply, err := c.reply(StageFinal, c.options.Timeouts.DataEnd)
		if err != nil {
			return replies, err
		}
		replies = append(replies, reply)
	}
	c.unclean = false
	return replies, nil
}

// send writes the message with its dots doubled and the final dot. A small
// message is one write.
func (c *Conn) send(r io.Reader, b *buffers, beforeDot func(context.Context) error) error {
	s := stuffer{out: b.out[:0], lineStart: true}
	defer func() { b.out = s.out }()
	for {
		n, err := r.Read(b.in)
		if checkErr := s.add(b.in[:n]); checkErr != nil {
			return c.fail(StageSource, checkErr)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return c.fail(StageSource, fmt.Errorf("read message: %w", err))
		}
		if len(s.out) >= writeSize {
			if err := c.writeBlock(s.out); err != nil {
				return err
			}
			s.out = s.out[:0]
		}
	}
	if err := s.end(); err != nil {
		return c.fail(StageSource, err)
	}
	if beforeDot != nil {
		if err := beforeDot(c.ctx); err != nil {
			return c.fail(StageSource, err)
		}
	}
	if err := c.writeBlock(s.out); err != nil {
		return err
	}
	c.setPatient(true)
	return nil
}

// writeBlock writes a part of the message. When it fails, the server may have
// said why before it closed.
func (c *Conn) writeBlock(p []byte) error {
	c.arm(c.options.Timeouts.DataBlock)
	_, err := c.stream.Write(p)
	if err == nil {
		return nil
	}
	failure := c.fail(StageContent, fmt.Errorf("write message: %w", c.cause(err)))
	c.arm(earlyReply)
	if reply, err := c.replies.next(); err == nil && reply.Code >= 400 {
		return &Error{Stage: StageContent, Reply: reply}
	}
	return failure
}

// stuffer doubles the dot at the start of a line (RFC 5321 section 4.5.2). It
// looks for the few lines that need it instead of at every line.
type stuffer struct {
	out       []byte
	lineStart bool // the next octet begins a line
	pendingCR bool // the last octet was a CR
}

// add appends p. A CR or LF alone is refused: to send one would let a message
// end early at a server that takes it for a line end.
func (s *stuffer) add(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := s.checkNewlines(p); err != nil {
		return err
	}
	for len(p) > 0 {
		if s.lineStart && p[0] == '.' {
			s.out = append(s.out, '.')
		}
		n := bytes.Index(p, []byte("\n."))
		if n < 0 {
			s.out = append(s.out, p...)
			s.lineStart = p[len(p)-1] == '\n'
			return nil
		}
		s.out = append(s.out, p[:n+1]...)
		s.lineStart = true
		p = p[n+1:]
	}
	return nil
}

// checkNewlines counts: where there are as many CRLF as CR and as LF, none is
// alone.
func (s *stuffer) checkNewlines(p []byte) error {
	pairs, returns, feeds := bytes.Count(p, []byte("\r\n")), bytes.Count(p, []byte{'\r'}), bytes.Count(p, []byte{'\n'})
	if s.pendingCR {
		if p[0] != '\n' {
			return ErrNewline
		}
		feeds--
	}
	s.pendingCR = p[len(p)-1] == '\r'
	if s.pendingCR {
		returns--
	}
	if pairs != returns || pairs != feeds {
		return ErrNewline
	}
	return nil
}

// end completes the last line and appends the final dot.
func (s *stuffer) end() error {
	if s.pendingCR {
		return ErrNewline
	}
	if !s.lineStart {
		s.out = append(s.out, "\r\n"...)
	}
	s.out = append(s.out, ".\r\n"...)
	return nil
}
