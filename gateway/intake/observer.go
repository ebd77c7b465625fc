package intake

import (
	"net/netip"
	"time"

	"gatepost/gateway/intake/wire"
	"gatepost/mail"
	"gatepost/policy"
)

// Observer hears what happens at the door. Its methods are called from many
// goroutines and must return soon.
type Observer interface {
	// SessionStarted: a connection was let in, before its banner.
	SessionStarted(s Session)
	// SessionEnded: it is closed; err tells why where the client did not just leave.
	SessionEnded(s Session, took time.Duration, err error)
	// Handshake: TLS was agreed on (s.TLS says how), or err says why not.
	Handshake(s Session, err error)
	// Authenticated: AUTH ended; err is nil where the user is proven.
	Authenticated(s Session, mechanism, user string, err error)
	// Refused: the client heard a reply of 4xx or 5xx.
	Refused(r Refusal)
	// Accepted: a message is durable, the client is about to hear 250.
	Accepted(a Acceptance)
}

// Session is what is known of a client, for logs and traces.
type Session struct {
	ID       mail.ID        `json:"id"`
	Listener string         `json:"listener"`
	Addr     netip.Addr     `json:"addr"`
	Port     uint16         `json:"port,omitempty"`
	Proxy    netip.AddrPort `json:"proxy,omitzero"` // of the balancer
	PTR      string         `json:"ptr,omitempty"`
	Helo     string         `json:"helo,omitempty"` // made safe
	TLS      string         `json:"tls,omitempty"`  // version and cipher
	Role     mail.Role      `json:"role,omitempty"`
	Client   string         `json:"client,omitempty"` // name of the relay client
	User     string         `json:"user,omitempty"`
	Started  time.Time      `json:"started"`
}

// Record is what Facts of a message holds, as JSON.
type Record struct {
	Session Session        `json:"session"`
	Facts   policy.Facts   `json:"facts"`
	Verdict policy.Verdict `json:"verdict"`
}

// Stage says at which command a client was refused.
type Stage string

// The stages, in the order of a session. StageCommand is everything that is
// not understood or out of order.
const (
	StageConnect Stage = "connect"
	StageCommand Stage = "command"
	StageHello   Stage = "hello"
	StageAuth    Stage = "auth"
	StageMail    Stage = "mail"
	StageRcpt    Stage = "rcpt"
	StageContent Stage = "content"
	StageStore   Stage = "store"
)

// Refusal is one reply of 4xx or 5xx.
type Refusal struct {
	ID      mail.ID // of the transaction; zero outside of one
	At      time.Time
	Stage   Stage
	Session Session
	// Envelope as far as it had come; To is the refused recipient at StageRcpt.
	Envelope mail.Envelope
	To       mail.Address
	Size     int64 // of the message, at StageContent and StageStore
	Reply    mail.Reply
	Verdict  policy.Verdict // zero where policy was not asked
	Facts    policy.Facts
	Header   mail.Header // where policy refused the content; not to be kept
	Err      error       // what only the log may know
}

// Acceptance is one message that the queue has.
type Acceptance struct {
	Message *mail.Message // its Content is closed when Accepted returns
	Session Session
	Verdict policy.Verdict
	Facts   policy.Facts
	Header  mail.Header   // as it came; not to be kept
	Hold    string        // why it is held; empty where it is not
	Took    time.Duration // from MAIL to here
}

// silence is an Observer that does nothing.
type silence struct{}

func (silence) SessionStarted(Session)                       {}
func (silence) SessionEnded(Session, time.Duration, error)   {}
func (silence) Handshake(Session, error)                     {}
func (silence) Authenticated(Session, string, string, error) {}
func (silence) Refused(Refusal)                              {}
func (silence) Accepted(Acceptance)                          {}

// stageOf tells to which stage a command of the wire belongs.
func stageOf(f wire.Fault) Stage {
	switch f.Verb {
	case "HELO", "EHLO":
		return StageHello
	case "AUTH":
		return StageAuth
	case "MAIL":
		return StageMail
	case "RCPT":
		return StageRcpt
	case "DATA", "BDAT":
		return StageContent
	}
	return StageCommand
}
