package policy

import (
	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
)

// Facts is everything the judgement of a message found. It is kept with the
// message as JSON.
type Facts struct {
	From      mail.Address  `json:"from,omitzero"`        // the header From
	FromError string        `json:"from_error,omitempty"` // why there is none
	Fields    int           `json:"fields,omitempty"`     // of the header
	Report    bool          `json:"report,omitempty"`     // the message is a report about mail
	Upstream  Upstream      `json:"upstream,omitzero"`    // the client behind a filter of ours
	Made      Made          `json:"made,omitzero"`        // what the proofs were made with
	Proved    bool          `json:"proved,omitempty"`     // the proofs below were asked for
	Unread    string        `json:"unread,omitempty"`     // why they could not be made
	SPF       spf.Result    `json:"spf,omitzero"`
	DKIM      []dkim.Result `json:"dkim,omitempty"`
	ARC       arc.Result    `json:"arc,omitzero"`
	// Sealed is what each of ARC.Sets says of the author's domain: saidPass,
	// saidNothing or saidUnasked.
	Sealed []string     `json:"sealed,omitempty"`
	DMARC  dmarc.Result `json:"dmarc,omitzero"`
	IPRev  IPRev        `json:"iprev,omitzero"`
	// Draw decides whether the message is sampled (pct, enforce_percent).
	Draw int `json:"draw,omitempty"`
	// Worlds are the answers that may still come where DNS gave none.
	Worlds      []World     `json:"worlds,omitempty"`
	Disposition Disposition `json:"disposition,omitzero"`
	Steps       []Step      `json:"steps,omitempty"`
}

// Disposition is what became of the domain owner's DMARC policy.
type Disposition struct {
	Requested string `json:"requested,omitempty"` // none, quarantine, reject: what the record says
	Applied   string `json:"applied,omitempty"`   // after t=, pct and enforce_percent
	Percent   int    `json:"percent,omitempty"`   // share of failing mail that gets the full policy
	// Override says why Applied differs from Requested, or why the message was
	// treated otherwise: testing, sampled_out, trusted_forwarder, local_policy,
	// monitor, policy_override (policy.overrides).
	Override string `json:"override,omitempty"`
	// Sealer is the trusted forwarder whose findings were relied on.
	Sealer mail.Domain `json:"sealer,omitzero"`
	Note   string      `json:"note,omitempty"` // the administrator's, of policy_override
}

// Confirms tells whether the proofs confirm that from belongs to the sender:
// only then may a notice go back to it. The null reverse-path is never
// confirmed.
func (f Facts) Confirms(from mail.Address) bool {
	if from.IsNull() {
		return false
	}
	if f.SPF.Value == "pass" && f.SPF.Identity != "helo" && f.SPF.Domain == from.Domain() {
		return true
	}
	for _, sig := range f.DKIM {
		// A parent speaks for its subdomains, not the other way round: names
		// below a shared host belong to strangers.
		if sig.Value == "pass" && from.Domain().Within(sig.Domain) {
			return true
		}
	}
	return f.DMARC.Value == "pass" && f.From.Domain() == from.Domain()
}
