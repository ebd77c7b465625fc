package integration

import (
	"strings"
	"testing"
)

// spfZone publishes explanations of every kind (RFC 7208 section 6.2).
const spfZone = `
told.test.      TXT "v=spf1 a:h.told.test -all exp=why.told.test"
why.told.test.  TXT "%{S} may not send from %{C} as %{h}; ask %{R} of %{d2}"
h.told.test.    A   192.0.2.1
ctl.test.       TXT "v=spf1 include:inner.ctl.test -all exp=why.ctl.test"
inner.ctl.test. TXT "v=spf1 ip4:192.0.2.0/24 -all exp=inner.why.ctl.test"
why.ctl.test.   TXT "fine\013\010250 2.0.0 Ok"
inner.why.ctl.test. TXT "the included record's"
bit.test.       TXT "v=spf1 -all exp=why.bit.test"
why.bit.test.   TXT "caf\195\169"
long.test.      TXT "v=spf1 redirect=target.long.test"
target.long.test. TXT "v=spf1 -all exp=why.long.test"
why.long.test.  TXT "begin" "%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}%{s}" "THE-END"
gone.test.      TXT "v=spf1 -all exp=why.gone.test"
bad.test.       TXT "v=spf1 -all exp=why.bad.test"
why.bad.test.   TXT "%{x}"
soft.test.      TXT "v=spf1 mx ~all exp=why.told.test"
`

// TestSPFExplanationInTheReply: the owner of the domain is heard in the 550,
// in one line of plain text, and the trace says which term matched.
func TestSPFExplanationInTheReply(t *testing.T) {
	t.Parallel()
	s := startSite(t, spfZone, func(vars map[string]string) { vars["policy"] = "spf: {fail: reject}" })
	for _, c := range []struct {
		domain, mechanism string
		told, untold      []string
	}{
		{domain: "told.test", mechanism: "spf        fail (mailfrom told.test) all",
			told: []string{"a%2Bb%40told.test may not send from 127.0.0.99 as ", "ask mx.example.test of told.test"}},
		{domain: "ctl.test", mechanism: "spf        fail (mailfrom ctl.test) all", untold: []string{"250 2.0.0", "included", "fine"}},
		{domain: "bit.test", mechanism: "spf        fail (mailfrom bit.test) all", untold: []string{"caf"}},
		{domain: "long.test", mechanism: "spf        fail (mailfrom long.test) all via redirect=target.long.test", told: []string{"begina+b@long.testa+b@long.test"}, untold: []string{"THE-END"}},
		{domain: "gone.test", mechanism: "spf        fail (mailfrom gone.test) all"},
		{domain: "bad.test", mechanism: "spf        fail (mailfrom bad.test) all", untold: []string{"%"}},
	} {
		from := "a+b@" + c.domain
		reply := send(t, fromStranger, s.mx, 550, from, "bob@example.test", letter(from, "bob@example.test", "told", "text"))
		contains(t, reply, append(c.told, "5.7.23", c.domain)...)
		lacks(t, reply, c.untold...)
		if strings.ContainsFunc(reply, func(r rune) bool { return r < ' ' || r > '~' }) || len(reply) > 900 {
			t.Errorf("%s: reply %q", c.domain, reply)
		}
		words := strings.Fields(reply)
		s.traced(strings.Trim(words[len(words)-1], "()[]."), "refused", "rule       spf", c.mechanism)
	}
	id := queuedID(t, send(t, fromStranger, s.mx, 250, "a@soft.test", "bob@example.test", letter("a@soft.test", "bob@example.test", "soft", "text")))
	s.traced(id, "spf        softfail (mailfrom soft.test) all")
	eml := writeFile(t, s.dir, "told.eml", letter("a@told.test", "bob@example.test", "told", "text"))
	out, err := s.run("explain", "--client-ip", fromStranger, "--helo", "h.told.test", "--mail-from", "a@told.test", eml)
	if err == nil {
		t.Error("explain takes refused mail for accepted")
	}
	contains(t, out, "spf        fail (mailfrom told.test) all", "may not send from 127.0.0.99 as h.told.test", "reject by rule spf")
}

// TestSignatureIsShown: trace and explain tell all that is known of a
// signature and its key, and where a CNAME led to it, as Microsoft 365 has it.
func TestSignatureIsShown(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	message := s.signAs(t, "signer.test", letter("a@signer.test", "bob@example.test", "shown", "text"))
	aliased := strings.Replace(message, "s=k1", "s=selector1", 1)
	s.addZone("selector1._domainkey.signer.test. 60 CNAME selector1-signer-test._domainkey.tenant.onmicrosoft.test.\n" +
		"selector1-signer-test._domainkey.tenant.onmicrosoft.test. 60 TXT \"v=DKIM1; t=y; k=ed25519; p=6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=\"\n")
	for _, c := range []struct {
		message string
		want    []string
	}{
		{message, []string{"dkim       pass d=signer.test s=k1 a=ed25519-sha256 i=@signer.test b=", "key of 256 bits"}},
		{aliased, []string{"dkim       fail d=signer.test s=selector1", "key of 256 bits, found by CNAME at selector1-signer-test._domainkey.tenant.onmicrosoft.test, marked as testing", "signature did not verify"}},
		{strings.Replace(message, " s=k1;", " s=k1; l=4;", 1), []string{"l=4 octets of the body"}},
	} {
		id := queuedID(t, send(t, fromStranger, s.mx, 250, "a@plain.test", "bob@example.test", c.message))
		s.traced(id, c.want...)
		eml := writeFile(t, t.TempDir(), "signed.eml", c.message)
		out, err := s.run("explain", "--client-ip", fromStranger, "--helo", "x.test", "--mail-from", "a@plain.test", eml)
		if err != nil {
			t.Errorf("explain: %v", err)
		}
		contains(t, out, c.want...)
	}
}
