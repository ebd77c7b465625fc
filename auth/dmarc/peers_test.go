package dmarc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/peertest"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
)

// peerCase is one message's proofs and the record of its author's domain.
type peerCase struct {
	From   string      `json:"from"`
	Record string      `json:"record"`
	Org    string      `json:"org"` // where the record stands, if not at From
	SPF    [2]string   `json:"spf"` // domain and result
	DKIM   [][2]string `json:"dkim"`
	cut    string      // our answer to the part of the record that rspamd reads
}

// peerCases draws cases; the same seed gives the same ones.
type peerCases struct{ *rand.Rand }

func (g peerCases) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g peerCases) record() string {
	var b strings.Builder
	b.WriteString(g.pick("v=DMARC1", "v=DMARC1", "v=DMARC1", "v=DMARC1", "v = DMARC1", "v=DMARC1 ", "V=DMARC1", "v=dmarc1", "v=DMARC2", " v=DMARC1", "v=DMARC10", "DMARC1"))
	if g.IntN(12) > 0 {
		b.WriteString(g.pick(";", "; ", " ; ", ";  ", ";;") + g.pick("p=none", "p=reject", "p=reject", "p=quarantine", "p=Reject", "p = reject", "P=reject", "p=REJECT", "p=rejected", "p=r", "p="))
	}
	for range g.IntN(4) {
		b.WriteString(g.pick(";", "; ", " ; ") + g.pick("sp=none", "sp=reject", "sp=quarantine", "sp=QUARANTINE", "sp=bogus", "adkim=s", "adkim=r", "adkim=x", "adkim=S", "aspf=s", "aspf=r", "aspf=", "pct=0",
			"pct=100", "pct=101", "pct=x", "pct=-1", "rua=mailto:a@b.example", "rua=mailto:a@b.example!10m,mailto:c@d.example", "rua=", "rua=nowhere", "ruf=mailto:x@y.example", "fo=1:d", "fo=x", "rf=afrf", "rf=x",
			"ri=86400", "ri=x", "np=reject", "psd=n", "t=n", "zz=1", "junk", "p=none", "=", "x=é"))
	}
	return b.String() + g.pick("", "", ";", "; ", " ;")
}

func (g peerCases) next(i int) peerCase {
	home := fmt.Sprintf("d%d.example", i)
	c := peerCase{From: home, Record: g.record(), DKIM: [][2]string{}}
	if g.IntN(3) == 0 {
		c.From, c.Org = g.pick("mail.", "a.b.")+home, home
	}
	proof := func() [2]string {
		return [2]string{g.pick(home, c.From, "other."+home, "x.mail."+home, "elsewhere.example", "x"+home, strings.ToUpper(home)), g.pick("pass", "pass", "fail")}
	}
	c.SPF = proof()
	for range g.IntN(3) {
		c.DKIM = append(c.DKIM, proof())
	}
	return c
}

// zone publishes the record of each case, and what makes the proofs of a
// message come out as the case says.
func zone(cases []peerCase) string {
	var b strings.Builder
	published := map[string]bool{}
	for i, c := range cases {
		b.WriteString(peertest.TXT(fmt.Sprintf("_dmarc.d%d.example", i), c.Record))
		for _, proof := range append(c.DKIM, c.SPF) {
			if name := strings.ToLower(proof[0]); !published[name] {
				published[name] = true
				b.WriteString(peertest.TXT(name, "v=spf1 ip4:192.0.2.1 -all") + peertest.KeyRecord(name))
			}
		}
	}
	return b.String()
}

// mail is a message with the proofs of the case.
func (c peerCase) mail(t *testing.T) peertest.Mail {
	t.Helper()
	m := peertest.Mail{Client: "192.0.2.1", Helo: "mail.example", From: "joe@" + c.SPF[0], Message: "From: Joe <joe@" + c.From + ">\r\nSubject: x\r\n\r\nHi.\r\n"}
	if c.SPF[1] != spf.Pass {
		m.Client = "198.51.100.1"
	}
	for _, proof := range c.DKIM {
		m.Message = peertest.Sign(t, m.Message, proof[0], proof[1] == dkim.Pass)
	}
	return m
}

// TestPeers holds our results on generated records against other programs'.
// Every disagreement must be one that docs/conformance.md explains.
// GATEPOST_DIFFERENTIAL sets the number of cases, GATEPOST_SEED the seed.
func TestPeers(t *testing.T) {
	g := peerCases{rand.New(rand.NewPCG(peertest.Seed(t), 3))}
	cases := make([]peerCase, peertest.Cases(t))
	for i := range cases {
		cases[i] = g.next(i)
	}
	server := dnstest.New(t, zone(cases))
	ours := judge(t, server, cases)
	short := slices.Clone(cases)
	for i := range short {
		short[i].Record = readByRspamd(short[i].Record)
	}
	for i, r := range judge(t, dnstest.New(t, zone(short)), short) {
		cases[i].cut = enforced(r)
	}
	t.Run("libopendmarc", func(t *testing.T) { compare(t, "libopendmarc", cases, ours, askOpendmarc(t, cases)) })
	t.Run("rspamd", func(t *testing.T) { compare(t, "rspamd", cases, ours, askRspamd(t, server.Addr, cases)) })
}

func judge(t *testing.T, server *dnstest.Server, cases []peerCase) []dmarc.Result {
	t.Helper()
	checker := dmarc.New(dmarc.Options{Resolver: server.ResolverWith(t, dnsx.Options{CacheEntries: -1, TryTimeout: time.Minute})})
	ours := make([]dmarc.Result, len(cases))
	for i, c := range cases {
		s, d := c.proofs(t)
		ours[i] = checker.Check(t.Context(), domain(t, c.From), s, d)
	}
	return ours
}

var (
	rspamdVersion = regexp.MustCompile(`^v\s*=\s*DMARC1([;\\]\s*|\s+)`)
	rspamdPair    = regexp.MustCompile(`^([A-Za-z]+)\s*=\s*([!-:<-\[\]-~]+)([;\\]\s*|\s+)?`)
)

// readByRspamd is the part of a record that rspamd reads: up to the first thing
// that is no tag with a value.
func readByRspamd(record string) string {
	version := rspamdVersion.FindString(record)
	if version == "" {
		return "none"
	}
	read, rest := "v=DMARC1", record[len(version):]
	for found := rspamdPair.FindStringSubmatch(rest); found != nil; found = rspamdPair.FindStringSubmatch(rest) {
		read, rest = read+"; "+found[1]+"="+found[2], rest[len(found[0]):]
	}
	return read
}

// askOpendmarc tells libopendmarc the proofs and the record.
func askOpendmarc(t *testing.T, cases []peerCase) []string {
	t.Helper()
	const python = "/usr/bin/python3"
	p := peertest.Program{Name: "libopendmarc", Run: []string{python, "testdata/peers/opendmarc.py"}, There: []string{python, "-c", "import ctypes; ctypes.CDLL('libopendmarc.so.2')"}}
	var in bytes.Buffer
	for _, c := range cases {
		if err := json.NewEncoder(&in).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	return p.Answers(t, in.Bytes(), len(cases))
}

// askRspamd lets rspamd find out all by itself, from whole messages.
func askRspamd(t *testing.T, nameserver string, cases []peerCase) []string {
	t.Helper()
	r := peertest.StartRspamd(t, nameserver)
	answers := make([]string, len(cases))
	for i, c := range cases {
		answers[i] = r.Check(t, c.mail(t)).DMARC()
	}
	return answers
}

func compare(t *testing.T, peer string, cases []peerCase, ours []dmarc.Result, theirs []string) {
	t.Helper()
	var count peertest.Tally
	for i, c := range cases {
		if theirs[i] == enforced(ours[i]) {
			count.Same++
			continue
		}
		count.Differs(t, explain(peer, c, theirs[i]), "%+v: we say %s (%s %s), %s says %s", c, enforced(ours[i]), ours[i].Value, ours[i].Reason, peer, theirs[i])
	}
	count.Report(t, peer, len(cases))
}

func (c peerCase) proofs(t *testing.T) (s spf.Result, d []dkim.Result) {
	t.Helper()
	s = spf.Result{Value: c.SPF[1], Domain: domain(t, c.SPF[0])}
	for _, proof := range c.DKIM {
		d = append(d, dkim.Result{Value: proof[1], Domain: domain(t, proof[0])})
	}
	return s, d
}

// enforced is a result in libopendmarc's words.
func enforced(r dmarc.Result) string {
	switch r.Value {
	case dmarc.Pass:
		return "pass"
	case dmarc.Fail:
		return r.Policy
	}
	return "no policy"
}

// TestPeersDocumented: every disagreement has its row.
func TestPeersDocumented(t *testing.T) {
	for _, d := range disagreements {
		peertest.Documented(t, "../..", d.name)
	}
}

// disagreement is a kind of record that a peer judges otherwise: a row of
// docs/conformance.md.
type disagreement struct {
	name, peers string // peers: with a comma and a space between them
	theirs      string // what the peer says, empty: anything; asCut: what we say of a part of the record
	record      *regexp.Regexp
	more        func(c peerCase) bool // nil: nothing else matters
}

const asCut = "as of the part that it reads"

func explain(peer string, c peerCase, theirs string) string {
	for _, d := range disagreements {
		if slices.Contains(strings.Split(d.peers, ", "), peer) && (d.theirs == "" || d.theirs == theirs || d.theirs == asCut && c.cut == theirs) && d.record.MatchString(c.Record) && (d.more == nil || d.more(c)) {
			return d.name
		}
	}
	return ""
}

var (
	anyRecord    = regexp.MustCompile(``)
	brokenTag    = regexp.MustCompile(`^( |V|DMARC1|v=dmarc1)`)
	unknownValue = regexp.MustCompile(`(pct=(101|x|-1)|rf=x|ri=x|fo=x|adkim=x|aspf=(;| |$)|sp=bogus|p=rejected|p=r?(;| |$))`)
)

var disagreements = []disagreement{
	{"version tag that is not first and exact", "libopendmarc", "", brokenTag, nil},
	{"no p=", "libopendmarc", "no policy", anyRecord, func(c peerCase) bool { return tags(c.Record)["p"] == 0 }},
	{"tag with an unknown value", "libopendmarc", "no policy", unknownValue, nil},
	{"p= cut short", "libopendmarc", "", regexp.MustCompile(`[; ]p=r( |;|$)`), nil},
	{"version tag with a capital V", "rspamd", "no policy", regexp.MustCompile(`^V=`), nil},
	{"record of a version tag alone", "rspamd", "no policy", regexp.MustCompile(`^v ?= ?DMARC1$`), nil},
	{"tag with an unknown value", "rspamd", "no policy", unknownValue, nil},
	{"sp= of unknown value, not asked for", "rspamd", "", regexp.MustCompile(`sp=bogus`), func(c peerCase) bool { return c.Org == "" }},
	{"pct= under 100", "rspamd", "", regexp.MustCompile(`pct=(0|-1)`), nil},
	{"what follows a tag that is not read", "rspamd", asCut, anyRecord, nil},
	{"tag that stands twice", "libopendmarc, rspamd", "", anyRecord, func(c peerCase) bool {
		for _, n := range tags(c.Record) {
			if n > 1 {
				return true
			}
		}
		return false
	}},
	{"np= for a name that does not exist", "libopendmarc, rspamd", "", regexp.MustCompile(`np=`), func(c peerCase) bool { return c.Org != "" }},
	{"strict alignment", "libopendmarc", "pass", regexp.MustCompile(`(adkim|aspf)=[sS]`), nil},
	{"several DKIM results", "libopendmarc", "", anyRecord, func(c peerCase) bool { return len(c.DKIM) > 1 }},
}

// tags counts the tags of a record by name.
func tags(record string) map[string]int {
	count := map[string]int{}
	for tag := range strings.SplitSeq(record, ";") {
		if name, _, ok := strings.Cut(tag, "="); ok {
			count[strings.ToLower(strings.TrimSpace(name))]++
		}
	}
	return count
}
