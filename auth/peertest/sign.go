package peertest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// Selector is the one of all signatures of Sign.
const Selector = "k1"

func key(secret string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(secret))
	return ed25519.NewKeyFromSeed(seed[:])
}

// KeyRecord is a line of a zone file: the key of a domain's signatures.
func KeyRecord(domain string) string {
	public := key("right").Public().(ed25519.PublicKey)
	return TXT(Selector+"._domainkey."+domain, "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public))
}

// Sign puts a signature above a message, by the published key or another one.
func Sign(t testing.TB, message, domain string, right bool) string {
	t.Helper()
	var signer crypto.Signer = key("right")
	if !right {
		signer = key("wrong")
	}
	var signed bytes.Buffer
	err := dkim.Sign(&signed, strings.NewReader(message), &dkim.SignOptions{Domain: domain, Selector: Selector, Signer: signer, Hash: crypto.SHA256,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed, HeaderKeys: []string{"From", "Subject"}})
	if err != nil {
		t.Fatal(err)
	}
	return signed.String()
}
