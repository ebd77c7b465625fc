package dkim

import "gatepost/mail"

// The values of Result.Value (RFC 8601 section 2.7.1). A message without
// signatures has no Result at all, which stands for "none".
const (
	Pass      = "pass"
	Fail      = "fail"      // the hashes or the signature do not fit, or it has expired
	Policy    = "policy"    // not acceptable here: l=, weak key, unsigned From, too many
	Neutral   = "neutral"   // signed by an algorithm we do not know
	TempError = "temperror" // DNS trouble
	PermError = "permerror" // a broken signature, no key or a broken key
)

// Result is what became of one signature.
type Result struct {
	Value string `json:"value"`
	// Domain is d=, zero where it is no domain.
	Domain mail.Domain `json:"domain,omitzero"`
	// Selector is s= in A-labels.
	Selector string `json:"selector,omitempty"`
	// Algorithm is a= as written, made safe.
	Algorithm string `json:"algorithm,omitempty"`
	// Identity is i=, decoded and made safe, or its default "@" and d=.
	Identity string `json:"identity,omitempty"`
	// B is the beginning of b= (RFC 6008).
	B string `json:"b,omitempty"`
	// KeyBits is the size of the key, 0 where there was none.
	KeyBits int `json:"key_bits,omitempty"`
	// KeyName is where CNAME records led from the name of the key, if anywhere.
	KeyName string `json:"key_name,omitempty"`
	// BodyLength is l=, -1 without.
	BodyLength int64 `json:"body_length"`
	// Testing tells that the key is marked t=y: such a signature must not count
	// against the message (RFC 6376 section 3.6.1).
	Testing bool `json:"testing,omitempty"`
	// Reason says why the value is not pass.
	Reason string `json:"reason,omitempty"`
}
