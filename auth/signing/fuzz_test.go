package signing

import (
	"strings"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/dnsx"
	"gatepost/mail"
)

// FuzzSign: what is signed verifies, whatever the message; what cannot be
// signed is an error and no field.
func FuzzSign(f *testing.F) {
	for _, s := range []string{"Subject: x\r\n\r\nbody\r\n", "\r\n", "A : b\r\n \r\n\r\n \r\n\r\n\r\n", "Subject:\xff\r\n\r\n\xff", "no header", "From: b@c.example\r\nfrom:d@e.example\r\n\r\n", "DKIM-Signature: v=1; b=x\r\n\r\n\r\n"} {
		f.Add(s)
	}
	b := newBench(f, "example.com")
	s := b.signer(f, Rule{Domains: []string{"example.com"}, Algorithms: []string{"ed25519"}})
	verifier := dkim.NewVerifier(dkim.Options{Resolver: b.dns.ResolverWith(f, dnsx.Options{})})
	m := vouched(f, "")
	f.Fuzz(func(t *testing.T, in string) {
		// The wire lets only CRLF and no NUL through.
		text := "From: a@example.com\r\n" + strings.NewReplacer("\r", "", "\n", "\r\n", "\x00", "").Replace(in)
		if _, err := mail.ParseHeader([]byte(text)); err != nil {
			return // refused at the door
		}
		m.ID++
		m.Content = mail.MemoryBody([]byte(text))
		fields, _, err := s.Sign(t.Context(), m, "as-is", m.Open)
		if err != nil {
			if len(fields) > 0 {
				t.Fatalf("%v, but %q", err, fields)
			}
			return
		}
		results, err := verifier.Verify(t.Context(), mail.MemoryBody(append(fields, text...)))
		if len(fields) > 0 && (err != nil || len(results) == 0 || results[0].Value != dkim.Pass) {
			t.Fatalf("%+v, %v\n%q", results, err, text)
		}
	})
}
