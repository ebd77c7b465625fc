package integration

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

// signTechnique is a way past author checks by DKIM: the attacker signs with
// a key of his own, or changes a message that the victim signed. The stranger
// has no SPF.
type signTechnique struct {
	name string
	// d and s are tags of the attacker's signature, and owner is where his key
	// stands, as zone text. Empty: the victim, reject.test, signed it.
	d, s, owner string
	// change is what the attacker does to the signed message.
	change func(signed string) string
	code   int
	result string // in Authentication-Results of accepted mail
}

var signTechniques = []signTechnique{
	// d= or s= that DNS and DMARC read in two ways.
	{name: "parenthesis in d=", d: "reject.test(.good.test", s: "k", owner: `k._domainkey.reject.test\(.good.test`, code: 550},
	{name: "quotation mark in d=", d: "reject.test'a.good.test", s: "k", owner: `k._domainkey.reject.test'a.good.test`, code: 550},
	{name: "double quotation mark in d=", d: `reject.test".good.test`, s: "k", owner: `k._domainkey.reject.test\".good.test`, code: 550},
	{name: "two labels run together in d=", d: "reject.test..good.test", s: "k", owner: `k._domainkey.good.test`, code: 550},
	{name: "selector that ends the name", d: "reject.test", s: `k.good.test\000`, owner: `k.good.test`, code: 550},
	{name: "selector with the attacker's name", d: "reject.test", s: "k._domainkey.good.test.", owner: `k._domainkey.good.test`, code: 550},
	{name: "selector with a number sign", d: "reject.test", s: "k.good.test#", owner: `k.good.test`, code: 550},
	{name: "signature of a top-level domain", d: "test", s: "k", owner: "k._domainkey.test", code: 550},
	{name: "signature of the attacker's own domain", d: "good.test", s: "k", owner: "k._domainkey.good.test", code: 550},
	{name: "signature of a look-alike", d: "xreject.test", s: "k", owner: "k._domainkey.xreject.test", code: 550},
	// Messages of the victim, sent again with changes.
	{name: "replay with another From in front", change: func(m string) string { return "From: eve@good.test\r\n" + m }, code: 550},
	{name: "replay with another From below", change: func(m string) string { return strings.Replace(m, "Subject:", "From: eve@good.test\r\nSubject:", 1) }, code: 550},
	{name: "replay with another body", change: func(m string) string { return m + "and send me money\r\n" }, code: 550},
	{name: "replay with l=0 put in", change: func(m string) string { return strings.Replace(m, " bh=", " l=0; bh=", 1) + "more\r\n" }, code: 550},
	{name: "replay with another Subject", change: func(m string) string { return strings.Replace(m, "Subject: ", "Subject: other ", 1) }, code: 550},
	// The victim did not sign that there is one Subject only: RFC 6376 section
	// 8.15 leaves that to signers, and ours does sign it.
	{name: "replay with a second Subject in front", change: func(m string) string { return "Subject: other\r\n" + m }, code: 250, result: "dkim=pass header.d=reject.test"},
	{name: "replay as it was", change: func(m string) string { return m }, code: 250, result: "dkim=pass header.d=reject.test"},
	{name: "DKIM-Signature without any b=", change: func(m string) string { return strings.Replace(m, " b=", " bb=", 1) }, code: 550},
	{name: "forged ARC chain", change: func(m string) string {
		_, message, _ := strings.Cut(m, "From: ")
		return "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=good.test; s=k; t=1; b=AAAA\r\nARC-Message-Signature: i=1; a=rsa-sha256; d=good.test; s=k; h=from; bh=AAAA; b=AAAA\r\n" +
			"ARC-Authentication-Results: i=1; good.test; dmarc=pass header.from=reject.test\r\nFrom: " + message
	}, code: 550},
}

// TestBypassBySignature plays each against the mx role; in the relay role a
// foreign author is refused whatever signature there is, and mail of strangers
// is never signed by us.
func TestBypassBySignature(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	for i, c := range signTechniques {
		t.Run(c.name, func(t *testing.T) {
			subject := fmt.Sprintf("technique %d", i)
			message := letter("bob@reject.test", "bob@example.test", subject, "text")
			if c.change != nil {
				c.d, c.s, c.owner = "reject.test", fmt.Sprintf("v%d", i), fmt.Sprintf("v%d._domainkey.reject.test", i)
			} else {
				c.change = func(m string) string { return m }
			}
			signed := c.change(s.signBy(t, c, message))
			send(t, fromStranger, s.mx, c.code, "eve@good.test", "bob@example.test", signed)
			if c.code == 250 {
				header := unfolded(s.inside.wait(t, subject+"\r\n").Data)
				contains(t, header, c.result, "dmarc=pass header.from=reject.test")
				lacks(t, header, "d=example.test")
			}
			send(t, fromPrinter, s.devices, 550, "scanner@example.test", "carl@world.test", signed)
		})
	}
	documented(t, func(yield func(string) bool) {
		for _, c := range signTechniques {
			if !yield(c.name) {
				return
			}
		}
	})
	s.settled()
	if n := len(s.world.all()); n != 0 {
		t.Errorf("%d messages left by the relay session", n)
	}
}

// signBy signs a message as the technique says, and publishes the key.
func (s *site) signBy(t *testing.T, c signTechnique, message string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.addZone(fmt.Sprintf("%s. 60 TXT \"v=DKIM1; k=ed25519; p=%s\"\n", c.owner, base64.StdEncoding.EncodeToString(public)))
	var signed bytes.Buffer
	err = dkim.Sign(&signed, strings.NewReader(message), &dkim.SignOptions{Domain: c.d, Selector: c.s, Signer: private,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed})
	if err != nil {
		t.Fatal(err)
	}
	return signed.String()
}
