package smtpc

import (
	"errors"
	"fmt"

	"gatepost/mail"
)

// Stage is how far a connection has come.
type Stage string

// The stages, in the order of a session.
const (
	StageGreeting Stage = "greeting"
	StageHello    Stage = "hello"
	StageStartTLS Stage = "starttls"
	StageTLS      Stage = "tls"
	StageAuth     Stage = "auth"
	StageReset    Stage = "rset"
	StageMail     Stage = "mail"
	StageRcpt     Stage = "rcpt"
	StageData     Stage = "data"
	StageSource   Stage = "source"  // our own reading of the message failed
	StageContent  Stage = "content" // the message was on its way, the final dot was not sent
	StageFinal    Stage = "final"   // the final dot was sent, its reply is missing
)

// Errors of a connection.
var (
	// ErrReply reports octets that are no reply (RFC 5321 section 4.2), or too many.
	ErrReply = errors.New("not an SMTP reply")
	// ErrInjected reports plaintext behind the reply to STARTTLS (RFC 3207 section 6).
	ErrInjected = errors.New("plaintext behind the reply to STARTTLS")
	// ErrNewline reports a message with a CR or LF that is no part of a CRLF.
	ErrNewline = errors.New("message holds a bare CR or LF")
	// ErrMechanism reports a server that offers no AUTH mechanism we may use.
	ErrMechanism = errors.New("no usable AUTH mechanism offered")
)

// Error tells that a connection is of no more use, unless Stage is
// StageStartTLS or StageAuth with a Reply.
type Error struct {
	Stage Stage
	Reply mail.Reply // what the server said; zero when it said nothing
	Err   error      // what happened; nil when the server said it
}

// Error says the stage and what came instead of success.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s: server said %s", e.Stage, e.Reply)
	}
	return fmt.Sprintf("%s: %v", e.Stage, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
