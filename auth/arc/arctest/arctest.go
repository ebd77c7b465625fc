// Package arctest seals messages for tests, rightly or wrongly (RFC 8617
// section 5.1). What the gateway itself seals is made by package arc.
package arctest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"gatepost/auth/canon"
	"gatepost/mail"
)

// Sealer is a forwarder. Each field but Domain has a default.
type Sealer struct {
	Domain   string
	Selector string // "k1"
	// Seed makes the key; the Domain by default.
	Seed string
	// Results is what stands behind "i=n; "; the domain and none.
	Results string
	// Signer is d= of ARC-Message-Signature; Domain.
	Signer string
	// Names is h=; "from:to:subject:date".
	Names string
	// Tags are more tags of ARC-Message-Signature, such as "x=1; ".
	Tags string
	// CV is cv=; none in the first set, else pass.
	CV string
}

func (s Sealer) fill(instance int) Sealer {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&s.Selector, "k1")
	set(&s.Seed, s.Domain)
	set(&s.Results, s.Domain+"; none")
	set(&s.Signer, s.Domain)
	set(&s.Names, "from:to:subject:date")
	set(&s.CV, "pass")
	if instance == 1 && s.CV == "pass" {
		s.CV = "none"
	}
	return s
}

func (s Sealer) key() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(s.Seed))
	return ed25519.NewKeyFromSeed(seed[:])
}

// Name is where the key of the sealer stands in DNS, Record what stands there.
func (s Sealer) Name() string { return s.fill(0).Selector + "._domainkey." + s.Domain }

// Record is the key record of the sealer.
func (s Sealer) Record() string {
	public := s.fill(0).key().Public().(ed25519.PublicKey)
	return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
}

// Seal puts the next set above message, whose lines end in CRLF.
func (s Sealer) Seal(message string) (string, error) {
	header, err := mail.ParseHeader([]byte(message))
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	sets := fieldsOf(header)
	n := len(sets)/3 + 1
	s = s.fill(n)
	results := fmt.Sprintf("ARC-Authentication-Results: i=%d; %s\r\n", n, s.Results)
	hasher := sha256.New()
	body := canon.NewBody(canon.Relaxed, hasher)
	_, _ = body.Write([]byte(message[header.Size:])) // hashes do not fail
	_ = body.Close()
	signed := fmt.Sprintf("ARC-Message-Signature: i=%d; a=ed25519-sha256; c=relaxed/relaxed; d=%s; s=%s; %sh=%s; bh=%s;\r\n b=",
		n, s.Signer, s.Selector, s.Tags, s.Names, base64.StdEncoding.EncodeToString(hasher.Sum(nil)))
	hasher.Reset()
	canon.NewIndex(header).WriteSigned(hasher, strings.Split(s.Names, ":"), []byte(signed), canon.Relaxed)
	signed += s.signature(hasher.Sum(nil))
	seal := fmt.Sprintf("ARC-Seal: i=%d; a=ed25519-sha256; cv=%s; d=%s; s=%s; t=12345;\r\n b=", n, s.CV, s.Domain, s.Selector)
	hasher.Reset()
	for _, raw := range append(sets, results, signed) {
		hasher.Write(canon.AppendField(nil, []byte(raw), canon.Relaxed))
	}
	hasher.Write(canon.AppendUnsigned(nil, []byte(seal), canon.Relaxed))
	return seal + s.signature(hasher.Sum(nil)) + signed + results + message, nil
}

func (s Sealer) signature(digest []byte) string {
	return base64.StdEncoding.EncodeToString(ed25519.Sign(s.key(), digest)) + "\r\n"
}

// fieldsOf gives the fields of the sets in the order in which they are sealed:
// Seal writes each set above the one before, in the opposite order.
func fieldsOf(h mail.Header) []string {
	var out []string
	for i := len(h.Fields) - 1; i >= 0; i-- {
		if strings.HasPrefix(strings.ToLower(h.Fields[i].Name), "arc-") {
			out = append(out, string(h.Fields[i].Raw))
		}
	}
	return out
}
