package dkim

import (
	"crypto"

	"gatepost/auth/canon"
)

// hashOfSignatures is the only hash left (RFC 8301 section 3).
const hashOfSignatures = crypto.SHA256

// hash computes what b= signs. It also gives the number of octets.
func (s *signature) hash(index canon.Index) (digest []byte, octets int) {
	h := hashOfSignatures.New()
	octets = index.WriteSigned(h, s.names, s.field.Raw, s.header)
	return h.Sum(nil), octets
}
