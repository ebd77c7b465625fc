package mail

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Enhanced is an enhanced mail system status code (RFC 3463). Its zero value
// means that there is none.
type Enhanced [3]uint16

// String is the code in its dotted form, empty for the zero value.
func (e Enhanced) String() string {
	if e == (Enhanced{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
}

// Scope tells how much a failure says about: one recipient, the message, the
// session that carried it, or the whole destination.
type Scope string

// The scopes, narrow to wide.
const (
	ScopeRecipient Scope = "recipient"
	ScopeMessage   Scope = "message"
	ScopeSession   Scope = "session"
	ScopeSite      Scope = "site"
)

// Outcome is what a Status means for the recipient's row in the queue.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered"
	Deferred  Outcome = "deferred"
	Failed    Outcome = "failed"
)

// Status is what became of one recipient in one attempt. The same record
// becomes the mail-log line, the trace and the DSN (RFC 3464).
type Status struct {
	Code     int      `json:"code"` // SMTP reply code; ours where no remote spoke
	Enhanced Enhanced `json:"enhanced,omitzero"`
	Text     string   `json:"text"`             // made safe by SafeText, without the codes
	Remote   string   `json:"remote,omitempty"` // "host[192.0.2.1]:25", empty before a connection
	// Said tells that Remote spoke Code and Text; else they are our own words.
	Said  bool  `json:"said,omitempty"`
	Scope Scope `json:"scope,omitempty"`
	// RetryAfter is a hint when to try again; zero means the usual schedule.
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	TLS        string        `json:"tls,omitempty"`    // of the connection: version and cipher
	Took       time.Duration `json:"took,omitempty"`   // of the attempt
	Signed     []string      `json:"signed,omitempty"` // "example.com/s1" of every DKIM signature added, "arc:example.com/s1" of an ARC set
}

// Outcome derives what the code means (RFC 5321 section 4.2.1). What is not
// clearly success or permanent is temporary.
func (s Status) Outcome() Outcome {
	switch s.Code / 100 {
	case 2:
		return Delivered
	case 5:
		return Failed
	}
	return Deferred
}

// String is the status as a reply line: "550 5.1.1 no such user".
func (s Status) String() string {
	if e := s.Enhanced.String(); e != "" {
		return fmt.Sprintf("%03d %s %s", s.Code, e, s.Text)
	}
	return fmt.Sprintf("%03d %s", s.Code, s.Text)
}

// SafeText makes text of a stranger fit for logs, traces, notices and the
// store: control characters and those that turn the writing direction become
// spaces, octets that are no UTF-8 become question marks, and at most limit
// octets are kept.
func SafeText(s string, limit int) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		out := s[i : i+n]
		switch {
		case r == utf8.RuneError && n <= 1:
			out = "?"
		case isControl(r) || unicode.Is(unicode.Bidi_Control, r):
			out = " "
		}
		if b.Len()+len(out) > limit {
			break
		}
		b.WriteString(out)
		i += n
	}
	return strings.TrimSpace(b.String())
}
