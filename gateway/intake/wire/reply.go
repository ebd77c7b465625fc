package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gatepost/mail"
)

// ask is what a line fed to go-smtp is for, and so what becomes of its reply.
type ask int

const (
	askGreeting ask = iota // nothing was fed yet
	askCommand             // the client's command as it is
	askHello               // EHLO or HELO
	askStart               // "BDAT 0": may a message come?
	askPiece               // octets of a message, more follow without the client's doing
	askChunk               // the last octets of a chunk that is not the last one
	askMessage             // the last octets of a message
	askSilently            // our own doing, the client has its reply
)

// settle does with the reply of go-smtp what the line it answers was fed for.
func (c *Conn) settle() {
	if len(c.reply) == 0 {
		return
	}
	reply := c.reply
	c.reply = c.reply[:0]
	code := replyCode(reply)
	switch c.asked {
	case askGreeting:
		if !c.greeted || code != 220 {
			c.pass(reply)
		}
	case askCommand:
		c.authing = c.verb == "AUTH" && code == 334
		c.pass(reply)
	case askHello:
		c.hello(reply, code)
	case askSilently:
		if code == 421 {
			c.pass(reply)
		}
	default:
		c.settleBody(reply, code)
	}
}

// lastWords lets the reply go out behind which go-smtp closes: to QUIT, or 421.
func (c *Conn) lastWords() {
	if len(c.reply) > 0 && (c.asked == askCommand || replyCode(c.reply) == 421) {
		c.pass(c.reply)
	}
	c.reply = nil
}

// pass lets a reply of go-smtp or the session go to the client.
func (c *Conn) pass(reply []byte) {
	start := len(c.link.out)
	for _, m := range mended {
		if rest, found := bytes.CutPrefix(reply, []byte(m.from)); found && m.applies(c.verb) {
			c.link.out = append(c.link.out, m.to...)
			reply = rest
			break
		}
	}
	c.link.out = append(c.link.out, reply...)
	if passed := c.link.out[start:]; replyCode(passed) >= 400 {
		c.reckon(Fault{Verb: c.verb, Reply: parseReply(passed)})
	}
}

// mended lists replies of go-smtp whose code is not the one of the RFC.
var mended = []struct {
	from, to string
	applies  func(verb string) bool
}{
	// RFC 5321 section 4.2.4: 502 is for commands that do not exist, 503 for
	// those out of order.
	{"502 5.5.1 ", "503 5.5.1 ", func(verb string) bool {
		switch verb {
		case "MAIL", "RCPT", "DATA", "BDAT", "AUTH":
			return true
		}
		return false
	}},
	// RFC 4954 section 4.
	{"454 4.7.0 Invalid base64", "501 5.5.2 Invalid base64", func(verb string) bool { return verb == "AUTH" }},
}

// put sends a reply of ours.
func (c *Conn) put(r mail.Reply) {
	c.link.out = append(c.link.out, r.String()...)
	c.link.out = append(c.link.out, crlf...)
}

// refuse sends a refusal of ours.
func (c *Conn) refuse(r mail.Reply) {
	c.put(r)
	c.reckon(Fault{Verb: c.verb, Reply: r, Own: true})
}

// violated sends a refusal of ours and ends the connection.
func (c *Conn) violated(r mail.Reply) {
	c.refuse(r)
	c.violatedBy(ErrViolated, mail.Reply{})
}

// violatedBy ends the connection because of err, with last words if there are any.
func (c *Conn) violatedBy(err error, last mail.Reply) {
	if !last.IsZero() {
		c.put(last)
	}
	if c.link.err == nil {
		c.link.err = err
	}
	c.link.linger = true
	c.ending = true
}

// reckon tells the caller of a refusal. 421, whoever says it, ends the
// connection (RFC 5321 section 3.8).
func (c *Conn) reckon(f Fault) {
	if f.Reply.Code == 421 {
		c.link.linger = true
		c.ending = true
	}
	if c.link.OnError != nil && c.link.OnError(f) && !c.ending {
		c.violatedBy(ErrViolated, mail.ReplyTooManyErrors)
	}
}

// feed gives go-smtp a line.
func (c *Conn) feed(asked ask, line []byte) {
	c.scratch = append(c.scratch[:0], line...)
	c.scratch = append(c.scratch, crlf...)
	c.line = c.scratch
	c.asked = asked
}

// hello passes the reply to EHLO and HELO. It begins with our name (RFC 5321
// section 4.1.1.1) and offers what the listener offers.
func (c *Conn) hello(reply []byte, code int) {
	if code != 250 {
		c.pass(reply)
		return
	}
	if !c.isPrepared() {
		c.refuse(mail.ReplyLocalError)
		c.violatedBy(errUnprepared, mail.Reply{})
		return
	}
	lines := [][]byte{[]byte(c.link.Hostname)}
	if c.verb == "EHLO" {
		lines = append(lines, c.keywords(reply)...)
	}
	for i, line := range lines {
		separator := byte('-')
		if i == len(lines)-1 {
			separator = ' '
		}
		c.link.out = append(c.link.out, '2', '5', '0', separator)
		c.link.out = append(c.link.out, line...)
		c.link.out = append(c.link.out, crlf...)
	}
}

// keywords edits those of go-smtp, which stand behind its first line.
func (c *Conn) keywords(reply []byte) [][]byte {
	var out [][]byte
	for i, line := range bytes.Split(bytes.TrimSuffix(reply, crlf), crlf) {
		if i == 0 || len(line) < 4 {
			continue
		}
		word := line[4:]
		if !c.link.Chunking && string(word) == "CHUNKING" {
			continue
		}
		out = append(out, word)
	}
	if c.offersTLS() {
		out = append(out, []byte("STARTTLS"))
	}
	return out
}

func replyCode(reply []byte) int {
	if len(reply) < 3 {
		return 0
	}
	code, err := strconv.Atoi(string(reply[:3]))
	if err != nil {
		return 0
	}
	return code
}

// parseReply reads the first line of a reply.
func parseReply(reply []byte) mail.Reply {
	line, _, _ := bytes.Cut(reply, crlf)
	r := mail.Reply{Code: replyCode(line)}
	text := string(line[min(len(line), 4):])
	if word, rest, _ := strings.Cut(text, " "); len(word) >= 5 {
		var e mail.Enhanced
		if n, _ := fmt.Sscanf(word, "%d.%d.%d", &e[0], &e[1], &e[2]); n == 3 {
			r.Enhanced, text = e, rest
		}
	}
	r.Text = mail.SafeText(text, 512)
	return r
}
