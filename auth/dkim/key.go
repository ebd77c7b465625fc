package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatepost/dnsx"
	"gatepost/mail"
)

// Bounds on keys: RFC 8301 section 3.2 wants verifiers to take RSA keys from
// 1024 to 4096 bits.
const (
	minRSABits    = 1024
	maxRSABits    = 8192
	maxKeyRecord  = 16 << 10
	maxKeyRecords = 16
)

// Resolver is what the verifier asks of DNS.
type Resolver interface {
	TXT(ctx context.Context, name string) (dnsx.Answer[string], error)
}

// Key is a public key with what its record says about its use (RFC 6376
// section 3.6.1).
type Key struct {
	Public  crypto.PublicKey // *rsa.PublicKey or ed25519.PublicKey
	Type    string           // k=: "rsa" or "ed25519"
	Bits    int
	Testing bool // t=y
	Strict  bool // t=s: the domain of i= must be d= itself
	// Name is where CNAME records led from the name of the key, if anywhere.
	Name string
}

// ErrKey reports a record that holds no usable key.
var ErrKey = errors.New("unusable key record")

// ErrRevoked reports a record with an empty p=.
var ErrRevoked = errors.New("key is revoked")

// KeyName is where the key of a selector stands in DNS.
func KeyName(domain mail.Domain, selector string) string {
	return selector + "._domainkey." + domain.String()
}

// ParseKey reads a key record. Unknown tags are passed over.
func ParseKey(record string) (Key, error) {
	if len(record) > maxKeyRecord {
		return Key{}, fmt.Errorf("%w: %d octets long", ErrKey, len(record))
	}
	tags, err := ParseTags(record)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key := Key{Type: "rsa"}
	if v, ok := tags["v"]; ok && v != "DKIM1" {
		return Key{}, fmt.Errorf("%w: version %q is not known", ErrKey, plain(v))
	}
	if k, ok := tags["k"]; ok {
		key.Type = k
	}
	if h, ok := tags["h"]; ok && !slices.Contains(items(h), "sha256") {
		return Key{}, fmt.Errorf("%w: not for SHA-256", ErrKey)
	}
	if s, ok := tags["s"]; ok && !slices.Contains(items(s), "*") && !slices.Contains(items(s), "email") {
		return Key{}, fmt.Errorf("%w: not for mail", ErrKey)
	}
	flags := items(tags["t"])
	key.Testing, key.Strict = slices.Contains(flags, "y"), slices.Contains(flags, "s")
	return key, key.parsePublic(tags)
}

// parsePublic reads p=.
func (k *Key) parsePublic(tags Tags) error {
	p, ok := tags["p"]
	if !ok {
		return fmt.Errorf("%w: p= is missing", ErrKey)
	}
	if p == "" {
		return ErrRevoked
	}
	octets, err := DecodeBase64(p)
	if err != nil {
		return fmt.Errorf("%w: p= is not base64", ErrKey)
	}
	switch k.Type {
	case "rsa":
		return k.parseRSA(octets)
	case "ed25519": // RFC 8463 section 4: the bare 32 octets
		if len(octets) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: an Ed25519 key has %d octets, not %d", ErrKey, ed25519.PublicKeySize, len(octets))
		}
		k.Public, k.Bits = ed25519.PublicKey(octets), 8*ed25519.PublicKeySize
		return nil
	}
	return fmt.Errorf("%w: key type %q is not known", ErrKey, plain(k.Type))
}

// parseRSA takes SubjectPublicKeyInfo and, as the RFC's text says, RSAPublicKey.
func (k *Key) parseRSA(octets []byte) error {
	public, err := x509.ParsePKCS1PublicKey(octets)
	if err != nil {
		info, err := x509.ParsePKIXPublicKey(octets)
		if err != nil {
			return fmt.Errorf("%w: p= is not an RSA key", ErrKey)
		}
		if public, _ = info.(*rsa.PublicKey); public == nil {
			return fmt.Errorf("%w: p= is not an RSA key", ErrKey)
		}
	}
	if k.Bits = public.N.BitLen(); k.Bits > maxRSABits {
		return fmt.Errorf("%w: RSA key of %d bits", ErrKey, k.Bits)
	}
	k.Public = public
	return nil
}

// LookupKey finds the one key record of a selector. Records that are no key
// records at all, as wildcards make them, do not count; of several that are,
// none can be relied on (RFC 6376 section 3.6.2.2).
func LookupKey(ctx context.Context, resolver Resolver, domain mail.Domain, selector string) (Key, error) {
	answer, err := resolver.TXT(ctx, KeyName(domain, selector))
	if err != nil {
		return Key{}, fmt.Errorf("look up DKIM key %s: %w", KeyName(domain, selector), err)
	}
	records := keyRecords(answer.Records)
	switch len(records) {
	case 0:
		return Key{}, fmt.Errorf("%w: no key record at %s", ErrKey, KeyName(domain, selector))
	case 1:
	default:
		return Key{}, fmt.Errorf("%w: several records", ErrKey)
	}
	key, err := ParseKey(records[0])
	key.Name = answer.Canonical
	return key, err
}

// keyRecords leaves out what only a wildcard can have put there: records
// without any p=, or of another version.
func keyRecords(records []string) []string {
	if len(records) > maxKeyRecords {
		records = records[:maxKeyRecords]
	}
	var keys []string
	for _, record := range records {
		tags, err := ParseTags(record[:min(len(record), maxKeyRecord)])
		_, hasKey := tags["p"]
		other := tags["v"] != "" && !strings.HasPrefix(tags["v"], "DKIM")
		if len(records) == 1 || err == nil && hasKey && !other {
			keys = append(keys, record)
		}
	}
	return keys
}
