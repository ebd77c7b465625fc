package policy

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"gatepost/auth/arc"
	"gatepost/auth/arc/arctest"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// TestQueriesPerMessage counts the DNS queries of one judged message, cold and
// warm; docs/conformance.md has the table.
func TestQueriesPerMessage(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := dnstest.New(t, fmt.Sprintf(`
9.113.0.203.in-addr.arpa. 300 PTR out.author.example.
out.author.example. 300 A 203.0.113.9
author.example. 300 TXT "v=spf1 ip4:203.0.113.0/24 -all"
big.example. 300 TXT "v=spf1 include:a.big.example include:b.big.example include:c.big.example a mx -all"
a.big.example. 300 TXT "v=spf1 ip4:192.0.2.1 -all"
b.big.example. 300 TXT "v=spf1 ip4:192.0.2.2 -all"
c.big.example. 300 TXT "v=spf1 ip4:203.0.113.9 -all"
_dmarc.author.example. 300 TXT "v=DMARC1; p=reject"
_dmarc.big.example. 300 TXT "v=DMARC1; p=reject"
k0._domainkey.author.example. 300 TXT "v=DKIM1; k=ed25519; p=%[1]s"
k1._domainkey.author.example. 300 TXT "v=DKIM1; k=ed25519; p=%[1]s"
`, base64.StdEncoding.EncodeToString(public)))
	for _, c := range []struct {
		name         string
		from, author string
		signatures   int
		sealers      []string
		cold         int
	}{
		{"nothing published", "joe@none.example", "joe@none.example", 0, nil, 5},
		{"SPF and DMARC", "joe@author.example", "joe@author.example", 0, nil, 4},
		{"SPF, one signature, DMARC", "joe@author.example", "joe@author.example", 1, nil, 5},
		{"SPF, two signatures, DMARC", "joe@author.example", "joe@author.example", 2, nil, 6},
		{"SPF, one signature, a chain of three sealers, DMARC", "joe@author.example", "joe@author.example", 1, []string{"a.example", "b.example", "c.example"}, 8},
		{"SPF with three includes", "joe@big.example", "joe@big.example", 0, nil, 7},
		{"author three labels below the record", "joe@author.example", "joe@a.b.c.author.example", 0, nil, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			resolver := server.ResolverWith(t, dnsx.Options{})
			e := engine(t, realProofs(t, resolver))
			text := "From: " + c.author + "\r\nSubject: x\r\n\r\ntext\r\n"
			for i := range c.signatures {
				text = signedBy(t, key, fmt.Sprintf("k%d", i), text)
			}
			text = sealedBy(t, server, c.sealers, text)
			content := mail.MemoryBody([]byte(text))
			h, err := mail.HeaderOf(t.Context(), content, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			judge := func() int {
				before := server.Total()
				facts, _, _ := e.Content(t.Context(), stranger(), mail.Envelope{From: address(t, c.from)}, h, content)
				if want := c.name != "nothing published"; (facts.DMARC.Value == "pass") != want {
					t.Errorf("DMARC %+v", facts.DMARC)
				}
				return server.Total() - before
			}
			if cold, warm := judge(), judge(); cold != c.cold || warm != 0 {
				t.Errorf("%d queries cold and %d warm, want %d and 0", cold, warm, c.cold)
			}
		})
	}
}

// realProofs are the options with the checkers of the gateway.
func realProofs(t testing.TB, r *dnsx.Resolver) Options {
	t.Helper()
	o := options(t, &proofs{})
	o.Proofs = Proofs{SPF: spf.New(spf.Options{Resolver: r}), DKIM: dkim.NewVerifier(dkim.Options{Resolver: r}), ARC: arc.NewVerifier(arc.Options{Resolver: r}),
		DMARC: dmarc.New(dmarc.Options{Resolver: r}), Reverse: r}
	return o
}

func signedBy(t testing.TB, key ed25519.PrivateKey, selector, message string) string {
	t.Helper()
	var signed bytes.Buffer
	if err := msgauth.Sign(&signed, strings.NewReader(message), &msgauth.SignOptions{Domain: "author.example", Selector: selector, Signer: key,
		HeaderCanonicalization: msgauth.CanonicalizationRelaxed, BodyCanonicalization: msgauth.CanonicalizationRelaxed}); err != nil {
		t.Fatal(err)
	}
	return signed.String()
}

// sealedBy puts a chain of sealers above a message and publishes their keys.
func sealedBy(t testing.TB, server *dnstest.Server, sealers []string, message string) string {
	t.Helper()
	for _, name := range sealers {
		s := arctest.Sealer{Domain: name}
		server.Remove(s.Name(), "TXT")
		server.Add(t, fmt.Sprintf("%s. 300 TXT %q\n", s.Name(), s.Record()))
		sealed, err := s.Seal(message)
		if err != nil {
			t.Fatal(err)
		}
		message = sealed
	}
	return message
}
