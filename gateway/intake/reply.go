package intake

import (
	"errors"
	"syscall"

	"github.com/emersion/go-smtp"

	"gatepost/mail"
	"gatepost/store"
)

// smtpError is the only way a reply reaches go-smtp, which sends the text of
// any other error to the client.
func smtpError(r mail.Reply) *smtp.SMTPError {
	e := r.Enhanced
	return &smtp.SMTPError{
		Code:         r.Code,
		EnhancedCode: smtp.EnhancedCode{int(e[0]), int(e[1]), int(e[2])},
		Message:      r.Text,
	}
}

// withID closes the text of a reply with the id of the transaction, by which
// an administrator finds all that the client is not told.
func withID(r mail.Reply, id mail.ID) mail.Reply {
	if id == 0 {
		return r
	}
	return r.WithText(r.Text + " (" + id.String() + ")")
}

// replyUnknown ends the session where nobody knows whether the message is
// stored: the client has no answer to it and comes again, so that it may
// arrive twice but is never lost.
var replyUnknown = mail.Reply{Code: 421, Enhanced: mail.Enhanced{4, 3, 0}, Text: "Cannot tell whether the message is stored, closing"}

// storeReply is the answer where we cannot keep a message. The client must
// not lose it: all are temporary.
func storeReply(err error) mail.Reply {
	if errors.Is(err, store.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return mail.ReplyStorage
	}
	if errors.Is(err, store.ErrUnknown) {
		return replyUnknown
	}
	return mail.ReplyLocalError
}
