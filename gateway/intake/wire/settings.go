package wire

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"gatepost/mail"
)

// Mode says what part TLS plays on a listener.
type Mode string

// The modes. The zero value is Optional.
const (
	Off      Mode = "off"      // STARTTLS is neither offered nor answered
	Optional Mode = "optional" // STARTTLS is offered
	Required Mode = "required" // and must come before mail (RFC 3207 section 4)
	Implicit Mode = "implicit" // TLS from the first octet (RFC 8314 section 3)
)

// Newline says what becomes of bare CR and bare LF in a message.
type Newline string

// The newline policies. The zero value is Reject for DATA and Normalize for
// BDAT, where the count ends the message and a newline cannot smuggle.
const (
	Reject    Newline = "reject"
	Normalize Newline = "normalize"
)

// What a zero field of Settings means.
const (
	defaultCommandLimit = 2048            // RFC 5321 section 4.5.3.1.4 and what SIZE, AUTH, DSN and SMTPUTF8 add
	defaultLineLimit    = 64 << 10        // RFC 5321 section 4.5.3.1.6 says 1000, but mail at large does not
	defaultMessageSize  = 50 << 20        //
	defaultCommand      = 5 * time.Minute // RFC 5321 section 4.5.3.2.7
	defaultData         = 10 * time.Minute
	defaultSession      = 30 * time.Minute
	defaultHandshake    = 30 * time.Second
	defaultMinRate      = 256 // octets in a second

	defaultJunkCommands = 100
)

// Settings is what one TCP connection is served with. Zero fields take the
// defaults named beside them.
type Settings struct {
	// Hostname is what the reply to EHLO and HELO names (RFC 5321 section 4.1.1.1).
	Hostname string
	// TLS holds the certificates; nil or empty answers STARTTLS with 454. Session
	// tickets are switched off in a copy.
	TLS  *tls.Config
	Mode Mode

	DataNewline Newline // Reject
	BDATNewline Newline // Normalize

	// CommandLimit is the longest MAIL or RCPT line with CRLF: 2048.
	CommandLimit int
	// LineLimit is the longest line of a message with CRLF: 64 KiB.
	LineLimit int
	// MessageSize is the biggest message, after dots were taken away and newlines
	// normalized: 50 MiB. A message of exactly this size passes.
	MessageSize int64

	Command   time.Duration // for one command line, and for one pause inside a message: 5m
	Data      time.Duration // for one message by DATA, or one chunk by BDAT: 10m
	Session   time.Duration // for the whole connection: 30m
	Handshake time.Duration // for a TLS handshake: 30s
	// MinRate is how many octets of a message must come in a second of waiting,
	// after the first 30 seconds: 256.
	MinRate int

	// JunkCommands is how many commands that move no mail (EHLO, NOOP, RSET, VRFY
	// and the like) a client may say between messages: 100.
	JunkCommands int
	// Chunking offers CHUNKING (RFC 3030). Without it BDAT is answered 502.
	Chunking bool
	// Postmaster stands in for <postmaster> without a domain (RFC 5321 section 4.1.1.3).
	Postmaster mail.Address
	// RestrictTo lists the only verbs that may be used, in upper case; others are
	// answered 554 5.7.1. Empty allows all.
	RestrictTo []string

	// Peer and Local are the ends of the connection as PROXY tells them; zero
	// leaves those of the socket.
	Peer, Local netip.AddrPort

	// OnError hears of each 4xx and 5xx reply before it goes out, the wire's own,
	// go-smtp's and the session's. When it returns true the wire adds 421 4.7.0
	// and closes. It runs in go-smtp's goroutine, between commands, and must not
	// call methods of the Conn.
	OnError func(Fault) (quit bool)
	// Value is whatever the caller wants to find again by Conn.Value.
	Value any
}

// Fault is one 4xx or 5xx reply on its way to the client.
type Fault struct {
	Verb  string // of the command, upper case; empty for an unknown one
	Reply mail.Reply
	Own   bool // the wire's own words, go-smtp and the session did not see the command
}

// withDefaults fills in zero fields.
func (s Settings) withDefaults() Settings {
	fill(&s.Mode, Optional)
	fill(&s.DataNewline, Reject)
	fill(&s.BDATNewline, Normalize)
	fill(&s.CommandLimit, defaultCommandLimit)
	fill(&s.LineLimit, defaultLineLimit)
	fill(&s.MessageSize, defaultMessageSize)
	fill(&s.Command, defaultCommand)
	fill(&s.Data, defaultData)
	fill(&s.Session, defaultSession)
	fill(&s.Handshake, defaultHandshake)
	fill(&s.MinRate, defaultMinRate)
	fill(&s.JunkCommands, defaultJunkCommands)
	return s
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// allows tells whether RestrictTo lets verb through.
func (s *Settings) allows(verb string) bool {
	if len(s.RestrictTo) == 0 {
		return true
	}
	for _, v := range s.RestrictTo {
		if strings.EqualFold(v, verb) {
			return true
		}
	}
	return false
}
