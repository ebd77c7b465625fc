package policy

import (
	"net/netip"

	"gatepost/mail"
)

// Action is what happens to a message or a command.
type Action string

// The actions, mild to severe; Defer asks the client to come again.
const (
	Accept     Action = "accept"
	Tag        Action = "tag"
	Quarantine Action = "quarantine"
	Defer      Action = "defer"
	Reject     Action = "reject"
)

// severity orders the actions between which a message can be torn.
func (a Action) severity() int {
	for i, b := range []Action{Accept, Tag, Quarantine, Defer, Reject} {
		if a == b {
			return i
		}
	}
	return 0
}

// Verdict is the answer to one question.
type Verdict struct {
	Action Action `json:"action"`
	// Would is what enforce mode would have done, set in monitor mode where
	// that is not Accept.
	Would  Action      `json:"would,omitempty"`
	Rule   string      `json:"rule,omitempty"`
	Reason string      `json:"reason,omitempty"`
	Domain mail.Domain `json:"domain,omitzero"` // whose policy it was
	// Reply is the answer to the client where Action is Reject or Defer.
	Reply mail.Reply `json:"reply,omitzero"`
}

// Refused tells whether the client gets Reply.
func (v Verdict) Refused() bool { return v.Action == Reject || v.Action == Defer }

func accepted() Verdict { return Verdict{Action: Accept} }

// Session is what intake knows about the client when it asks.
type Session struct {
	// ID of the transaction stands at the end of every refusal; zero leaves it out.
	ID       mail.ID
	Listener string
	Addr     netip.Addr
	Helo     string
	TLS      bool
	Role     mail.Role
	Client   string // name of the relay client, empty without one
	User     string // name of the authenticated user, empty without one
	// IPRev is the reverse DNS check where intake has made it (Engine.Reverse);
	// with an empty Value it is made with the other proofs.
	IPRev IPRev
}

// Step is what one rule of the list said, for traces and `gatepost explain`.
type Step struct {
	Rule string `json:"rule"`
	// Result is "next" where the rule had nothing to say, else an action.
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
}
