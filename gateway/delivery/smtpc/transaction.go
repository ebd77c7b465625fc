package smtpc

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"gatepost/mail"
)

// pipelineGroup is how many RCPT go out before their replies are read, so
// that neither side waits with a full socket buffer (RFC 2920 section 3.1).
const pipelineGroup = 100

// Transaction is the envelope of one mail transaction.
type Transaction struct {
	From       mail.Address
	Recipients []mail.Recipient
	Size       int64  // of the message as it will be sent
	EightBit   bool   // BODY=8BITMIME
	UTF8       bool   // SMTPUTF8
	Return     string // RET
	EnvID      string // ENVID, decoded
}

// Answers is what the server said to a transaction. A zero reply means that
// it was not asked, or did not answer.
type Answers struct {
	Mail       mail.Reply
	Recipients []mail.Reply // one per recipient of the transaction
	Data       mail.Reply
}

// Accepted counts the recipients that the server took.
func (a *Answers) Accepted() int {
	n := 0
	for _, r := range a.Recipients {
		if r.Code/100 == 2 {
			n++
		}
	}
	return n
}

// Ready tells whether the server waits for the message.
func (a *Answers) Ready() bool { return a.Data.Code == 354 }

// Begin sends MAIL, RCPT and DATA. The error says that the session is over;
// what was answered until then stands in the answers. When the server is
// Ready, Content must follow.
func (c *Conn) Begin(ctx context.Context, t *Transaction) (*Answers, error) {
	defer c.begin(ctx)()
	a := &Answers{Recipients: make([]mail.Reply, len(t.Recipients))}
	if err := c.reset(); err != nil {
		return a, err
	}
	c.unclean = true
	if c.ext.Pipelining {
		return a, c.pipelined(t, a)
	}
	return a, c.lockstep(t, a)
}

// reset clears a transaction that was not ended by its final dot.
func (c *Conn) reset() error {
	if !c.unclean {
		return nil
	}
	_, err := c.command(StageReset, c.options.Timeouts.Mail, "RSET")
	return err
}

// lockstep waits for each reply.
func (c *Conn) lockstep(t *Transaction, a *Answers) (err error) {
	limits := c.options.Timeouts
	c.appendMail(t)
	if a.Mail, err = c.exchange(StageMail, limits.Mail); err != nil || a.Mail.Code/100 != 2 {
		return err
	}
	for i := range t.Recipients {
		c.appendRcpt(&t.Recipients[i])
		if a.Recipients[i], err = c.exchange(StageRcpt, limits.Rcpt); err != nil {
			return err
		}
	}
	if a.Accepted() == 0 {
		return nil
	}
	c.out = append(c.out, "DATA\r\n"...)
	a.Data, err = c.exchange(StageData, limits.Data)
	return err
}

// pipelined sends MAIL, RCPT and DATA in one write, of very many recipients
// in several.
func (c *Conn) pipelined(t *Transaction, a *Answers) (err error) {
	c.appendMail(t)
	for from := 0; from < len(t.Recipients); from += pipelineGroup {
		to := min(from+pipelineGroup, len(t.Recipients))
		for i := from; i < to; i++ {
			c.appendRcpt(&t.Recipients[i])
		}
		if to == len(t.Recipients) {
			c.out = append(c.out, "DATA\r\n"...)
		}
		if err := c.readGroup(a, from, to); err != nil {
			return err
		}
		if a.Mail.Code/100 != 2 {
			break
		}
	}
	if a.Ready() && (a.Accepted() == 0 || a.Mail.Code/100 != 2) {
		return c.abandon(a)
	}
	return nil
}

// readGroup writes the commands that wait and reads their replies.
func (c *Conn) readGroup(a *Answers, from, to int) (err error) {
	limits := c.options.Timeouts
	if err = c.flush(limits.Mail); err != nil {
		return c.fail(StageMail, err)
	}
	if from == 0 {
		if a.Mail, err = c.reply(StageMail, limits.Mail); err != nil {
			return err
		}
	}
	for i := from; i < to; i++ {
		if a.Recipients[i], err = c.reply(StageRcpt, limits.Rcpt); err != nil {
			return err
		}
	}
	if to == len(a.Recipients) {
		a.Data, err = c.reply(StageData, limits.Data)
	}
	return err
}

// abandon ends the data phase of a server that wants a message for nobody
// (RFC 2920 section 3.1: a dot alone, and the reply does not matter). One that
// has recipients though it refused MAIL would deliver an empty message to
// them, and over LMTP a reply for each of no recipients never comes.
func (c *Conn) abandon(a *Answers) error {
	a.Data = mail.Reply{}
	if a.Accepted() > 0 || c.options.LMTP {
		return c.fail(StageData, fmt.Errorf("%w: DATA agreed to without a transaction", ErrReply))
	}
	_, err := c.command(StageData, c.options.Timeouts.DataEnd, ".")
	c.unclean = false
	return err
}

func (c *Conn) exchange(stage Stage, timeout time.Duration) (mail.Reply, error) {
	if err := c.flush(timeout); err != nil {
		return mail.Reply{}, c.fail(stage, err)
	}
	return c.reply(stage, timeout)
}

// appendMail writes MAIL with the parameters that the server offers.
func (c *Conn) appendMail(t *Transaction) {
	b := append(c.out, "MAIL FROM:"...)
	b = append(b, t.From.Path()...)
	if c.ext.Size && t.Size > 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), t.Size, 10)
	}
	if c.ext.EightBitMIME && t.EightBit {
		b = append(b, " BODY=8BITMIME"...)
	}
	if c.ext.SMTPUTF8 && t.UTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if c.ext.DSN && t.Return != "" {
		b = append(append(b, " RET="...), t.Return...)
	}
	if c.ext.DSN && t.EnvID != "" {
		b = append(append(b, " ENVID="...), mail.EncodeXtext(t.EnvID)...)
	}
	c.out = append(b, "\r\n"...)
}

// appendRcpt writes RCPT with the DSN parameters that the sender gave (RFC
// 3461 section 5.2.1).
func (c *Conn) appendRcpt(r *mail.Recipient) {
	b := append(c.out, "RCPT TO:"...)
	b = append(b, r.Address.Path()...)
	if c.ext.DSN {
		b = appendNotify(b, r.Notify)
		b = c.appendOriginal(b, r)
	}
	c.out = append(b, "\r\n"...)
}

func appendNotify(b []byte, n mail.Notify) []byte {
	if n == 0 {
		return b
	}
	b = append(b, " NOTIFY="...)
	if n&mail.NotifyNever != 0 {
		return append(b, "NEVER"...)
	}
	for _, condition := range []struct {
		bit  mail.Notify
		name string
	}{{mail.NotifySuccess, "SUCCESS"}, {mail.NotifyFailure, "FAILURE"}, {mail.NotifyDelay, "DELAY"}} {
		if n&condition.bit == 0 {
			continue
		}
		if b[len(b)-1] != '=' {
			b = append(b, ',')
		}
		b = append(b, condition.name...)
	}
	return b
}
