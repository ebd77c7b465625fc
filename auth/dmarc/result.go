package dmarc

import "gatepost/mail"

// The values of a Result (RFC 8601 section 2.7.1, RFC 9989 section 5.4).
const (
	Pass      = "pass"
	Fail      = "fail"
	None      = "none"
	TempError = "temperror"
	PermError = "permerror"
)

// Result is what DMARC says about a From domain.
type Result struct {
	Value        string      `json:"value"`
	From         mail.Domain `json:"from"`
	PolicyDomain mail.Domain `json:"policy_domain,omitzero"` // where the record stood
	OrgDomain    mail.Domain `json:"org_domain,omitzero"`    // of From; empty if it was not needed
	// Policy is what the record asks for this From domain, before pct, t and
	// local rules. It is empty if that is not known: no record, or DNS trouble.
	Policy  string `json:"policy,omitempty"`
	Tag     string `json:"tag,omitempty"` // p, sp or np: where Policy comes from
	Pct     int    `json:"pct"`
	HasT    bool   `json:"has_t,omitempty"`
	Testing bool   `json:"testing,omitempty"` // t=y

	SPFAligned  bool    `json:"spf_aligned"`  // a pass, aligned
	DKIMAligned bool    `json:"dkim_aligned"` // a pass, aligned
	Record      *Record `json:"record,omitempty"`
	Reason      string  `json:"reason,omitempty"`
	// PSL is what discovery by public suffixes would have come to, where the
	// two are compared and differ.
	PSL *Comparison `json:"psl,omitempty"`
}
