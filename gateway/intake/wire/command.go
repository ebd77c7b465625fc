package wire

import (
	"bytes"
	"strings"
	"time"

	"gatepost/mail"
)

const (
	plainLimit = 512   // RFC 5321 section 4.5.3.1.4
	authLimit  = 12288 // RFC 4954 section 4
)

// verbs are what go-smtp knows how to answer. It counts others against a
// limit of its own, so they never reach it.
var verbs = []string{
	"EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "AUTH",
	"EXPN", "HELP", "SEND", "SOML", "SAML", "TURN",
}

// webMethods begin a request of HTTP, which someone may have talked a browser
// into sending here.
var webMethods = []string{"GET ", "POST ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "CONNECT ", "TRACE ", "PATCH ", "PRI "}

// command reads one line and feeds it to go-smtp, or answers it.
func (c *Conn) command() error {
	line := c.resumed
	if c.resumed = nil; line == nil {
		var err error
		if line, err = c.readLine(); err != nil || line == nil {
			return err
		}
	}
	if c.authing {
		c.feed(askCommand, line)
		return nil
	}
	if isWeb(line) {
		c.violated(mail.ReplyUnknownCommand.WithText("This is not a web server"))
		return nil
	}
	// RFC 5321 section 4.1.1: white space at the end is tolerated.
	return c.dispatch(bytes.TrimRight(line, " \t"))
}

// dispatch answers a command, or feeds it to go-smtp.
func (c *Conn) dispatch(line []byte) error {
	verb, arg := splitCommand(line)
	c.verb = verb
	if c.isTooMuch(verb) {
		c.violated(mail.ReplyTooManyErrors.WithText("Too many commands without a message, closing the connection"))
		return nil
	}
	if verb == "BDAT" {
		return c.startChunk(arg)
	}
	if r := c.barred(verb, line); !r.IsZero() {
		c.refuse(r)
		return nil
	}
	if c.message != nil && (verb == "RSET" || verb == "EHLO" || verb == "HELO") {
		c.resumed = bytes.Clone(line)
		c.breakOff(mail.Reply{})
		return nil
	}
	switch verb {
	case "STARTTLS":
		return c.startTLS(arg)
	case "DATA":
		c.startData(arg)
	case "EHLO", "HELO":
		c.feed(askHello, line)
	case "RCPT":
		c.feed(askCommand, c.fullRecipient(line))
	default:
		c.feed(askCommand, line)
	}
	return nil
}

// isTooMuch counts commands that move no mail. One connection could keep a
// processor busy with them until its session ends.
func (c *Conn) isTooMuch(verb string) bool {
	switch verb {
	case "DATA", "BDAT":
		c.link.junk = 0
	case "EHLO", "HELO", "NOOP", "RSET", "VRFY", "EXPN", "HELP", "STARTTLS":
		c.link.junk++
	}
	return c.link.junk > c.link.JunkCommands
}

// barred tells why verb may not be used now.
func (c *Conn) barred(verb string, line []byte) mail.Reply {
	k := c.link
	switch {
	case len(line) == 0:
		return mail.ReplySyntax
	case verb == "":
		return mail.ReplyUnknownCommand
	case !k.allows(verb):
		return mail.ReplyProxyOnly
	case k.Mode == Required && k.tls == nil && !beforeTLS(verb):
		return mail.ReplyMustTLS
	}
	return mail.Reply{}
}

// beforeTLS tells what may be said where TLS is required (RFC 3207 section 4).
func beforeTLS(verb string) bool {
	switch verb {
	case "EHLO", "HELO", "NOOP", "RSET", "QUIT", "STARTTLS", "HELP":
		return true
	}
	return false
}

// splitCommand finds the verb in its upper-case form, "" for one that is not
// known, and its argument.
func splitCommand(line []byte) (verb string, arg []byte) {
	word, arg, _ := bytes.Cut(line, []byte(" "))
	arg = bytes.Trim(arg, " \t")
	if len(word) == len("STARTTLS") && strings.EqualFold(string(word), "STARTTLS") {
		return "STARTTLS", arg
	}
	if len(word) != 4 {
		return "", arg
	}
	for _, v := range verbs {
		if strings.EqualFold(v, string(word)) {
			return v, arg
		}
	}
	return "", arg
}

// fullRecipient gives <postmaster> without a domain the address it stands for
// (RFC 5321 section 4.1.1.3).
func (c *Conn) fullRecipient(line []byte) []byte {
	const bare = "<postmaster>"
	at := bytes.IndexByte(line, '<')
	if at < 0 || c.link.Postmaster.IsNull() || len(line) < at+len(bare) ||
		!strings.EqualFold(string(line[at:at+len(bare)]), bare) {
		return line
	}
	full := append([]byte(nil), line[:at]...)
	full = append(full, c.link.Postmaster.Path()...)
	return append(full, line[at+len(bare):]...)
}

func isWeb(line []byte) bool {
	for _, m := range webMethods {
		if len(line) >= len(m) && string(line[:len(m)]) == m {
			return true
		}
	}
	return false
}

// readLine waits for a line and gives it without its CRLF. It gives nil when
// it has refused the line instead.
func (c *Conn) readLine() ([]byte, error) {
	k := c.link
	inTransfer := c.message != nil
	if !inTransfer && k.mustLeave() {
		return nil, ErrShutdown
	}
	k.in.narrow()
	var by time.Time
	for {
		if c.skipping {
			c.skip()
		}
		if !c.skipping {
			if line, done := c.cutLine(); done {
				return line, c.flushMany()
			}
		}
		if by.IsZero() {
			by = time.Now().Add(k.Command)
		}
		if err := k.fill(by, !inTransfer); err != nil {
			return nil, err
		}
	}
}

// flushMany bounds what is held for a client that pipelines without end.
func (c *Conn) flushMany() error {
	if len(c.link.out) < holdReplies {
		return nil
	}
	return c.link.flush()
}

// cutLine takes a line out of what came in. It is done when there is one, or
// when it has refused one: as soon as it is seen to be wrong, for whoever ends
// lines in LF alone would wait for ever.
func (c *Conn) cutLine() (line []byte, done bool) {
	k := c.link
	buf := k.in.unread()
	limit := c.lineLimit(buf)
	lf := bytes.IndexByte(buf[:min(len(buf), limit)], '\n')
	text := buf
	switch {
	case lf < 0 && len(buf) >= limit:
		c.refuseLine(mail.ReplyLineTooLong)
		return nil, true
	case lf == 0 || lf > 0 && buf[lf-1] != '\r':
		c.refuseLine(mail.ReplySyntax.WithText("Lines must end in CRLF"))
		return nil, true
	case lf > 0:
		text = buf[:lf-1]
	case len(buf) > 0 && buf[len(buf)-1] == '\r':
		text = buf[:len(buf)-1]
	}
	if bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		c.refuseLine(mail.ReplySyntax.WithText("Bare CR or NUL in a command"))
		return nil, true
	}
	if lf > 0 {
		k.in.use(lf + 1)
	}
	return text, lf > 0
}

// lineLimit is how long the line at the start of buf may be with its CRLF.
func (c *Conn) lineLimit(buf []byte) int {
	if c.authing {
		return authLimit
	}
	if len(buf) < 4 {
		return plainLimit
	}
	switch strings.ToUpper(string(buf[:4])) {
	case "MAIL", "RCPT":
		return c.link.CommandLimit
	case "AUTH":
		return authLimit
	}
	return plainLimit
}

// refuseLine answers a line that is no command. What is left of it up to its
// CRLF is skipped. An AUTH exchange that it belongs to is cancelled (RFC 4954
// section 4).
func (c *Conn) refuseLine(r mail.Reply) {
	c.skipping = true
	c.skip()
	if c.authing {
		c.authing = false
		c.refuse(r)
		c.feed(askSilently, []byte("*"))
		return
	}
	c.verb = ""
	c.refuse(r)
}

// skip drops octets up to the next CRLF.
func (c *Conn) skip() {
	in := &c.link.in
	buf := in.unread()
	if i := bytes.Index(buf, crlf); i >= 0 {
		in.use(i + 2)
		c.skipping = false
		return
	}
	keep := 0
	if len(buf) > 0 && buf[len(buf)-1] == '\r' {
		keep = 1
	}
	in.use(len(buf) - keep)
}
