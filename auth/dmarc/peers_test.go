package dmarc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/dnsx/dnstest"
)

// peerCase is one message's proofs and the record of its author's domain.
type peerCase struct {
	From   string      `json:"from"`
	Record string      `json:"record"`
	Org    string      `json:"org"` // where the record stands, if not at From
	SPF    [2]string   `json:"spf"` // domain and result
	DKIM   [][2]string `json:"dkim"`
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

// TestPeers holds our results on generated records against libopendmarc's.
// Every disagreement must be one that docs/conformance.md explains.
// GATEPOST_DIFFERENTIAL sets the number of cases, GATEPOST_SEED the seed.
func TestPeers(t *testing.T) {
	const python = "/usr/bin/python3"
	if out, err := exec.Command(python, "-c", "import ctypes; ctypes.CDLL('libopendmarc.so.2')").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: libopendmarc is absent; 'make deps' installs it: %v %s", err, out)
	}
	g := peerCases{rand.New(rand.NewPCG(uint64(number(t, "GATEPOST_SEED", 1)), 3))}
	cases := make([]peerCase, number(t, "GATEPOST_DIFFERENTIAL", 400))
	var zone, in bytes.Buffer
	encoder := json.NewEncoder(&in)
	for i := range cases {
		cases[i] = g.next(i)
		fmt.Fprintf(&zone, "_dmarc.d%d.example. 60 IN TXT \"%s\"\n", i, escaped(cases[i].Record))
		if err := encoder.Encode(cases[i]); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/peers/opendmarc.py")
	cmd.Stdin = &in
	out, err := cmd.Output()
	theirs := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(theirs) != len(cases) {
		t.Fatalf("%d results on %d cases: %v", len(theirs), len(cases), err)
	}
	checker := dmarc.New(dmarc.Options{Resolver: dnstest.New(t, zone.String()).Resolver(t)})
	same, named := 0, map[string]int{}
	for i, c := range cases {
		s, d := c.proofs(t)
		ours := checker.Check(t.Context(), domain(t, c.From), s, d)
		if theirs[i] == enforced(ours) {
			same++
			continue
		}
		name := explain(c, ours, theirs[i])
		if name == "" {
			t.Errorf("%+v: we say %s (%s %s), libopendmarc says %s", c, enforced(ours), ours.Value, ours.Reason, theirs[i])
		}
		named[name]++
	}
	t.Logf("libopendmarc: %d cases, %d same results; named disagreements: %v", len(cases), same, named)
	if same < len(cases)/2 {
		t.Errorf("only %d equal results: the peer did not judge", same)
	}
}

// escaped writes a record's octets for a zone.
func escaped(record string) string {
	var b strings.Builder
	for i := range len(record) {
		fmt.Fprintf(&b, `\%03d`, record[i])
	}
	return b.String()
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
	text, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range disagreements {
		if !strings.Contains(string(text), "\n| "+d.name+" |") {
			t.Errorf("docs/conformance.md has no row %q", d.name)
		}
	}
}

// number reads a setting of the test.
func number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is no number", name, s)
	}
	return n
}

// disagreement is a kind of record that the peer judges otherwise: a row of
// docs/conformance.md.
type disagreement struct {
	name   string
	theirs string // what the peer says, empty: anything
	record *regexp.Regexp
	more   func(c peerCase) bool // nil: nothing else matters
}

func explain(c peerCase, _ dmarc.Result, theirs string) string {
	for _, d := range disagreements {
		if (d.theirs == "" || d.theirs == theirs) && d.record.MatchString(c.Record) && (d.more == nil || d.more(c)) {
			return d.name
		}
	}
	return ""
}

var (
	anyRecord    = regexp.MustCompile(``)
	brokenTag    = regexp.MustCompile(`^( |V|DMARC1|v=dmarc1)`)
	unknownValue = regexp.MustCompile(`(pct=(101|x|-1)|rf=x|ri=x|fo=x|adkim=x|aspf=(;| |$)|sp=bogus|p=rejected|p=(;| |$))`)
)

var disagreements = []disagreement{
	{"version tag that is not first and exact", "", brokenTag, nil},
	{"no p=", "no policy", anyRecord, func(c peerCase) bool { return tags(c.Record)["p"] == 0 }},
	{"tag with an unknown value", "no policy", unknownValue, nil},
	{"p= cut short", "", regexp.MustCompile(`[; ]p=r( |;|$)`), nil},
	{"tag that stands twice", "", anyRecord, func(c peerCase) bool {
		for _, n := range tags(c.Record) {
			if n > 1 {
				return true
			}
		}
		return false
	}},
	{"np= for a name that does not exist", "", regexp.MustCompile(`np=`), func(c peerCase) bool { return c.Org != "" }},
	{"strict alignment", "pass", regexp.MustCompile(`(adkim|aspf)=[sS]`), nil},
	{"several DKIM results", "", anyRecord, func(c peerCase) bool { return len(c.DKIM) > 1 }},
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
