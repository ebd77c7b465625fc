package arc

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatepost/auth/arc/arctest"
	"gatepost/auth/peertest"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// peerCase is one generated chain and what is odd about it.
type peerCase struct {
	message string
	odd     []string
}

// peerCases draws chains; the same seed gives the same ones.
type peerCases struct{ *rand.Rand }

func (g peerCases) pick(of ...string) string { return of[g.IntN(len(of))] }

// peerSealers are those whose keys are published.
var peerSealers = []string{"a.test", "b.test", "list.c.test"}

// next seals a message up to four times, by sealers that err now and then, and
// spoils it on the way.
func (g peerCases) next(t *testing.T) peerCase {
	t.Helper()
	c := peerCase{message: "From: Joe <joe@author.test>\r\nTo: ann@receiver.test\r\nSubject: dinner\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nHi.\r\n"}
	note := func(odd string) { c.odd = append(c.odd, odd) }
	for range g.IntN(5) {
		s := arctest.Sealer{Domain: g.pick(peerSealers...)}
		s.Results = s.Domain + "; " + g.pick("none", "spf=pass smtp.mailfrom=author.test", "dkim=pass header.d=author.test; dmarc=pass header.from=author.test")
		if g.IntN(4) == 0 {
			odd := g.pick("key of another", "no key", "cv=fail", "cv=none", "cv=invalid", "d= of another", "h= without From", "expired", "future", "l=0", "no Subject in h=")
			note(odd)
			switch odd {
			case "key of another":
				s.Seed = "another"
			case "no key":
				s.Domain = "unknown.test"
			case "cv=fail", "cv=none", "cv=invalid":
				s.CV = odd[3:]
			case "d= of another":
				s.Signer = "b.test"
			case "h= without From":
				s.Names = "to:subject"
			case "expired":
				s.Tags = "t=1000; x=2000; "
			case "future":
				s.Tags = "t=9000000000; "
			case "l=0":
				s.Tags = "l=0; "
			case "no Subject in h=":
				s.Names = "from:to"
			}
		}
		sealed, err := s.Seal(c.message)
		if err != nil {
			t.Fatal(err)
		}
		c.message = sealed
		if g.IntN(5) == 0 {
			odd := g.pick("another body", "another Subject", "a new Subject", "a field above", "white space", "no seal", "no results", "no signature", "results changed", "case of names")
			note(odd)
			c.message = spoil(c.message, odd)
		}
	}
	return c
}

// spoil changes a message in the way that odd names.
func spoil(message, odd string) string {
	drop := func(name string) string {
		i := strings.Index(message, name+": ")
		if i < 0 {
			return message
		}
		j := i + strings.Index(message[i:], "\r\n")
		for strings.HasPrefix(message[j:], "\r\n ") {
			j += 2 + strings.Index(message[j+2:], "\r\n")
		}
		return message[:i] + message[j+2:]
	}
	switch odd {
	case "another body":
		return message + "P.S.\r\n"
	case "another Subject":
		return strings.Replace(message, "dinner", "supper", 1)
	case "a new Subject":
		return "Subject: supper\r\n" + message
	case "a field above":
		return "Received: from a by b; Sat, 21 Nov 2026 12:00:00 +0000\r\n" + message
	case "white space":
		return strings.Replace(message, "Subject: dinner", "Subject:   dinner  ", 1)
	case "no seal":
		return drop("ARC-Seal")
	case "no results":
		return drop("ARC-Authentication-Results")
	case "no signature":
		return drop("ARC-Message-Signature")
	case "results changed":
		return strings.Replace(message, "; none", "; spf=pass", 1)
	}
	return strings.NewReplacer("ARC-Seal:", "arc-seal:", "Subject:", "SUBJECT:").Replace(message)
}

// TestPeersWhenVerifying holds our verdict on generated chains against rspamd's. Every
// disagreement must be one that docs/conformance.md explains.
func TestPeersWhenVerifying(t *testing.T) {
	g, zone, published := peerCases{rand.New(rand.NewPCG(peertest.Seed(t), 5))}, records{}, ""
	for _, name := range peerSealers {
		s := arctest.Sealer{Domain: name}
		zone[s.Name()] = s.Record()
		published += peertest.TXT(s.Name(), s.Record())
	}
	rspamd := peertest.StartRspamd(t, dnstest.New(t, published).Addr)
	v, n := NewVerifier(Options{Resolver: zone}), peertest.Cases(t)
	var count peertest.Tally
	for range n {
		c := g.next(t)
		ours, err := v.Verify(t.Context(), mail.MemoryBody([]byte(c.message)))
		if err != nil {
			t.Fatal(err)
		}
		theirs := rspamd.Check(t, peertest.Mail{Client: "192.0.2.1", Helo: "mail.test", From: "joe@author.test", Message: c.message}).ARC()
		if ours.Value == theirs {
			count.Same++
			continue
		}
		count.Differs(t, explain(c, ours, theirs), "%q: we say %s (%s), rspamd says %s\n%.3000s", c.odd, ours.Value, ours.Reason, theirs, c.message)
	}
	count.Report(t, "rspamd", n)
}

// TestPeersDocumented: every disagreement has its row.
func TestPeersDocumented(t *testing.T) {
	for _, d := range disagreements {
		peertest.Documented(t, "../..", d.name)
	}
}

// disagreement is a kind of chain that rspamd judges otherwise: a row of
// docs/conformance.md.
type disagreement struct {
	name, ours, theirs string
	odd                []string // any of them
}

func explain(c peerCase, r Result, theirs string) string {
	for _, d := range disagreements {
		if d.ours == r.Value && d.theirs == theirs && slices.ContainsFunc(d.odd, func(odd string) bool { return slices.Contains(c.odd, odd) }) {
			return d.name
		}
	}
	return ""
}

var disagreements = []disagreement{
	{"chain with a field that stands twice", Pass, Fail, []string{"a new Subject"}},
	{"chain made in the future", Pass, Fail, []string{"future"}},
	{"chain that does not sign From", Pass, Fail, []string{"h= without From"}},
	{"chain with l=", Fail, Pass, []string{"l=0"}},
	{"chain with an older seal that fails", Fail, Pass, []string{"no key", "key of another", "results changed"}},
	{"one set without all its fields", Fail, None, []string{"no seal", "no signature"}},
}
