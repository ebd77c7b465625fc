package wire

import (
	"bytes"
	"strconv"
	"time"

	"gatepost/mail"
)

const (
	absurdChunk  = 1 << 31 // size of a BDAT chunk that is not even skipped
	chunkReserve = 1 << 10 // with less room than this a chunk goes to go-smtp
)

// body is what the client is sending behind DATA or one BDAT command.
type body struct {
	counted bool  // BDAT
	left    int64 // of its octets
	octets  int64 // that it announced
	last    bool  // it ends the message

	pace    pace
	filter  *filter
	ended   bool       // all octets were taken
	refusal []byte     // the reply it will get, from go-smtp or the session
	own     mail.Reply // the reply it will get, from us
	block   *block
	chunk   []byte // in block: octets for go-smtp
}

// startData asks go-smtp whether a message may come.
func (c *Conn) startData(arg []byte) {
	switch {
	case len(arg) > 0:
		c.refuse(mail.ReplyArguments)
	case c.message != nil: // RFC 3030 section 2: no DATA behind BDAT
		c.refuse(mail.ReplyBadSequence)
	default:
		c.body = &body{last: true}
		c.feed(askStart, []byte("BDAT 0"))
	}
}

// startChunk begins a chunk of BDAT (RFC 3030 section 2). Its octets follow
// whether it is refused or not.
func (c *Conn) startChunk(arg []byte) error {
	octets, last, fault := parseChunk(arg)
	if fault.IsZero() && octets > max(absurdChunk, c.link.MessageSize) {
		fault = mail.ReplyTooBig
	}
	if !fault.IsZero() {
		c.violated(fault)
		return nil
	}
	b := &body{counted: true, left: octets, octets: octets, last: last}
	c.body = b
	switch r := c.barred("BDAT", arg); {
	case !r.IsZero():
		b.own = r
	case !c.link.Chunking:
		b.own = mail.ReplyNotImplemented
	case c.message == nil:
		c.feed(askStart, []byte("BDAT 0"))
		return nil
	}
	c.begin()
	return nil
}

// parseChunk reads the argument of BDAT.
func parseChunk(arg []byte) (octets int64, last bool, fault mail.Reply) {
	fields := bytes.Fields(arg)
	last = len(fields) == 2 && bytes.EqualFold(fields[1], []byte("LAST"))
	if len(fields) == 0 || len(fields) > 2 || len(fields) == 2 && !last || !allDigits(fields[0]) {
		return 0, false, mail.ReplyArguments
	}
	octets, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0, false, mail.ReplyTooBig
	}
	return octets, last, mail.Reply{}
}

func allDigits(b []byte) bool {
	for _, d := range b {
		if d < '0' || d > '9' {
			return false
		}
	}
	return len(b) > 0
}

// begin makes ready to take octets of the client: into the message that
// go-smtp is receiving, or into nothing.
func (c *Conn) begin() {
	b := c.body
	b.pace = pace{until: time.Now().Add(c.link.Data)}
	b.block = c.link.in.blocks.get()
	b.chunk = b.block[:0]
	b.ended = b.counted && b.left == 0
	if !b.counted || b.left > smallBuffer {
		c.link.in.widen()
	}
	if b.filter = c.message; b.filter == nil {
		b.filter = &filter{discard: true}
	}
}

// settleBody does with a reply what becomes of those to BDAT.
func (c *Conn) settleBody(reply []byte, code int) {
	accepted := code == 250
	switch {
	case c.asked == askStart && code != 421:
		c.settleStart(reply, accepted)
	case c.asked == askPiece && accepted:
		c.body.chunk = c.body.chunk[:0]
	case c.asked == askPiece && code != 421:
		c.body.refusal = bytes.Clone(reply)
		c.discard()
	case c.asked == askChunk && accepted:
		c.put(mail.ReplyOK.WithText(strconv.FormatInt(c.body.octets, 10) + " octets received"))
		c.endBody()
	default:
		c.message = nil
		c.pass(reply)
		c.endBody()
	}
}

// settleStart begins a body. That of BDAT comes even when go-smtp has refused.
func (c *Conn) settleStart(reply []byte, accepted bool) {
	b := c.body
	switch {
	case accepted:
		c.awaitData()
		c.message = c.newMessage()
		if !b.counted {
			c.put(mail.Reply{Code: 354, Text: "End data with <CR><LF>.<CR><LF>"})
		}
	case !b.counted:
		c.pass(reply)
		c.endBody()
		return
	default:
		b.refusal = bytes.Clone(reply)
	}
	c.begin()
}

func (c *Conn) newMessage() *filter {
	k, policy := c.link, c.link.DataNewline
	if c.body.counted {
		policy = k.BDATNewline
	}
	c.said.Lock()
	defer c.said.Unlock()
	c.refused = mail.Reply{}
	c.broken = false
	return &filter{normalize: policy == Normalize, lineLimit: k.LineLimit, sizeLimit: k.MessageSize}
}

// receive takes octets of the client until there is something for go-smtp or
// the body has ended.
func (c *Conn) receive() error {
	b, in := c.body, &c.link.in
	for !b.ended {
		room := (cap(b.chunk) - len(b.chunk)) / 2 // each LF may become CRLF
		if room < chunkReserve {
			c.feedChunk(askPiece, "")
			return nil
		}
		used := c.take(room)
		if c.aborted() {
			return nil
		}
		if b.ended || used > 0 && len(in.unread()) > 0 {
			continue
		}
		if err := c.read(&b.pace); err != nil {
			return err
		}
	}
	if b.last && c.message != nil {
		b.chunk = b.filter.finish(b.chunk)
		if c.aborted() {
			return nil
		}
	}
	c.endOfBody()
	return nil
}

// take moves octets that came in to the chunk, at most limit of them, and
// tells how many it took.
func (c *Conn) take(limit int) (used int) {
	b, in := c.body, &c.link.in
	src := in.unread()
	src = src[:min(len(src), limit)]
	if b.counted {
		used = int(min(int64(len(src)), b.left))
		b.chunk = b.filter.clean(b.chunk, src[:used])
		b.left -= int64(used)
		b.ended = b.left == 0
	} else {
		b.chunk, used, b.ended = b.filter.undot(b.chunk, src)
	}
	in.use(used)
	return used
}

// aborted ends the transaction of a message that must not be accepted. The
// rest of the body still has to come in, and then gets the refusal.
func (c *Conn) aborted() bool {
	if c.message == nil || c.message.fault.IsZero() {
		return false
	}
	fault := c.message.fault
	c.body.own = fault
	if id := c.traceID(); id != "" {
		c.body.own = fault.WithText(fault.Text + " (" + id + ")")
	}
	c.discard()
	c.breakOff(fault)
	return true
}

// breakOff ends the message that go-smtp receives so that it is not accepted.
func (c *Conn) breakOff(why mail.Reply) {
	c.message = nil
	c.said.Lock()
	defer c.said.Unlock()
	c.refused = why
	c.broken = true
	c.feed(askSilently, []byte("BDAT 0 LAST"))
}

func (c *Conn) traceID() string {
	c.said.Lock()
	defer c.said.Unlock()
	return c.trace
}

// discard drops what has come in of the body, and what will.
func (c *Conn) discard() {
	c.message = nil
	c.body.filter.discard = true
	c.body.chunk = c.body.chunk[:0]
}

// endOfBody answers a body that has come in, or lets go-smtp answer it.
func (c *Conn) endOfBody() {
	b := c.body
	switch {
	case !b.own.IsZero():
		c.refuse(b.own)
		c.endBody()
	case b.refusal != nil:
		c.pass(b.refusal)
		c.endBody()
	case b.last:
		c.feedChunk(askMessage, " LAST")
	default:
		c.feedChunk(askChunk, "")
	}
}

func (c *Conn) feedChunk(asked ask, last string) {
	c.scratch = append(c.scratch[:0], "BDAT "...)
	c.scratch = strconv.AppendInt(c.scratch, int64(len(c.body.chunk)), 10)
	c.scratch = append(c.scratch, last...)
	c.scratch = append(c.scratch, crlf...)
	c.line = c.scratch
	c.chunk = c.body.chunk
	c.asked = asked
}

// endBody goes back to commands.
func (c *Conn) endBody() {
	c.chunk = nil
	c.link.in.blocks.put(c.body.block)
	c.body = nil
}
