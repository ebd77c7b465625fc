package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/auth/peertest"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// peerCase is a whole message: who sends it, what is in it, what is odd.
type peerCase struct {
	peertest.Mail
	from  string // the shape of From
	below bool   // the record stands at the author's domain, which lies below its organization's
	down  string // the name whose TXT records cannot be had
}

// peerCases draws messages and publishes what they refer to; the same seed
// gives the same ones.
type peerCases struct {
	*rand.Rand
	zone strings.Builder
}

func (g *peerCases) pick(of ...string) string { return of[g.IntN(len(of))] }

// shapes of From, by name; %s is the author's domain.
var shapes = map[string]string{
	"plain": "From: Joe <joe@%s>", "bare": "From: joe@%s", "comment": "From: joe@%s (Joe (the other one))", "folded": "From:\r\n \"Joe, J.\"\r\n\t<joe@%s>",
	"capitals": "FROM: Joe <Joe@%S>", "encoded": "From: =?utf-8?q?J=C3=B6?= <joe@%s>", "8-bit": "From: J\xc3\xb6 <joe@%s>", "address in the name": "From: \"ann@victim.example\" <joe@%s>",
	"encoded address in the name": "From: =?utf-8?q?ann=40victim=2Eexample?= <joe@%s>", "spaces": "From:    Joe     <  joe@%s  >  ", "Sender beside it": "Sender: ann@victim.example\r\nFrom: Joe <joe@%s>",
	"two authors": "From: joe@%s, ann@victim.example", "two fields": "From: joe@%s\r\nFrom: ann@victim.example", "group": "From: all: joe@%s;", "route": "From: <@victim.example:joe@%s>",
	"none": "X-From: joe@%s", "empty": "From: \r\nX-From: joe@%s", "trailing dot": "From: joe@%s.", "two brackets": "From: <ann@victim.example> <joe@%s>", "text behind": "From: <joe@%s> ann@victim.example",
	"space before the colon": "From : joe@%s", "quoted local part": "From: \"ann@victim.example\"@%s",
}

// usual shapes are drawn more often.
var usual = []string{"plain", "bare", "comment", "folded", "capitals", "encoded", "8-bit", "address in the name", "spaces", "Sender beside it"}

// next draws a message of a domain of its own.
func (g *peerCases) next(t *testing.T, i int) peerCase {
	home := fmt.Sprintf("d%d.example", i)
	author := g.pick(home, home, "mail."+home, "a.b."+home)
	shape := g.pick(usual...)
	if g.IntN(4) == 0 {
		shape = g.pick(slices.Sorted(maps.Keys(shapes))...)
	}
	c := peerCase{from: shape, Mail: peertest.Mail{Client: g.pick("192.0.2.1", "192.0.2.1", "198.51.100.1"), Helo: "mail." + home}}
	c.Mail.From = g.pick("joe@"+home, "joe@"+author, "bounce@other."+home, "joe@elsewhere.example", "")
	c.below = g.publish(home, author) && author != home
	from := strings.NewReplacer("%s", author, "%S", strings.ToUpper(author)).Replace(shapes[shape])
	c.Message = from + "\r\nTo: ann@receiver.test\r\nSubject: x\r\n\r\nHi.\r\n"
	for range g.IntN(3) {
		c.Message = peertest.Sign(t, c.Message, g.pick(home, author, "other."+home, "elsewhere.example", "x"+home), g.IntN(3) > 0)
	}
	if g.IntN(25) == 0 {
		c.down = g.pick(home, "other."+home, "_dmarc."+author, "_dmarc."+home, peertest.Selector+"._domainkey."+home)
	}
	return c
}

// publish makes the records of a domain; it tells whether DMARC's is the author's own.
func (g *peerCases) publish(home, author string) bool {
	for _, name := range []string{home, "mail." + home, "a.b." + home, "other." + home} {
		if name != home || g.IntN(10) > 0 {
			g.zone.WriteString(peertest.TXT(name, "v=spf1 ip4:192.0.2.1 "+g.pick("-all", "~all", "?all")))
		}
		g.zone.WriteString(peertest.KeyRecord(name))
	}
	record := "v=DMARC1; p=" + g.pick("none", "quarantine", "reject") + g.pick("", "", "; sp=none", "; sp=quarantine", "; sp=reject") + g.pick("", "", "; adkim=s", "; aspf=s", "; adkim=r; aspf=s; fo=1")
	switch g.IntN(8) {
	case 0:
	case 1, 2:
		g.zone.WriteString(peertest.TXT("_dmarc."+author, record))
		return true
	default:
		g.zone.WriteString(peertest.TXT("_dmarc."+home, record))
	}
	return false
}

// TestPeersWholeMessages holds what we find DMARC to say of whole messages,
// From, SPF, DKIM and records together, against rspamd. Every disagreement must
// be one that docs/conformance.md explains.
func TestPeersWholeMessages(t *testing.T) {
	g := &peerCases{Rand: rand.New(rand.NewPCG(peertest.Seed(t), 4))}
	g.zone.WriteString(peertest.TXT("elsewhere.example", "v=spf1 +ip4:192.0.2.1 -all") + peertest.KeyRecord("elsewhere.example") + peertest.TXT("_dmarc.victim.example", "v=DMARC1; p=reject"))
	cases := make([]peerCase, peertest.Cases(t))
	for i := range cases {
		cases[i] = g.next(t, i)
	}
	server := dnstest.New(t, g.zone.String())
	for _, c := range cases {
		if c.down != "" {
			server.Fail(c.down, "TXT", dnstest.ServFail)
		}
	}
	rspamd := peertest.StartRspamd(t, server.Addr)
	e := engine(t, realProofs(t, server.ResolverWith(t, dnsx.Options{CacheEntries: -1, TryTimeout: time.Minute})))
	var count peertest.Tally
	for _, c := range cases {
		ours, theirs := dmarcOf(t, e, c), rspamd.Check(t, c.Mail).DMARC()
		if ours == theirs {
			count.Same++
			continue
		}
		count.Differs(t, differs(c, ours, theirs), "from %s <%s> %s: we say %s, rspamd says %s\n%s", c.Client, c.Mail.From, c.down, ours, theirs, c.Message)
	}
	count.Report(t, "rspamd, whole messages", len(cases))
}

// dmarcOf is what we find, in the words of Verdict.DMARC.
func dmarcOf(t *testing.T, e *Engine, c peerCase) string {
	t.Helper()
	content := mail.MemoryBody([]byte(c.Message))
	h, err := mail.HeaderOf(t.Context(), content, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	session := stranger()
	session.Addr, session.Helo = netip.MustParseAddr(c.Client), c.Helo
	var from mail.Address
	if c.Mail.From != "" {
		from = address(t, c.Mail.From)
	}
	facts, _, _ := e.Content(t.Context(), session, mail.Envelope{From: from}, h, content)
	switch {
	case facts.FromError != "":
		return "refused: " + facts.FromError
	case facts.DMARC.Value == dmarc.Fail:
		return facts.DMARC.Policy
	case facts.DMARC.Value == dmarc.Pass:
		return "pass"
	case facts.DMARC.Value == dmarc.TempError:
		return "no answer"
	}
	return "no policy"
}

// wholeDifferences are the kinds of disagreement about whole messages: rows of
// docs/conformance.md.
var wholeDifferences = []struct {
	name string
	fits func(c peerCase, ours, theirs string) bool
}{
	{"no author, or more than one", func(_ peerCase, ours, theirs string) bool {
		return strings.HasPrefix(ours, "refused: ") && (theirs == "no policy" || theirs == "nothing")
	}},
	{"From with a source route", func(_ peerCase, ours, _ string) bool { return ours == "refused: a source route" }},
	{"From with a trailing dot or a quoted local part", func(c peerCase, ours, _ string) bool {
		return ours == "refused: a malformed address" && (c.from == "trailing dot" || c.from == "quoted local part")
	}},
	{"record below the organizational domain", func(c peerCase, _, theirs string) bool { return c.below && (theirs == "pass" || theirs == "no answer") }},
	{"DNS trouble at the author's own record", func(c peerCase, ours, _ string) bool {
		return ours == "no answer" && strings.HasPrefix(c.down, "_dmarc.")
	}},
}

func differs(c peerCase, ours, theirs string) string {
	for _, d := range wholeDifferences {
		if d.fits(c, ours, theirs) {
			return d.name
		}
	}
	return ""
}

// TestPeersDocumented: every disagreement has its row.
func TestPeersDocumented(t *testing.T) {
	for _, d := range wholeDifferences {
		peertest.Documented(t, "..", d.name)
	}
}
