package policy

import (
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
)

// Facts is everything the judgement of a message found. It is kept with the
// message as JSON.
type Facts struct {
	From        mail.Address  `json:"from,omitzero"`        // the header From
	FromError   string        `json:"from_error,omitempty"` // why there is none
	SPF         spf.Result    `json:"spf,omitzero"`
	DKIM        []dkim.Result `json:"dkim,omitempty"`
	DMARC       dmarc.Result  `json:"dmarc,omitzero"`
	IPRev       IPRev         `json:"iprev,omitzero"`
	Disposition Disposition   `json:"disposition,omitzero"`
	Steps       []Step        `json:"steps,omitempty"`
}

// Disposition is what became of the domain owner's DMARC policy.
type Disposition struct {
	Requested string `json:"requested,omitempty"` // none, quarantine, reject: what the record says
	Applied   string `json:"applied,omitempty"`   // after t=, pct and enforce_percent
	Percent   int    `json:"percent,omitempty"`   // share of failing mail that gets the full policy
	// Override says why Applied differs from Requested, or why the message was
	// treated otherwise: testing, sampled_out, local_policy, monitor.
	Override string `json:"override,omitempty"`
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
