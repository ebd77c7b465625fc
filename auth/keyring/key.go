package keyring

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"time"

	"gatepost/mail"
)

// Algorithm is a kind of key, as the configuration names it.
type Algorithm string

// The kinds that are made here. An imported RSA key may have another length;
// it stands for RSA2048 all the same, see Key.Bits.
const (
	RSA2048 Algorithm = "rsa-2048"
	Ed25519 Algorithm = "ed25519"
)

// State is where a key is in its life.
type State string

// The states.
const (
	Pending State = "pending" // not seen in DNS yet
	Active  State = "active"  // signs
	Retired State = "retired" // signs no more; its record may still be needed
)

// Key is one key pair.
type Key struct {
	Domain    mail.Domain `json:"domain"`
	Selector  string      `json:"selector"`
	Algorithm Algorithm   `json:"algorithm"`
	Bits      int         `json:"bits"`
	State     State       `json:"state"`
	Created   time.Time   `json:"created,omitzero"`
	Changed   time.Time   `json:"changed,omitzero"` // when the state became what it is
	File      string      `json:"file,omitempty"`   // where a mounted key comes from

	private crypto.Signer
}

// Name is "domain/selector".
func (k Key) Name() string { return k.Domain.String() + "/" + k.Selector }

// Signer signs with the private half.
func (k Key) Signer() crypto.Signer { return k.private }

// RecordName is where the public half stands in DNS (RFC 6376 section 3.6.2.1).
func (k Key) RecordName() string { return k.Selector + "._domainkey." + k.Domain.String() }

// Record is the text of the DNS record (RFC 6376 section 3.6.1).
func (k Key) Record() string {
	return fmt.Sprintf("v=DKIM1; k=%s; p=%s", k.recordKind(), base64.StdEncoding.EncodeToString(k.publicBytes()))
}

func (k Key) recordKind() string {
	if k.Algorithm == Ed25519 {
		return "ed25519"
	}
	return "rsa"
}

// publicBytes is what p= holds: SubjectPublicKeyInfo for RSA, the bare 32
// octets for Ed25519 (RFC 8463 section 4.2).
func (k Key) publicBytes() []byte {
	if public, ok := k.private.Public().(ed25519.PublicKey); ok {
		return public
	}
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return nil // newKey lets only RSA and Ed25519 in, which always marshal
	}
	return der
}

// newKey takes a private key of a kind that DKIM knows.
func newKey(d mail.Domain, selector string, private crypto.Signer) (Key, error) {
	k := Key{Domain: d, Selector: selector, State: Pending, private: private}
	switch p := private.(type) {
	case *rsa.PrivateKey:
		k.Algorithm, k.Bits = RSA2048, p.N.BitLen()
	case ed25519.PrivateKey:
		k.Algorithm, k.Bits = Ed25519, 256
	default:
		return Key{}, fmt.Errorf("%w: a key of type %T; DKIM knows RSA and Ed25519", ErrKey, private)
	}
	return k, nil
}
