package arc

import (
	"gatepost/auth/authres"
	"gatepost/mail"
)

// The values of Result.Value (RFC 8617 section 4.4).
const (
	None = "none" // no ARC field
	Pass = "pass"
	Fail = "fail"
)

// Result is the chain validation status of a message.
type Result struct {
	Value string `json:"value"`
	// Sets are the ARC sets, oldest first, as far as they could be read. In a
	// chain that does not pass they are what somebody claims.
	Sets []Set `json:"sets,omitempty"`
	// OldestPass is the instance from which on all message signatures hold, 0
	// where all do (RFC 8617 section 5.2); it means something in a chain that
	// passes.
	OldestPass int `json:"oldest_pass,omitempty"`
	// FromSigned tells that the newest message signature covers every From field.
	FromSigned bool `json:"from_signed,omitempty"`
	// Temporary tells that Value is fail because DNS gave no answer.
	Temporary bool `json:"temporary,omitempty"`
	// Reason says why the value is fail.
	Reason string `json:"reason,omitempty"`
}

// Set is what one forwarder added.
type Set struct {
	Instance int         `json:"instance"`
	Sealer   mail.Domain `json:"sealer,omitzero"` // d= of ARC-Seal
	Selector string      `json:"selector,omitempty"`
	Signer   mail.Domain `json:"signer,omitzero"` // d= of ARC-Message-Signature
	// KeyBits is the size of the key of the seal, 0 where it was not looked up.
	KeyBits int `json:"key_bits,omitempty"`
	// Findings are the results that the forwarder recorded; none where they
	// cannot be read without doubt.
	Findings []authres.Method `json:"-"`
}
