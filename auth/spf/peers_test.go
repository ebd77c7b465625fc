package spf_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/auth/peertest"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// peers are other programs' checkers, run once for all questions.
var peers = []peertest.Program{
	{Name: "pyspf", Run: []string{"/usr/bin/python3", "testdata/peers/pyspf.py"}, There: []string{"/usr/bin/python3", "-c", "import spf"}},
	{Name: "Mail::SPF", Run: []string{"/usr/bin/perl", "testdata/peers/mailspf.pl"}, There: []string{"/usr/bin/perl", "-MMail::SPF", "-e", "1"}},
}

// question is one client and the record that decides.
type question struct{ client, helo, sender, record string }

// peerZone holds generated records, for our server and for the peers.
type peerZone struct {
	*rand.Rand
	text    strings.Builder
	records map[string][]string
}

func (z *peerZone) add(name, recordType, data string) {
	z.records[name+" "+recordType] = append(z.records[name+" "+recordType], data)
	if recordType == "TXT" {
		z.text.WriteString(peertest.TXT(name, data))
		return
	}
	fmt.Fprintf(&z.text, "%s. 60 IN %s %s\n", name, recordType, data)
}

// newPeerZone has the domains that generated records refer to.
func newPeerZone(seed uint64) *peerZone {
	z := &peerZone{Rand: rand.New(rand.NewPCG(seed, 2)), records: map[string][]string{}}
	for name, record := range map[string]string{
		"pass.test": "v=spf1 +all", "fail.test": "v=spf1 -all", "soft.test": "v=spf1 ~all", "empty.test": "v=spf1", "nospf.test": "some text",
		"broken.test": "v=spf1 ip4:1.2.3 -all", "nested.test": "v=spf1 include:only.test include:fail.test ?all", "only.test": "v=spf1 ip4:192.0.2.1 -all",
		"redirected.test": "v=spf1 redirect=only.test", "loop.test": "v=spf1 include:loop.test -all",
		"deep.test": "v=spf1 a:h1.test a:h2.test a:h3.test a:h4.test a:h5.test a:h6.test a:h1.test a:h2.test a:h3.test a:h4.test -all",
	} {
		z.add(name, "TXT", record)
	}
	for i := range 6 {
		z.add(fmt.Sprintf("h%d.test", i+1), "A", fmt.Sprintf("192.0.2.%d", 70+i))
	}
	z.add("h1.test", "AAAA", "2001:db8::1")
	z.add("mx.test", "MX", "10 h1.test.")
	z.add("mx.test", "MX", "20 h2.test.")
	z.add("nullmx.test", "MX", "0 gone.test.")
	z.add("1.2.0.192.in-addr.arpa", "PTR", "host.pass.test.")
	z.add("host.pass.test", "A", "192.0.2.1")
	z.add("1.2.0.192.list.test", "A", "127.0.0.2")
	z.add("joe.list.test", "A", "127.0.0.2")
	return z
}

func (z *peerZone) pick(of ...string) string { return of[z.IntN(len(of))] }

// term draws one term of a record; odd ones are some of them.
func (z *peerZone) term() string {
	domain := z.pick("pass.test", "fail.test", "soft.test", "empty.test", "nospf.test", "broken.test", "nested.test", "only.test", "redirected.test", "gone.test", "loop.test", "deep.test")
	host := z.pick("h1.test", "h2.test", "mx.test", "gone.test", "H1.TEST", "h1.test.", "%{h}.test", "%{d}", "%{o}", "h1.test/24", "h1.test/24//64", "h1.test//64", "nullmx.test")
	odd := z.pick("a:", "include", "include:", "ip4", "ip4:", "ip4:192.0.2.1/33", "ip4:192.0.2.01", "ip4:192.0.2.1/00", "ip4:192.0.2", "ip6:192.0.2.1", "ip6:2001:db8::1/129", "ip6:::ffff:192.0.2.1",
		"all:", "all/8", "all.", "mx/", "mx//", "a/33", "a//129", "a/08", "exists", "exists:", "exists:%{x}.test", "exists:%{d1r+}.test", "exists:%{d0}.test", "exists:%(d).test", "exists:%", "unknown",
		"unknown:x", "ptr:", "foo=bar", "foo=%{d}", "foo=%{x}", "foo=", "redirect=", "redirect=gone.test", "redirect=nospf.test", "exp=", "exp=gone.test", "exp=a exp=b", "redirect=a.test redirect=b.test",
		"1x=y", "-=y", "=y", "a:example..test", "include:example", "a:-", "a:a.b-", "\t", "a:%%test", "a:%_test", "a:h1.test:25", "+-all", "--all", "IP4:192.0.2.1", "Include:pass.test", "MX:mx.test", "ALL")
	switch z.IntN(13) {
	case 0, 1:
		return z.pick("ip4:192.0.2.1", "ip4:192.0.2.0/24", "ip4:198.51.100.0/24", "ip6:2001:db8::/32", "ip6:2001:db8::1", "ip4:0.0.0.0/0", "ip6:::/0")
	case 2, 3:
		return "include:" + domain
	case 4:
		return z.pick("a", "a/24", "a//64", "a:mx.test/24", "a:"+host)
	case 5:
		return "a:" + host
	case 6:
		return z.pick("mx", "mx/24", "mx:mx.test", "mx:nullmx.test", "mx:mx.test/24", "mx:gone.test")
	case 7:
		return "exists:" + z.pick("%{ir}.list.test", "%{l}.list.test", "%{i}.list.test", "gone.test", "%{L}.list.test", "%{ir}.%{v}.test", "h1.test", "%{d2}.test", "%{l1r-}.list.test")
	case 8:
		return "redirect=" + domain
	case 9:
		return z.pick("ptr", "ptr:pass.test", "ptr:fail.test")
	case 10:
		return odd
	}
	return z.pick("all", "?all", "~all", "-all", "-all")
}

// record draws a whole record.
func (z *peerZone) record() string {
	var b strings.Builder
	b.WriteString("v=spf1")
	for range z.IntN(5) {
		b.WriteString(z.pick(" ", " ", " ", " ", "  ") + z.pick("", "", "", "+", "-", "~", "?") + z.term())
	}
	if z.IntN(3) > 0 {
		b.WriteString(" " + z.pick("-all", "~all", "?all", "-ALL"))
	}
	record := b.String()
	switch z.IntN(30) {
	case 0:
		return strings.Replace(record, "v=spf1", z.pick("V=SPF1", "v=spf10", " v=spf1", "v=spf1;", "v=spf2.0/mfrom", "spf1"), 1)
	case 1:
		return record + z.pick(" ", "   ", "\t", " é", "\x7f")
	}
	return record
}

// next draws a question and publishes its record.
func (z *peerZone) next(i int) question {
	domain := fmt.Sprintf("d%d.test", i)
	q := question{client: z.pick("192.0.2.1", "192.0.2.1", "192.0.2.70", "198.51.100.5", "2001:db8::1", "2001:db8:1::1"),
		helo: z.pick("h1.test", "mail.h2.test"), sender: z.pick("joe", "Joe", "joe-bob", "strong+tag", "a.b.c") + "@" + domain, record: z.record()}
	z.add(domain, "TXT", q.record)
	if z.IntN(20) == 0 {
		z.add(domain, "TXT", z.pick("other text", "v=spf1 -all", "v=spf10 all"))
		q.record += " + another"
	}
	if z.IntN(3) == 0 {
		z.add(domain, "A", "192.0.2.1")
		z.add(domain, "MX", "10 h1.test.")
	}
	return q
}

// TestPeers holds our results on generated records against those of other
// programs. Every disagreement must be one that docs/conformance.md explains.
// GATEPOST_DIFFERENTIAL sets the number of records, GATEPOST_SEED the seed.
func TestPeers(t *testing.T) {
	z := newPeerZone(peertest.Seed(t))
	questions := make([]question, peertest.Cases(t))
	for i := range questions {
		questions[i] = z.next(i)
	}
	server := dnstest.New(t, z.text.String())
	checker := spf.New(spf.Options{Resolver: server.ResolverWith(t, dnsx.Options{CacheEntries: -1, TryTimeout: time.Minute}), Receiver: "receiver.example"})
	ours := make([]spf.Result, len(questions))
	for i, q := range questions {
		from, err := mail.ParseAddress(q.sender, false)
		if err != nil {
			t.Fatal(err)
		}
		ours[i] = checker.Check(t.Context(), netip.MustParseAddr(q.client), q.helo, from)
	}
	for _, p := range peers {
		t.Run(p.Name, func(t *testing.T) { compare(t, p.Name, questions, ours, runPeer(t, p, z.records, questions)) })
	}
	t.Run("rspamd", func(t *testing.T) { compare(t, "rspamd", questions, ours, askRspamd(t, server.Addr, questions)) })
}

// runPeer gives the results of one program on all questions.
func runPeer(t *testing.T, p peertest.Program, records map[string][]string, questions []question) []string {
	t.Helper()
	in, err := json.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		line, err := json.Marshal([]string{q.client, q.helo, q.sender})
		if err != nil {
			t.Fatal(err)
		}
		in = append(append(in, '\n'), line...)
	}
	return p.Answers(t, append(in, '\n'), len(questions))
}

// askRspamd gives rspamd's results in the words of RFC 7208.
func askRspamd(t *testing.T, nameserver string, questions []question) []string {
	t.Helper()
	words := map[string]string{"R_SPF_ALLOW": "pass", "R_SPF_FAIL": "fail", "R_SPF_SOFTFAIL": "softfail", "R_SPF_NEUTRAL": "neutral",
		"R_SPF_NA": "none", "R_SPF_DNSFAIL": "temperror", "R_SPF_PERMFAIL": "permerror"}
	r := peertest.StartRspamd(t, nameserver)
	results := make([]string, len(questions))
	for i, q := range questions {
		v := r.Check(t, peertest.Mail{Client: q.client, Helo: q.helo, From: q.sender, Message: "From: " + q.sender + "\r\n\r\nHi.\r\n"})
		symbol := v.One(slices.Sorted(maps.Keys(words))...)
		results[i] = cmp.Or(words[symbol], symbol)
	}
	return results
}

// compare counts the named disagreements; others are errors.
func compare(t *testing.T, peer string, questions []question, ours []spf.Result, theirs []string) {
	t.Helper()
	var count peertest.Tally
	for i, q := range questions {
		if theirs[i] == ours[i].Value {
			count.Same++
			continue
		}
		count.Differs(t, explain(peer, q, ours[i], theirs[i]), "%s for %s, %q: we say %s (%s), %s says %s", q.client, q.sender, q.record, ours[i].Value, ours[i].Reason+ours[i].Mechanism, peer, theirs[i])
	}
	count.Report(t, peer, len(questions))
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
	// ours and theirs are results; a part of ours' reason may follow a colon.
	ours, theirs string
	record       []string // parts of the record, any of them
	// fits says more; nil: nothing else matters.
	fits func(q question, r spf.Result, theirs string) bool
}

func explain(peer string, q question, r spf.Result, theirs string) string {
	for _, d := range disagreements {
		value, reason, _ := strings.Cut(d.ours, ":")
		if slices.Contains(strings.Split(d.peers, ", "), peer) && (value == "" || value == r.Value) && strings.Contains(r.Reason, reason) &&
			strings.HasPrefix(theirs, d.theirs) && slices.ContainsFunc(d.record, func(part string) bool { return strings.Contains(q.record, part) }) &&
			(d.fits == nil || d.fits(q, r, theirs)) {
			return d.name
		}
	}
	return ""
}

var anyRecord = []string{""}

var disagreements = []disagreement{
	{"macro with zero labels", "pyspf, Mail::SPF", "permerror:0 right-hand parts", "", []string{"%{d0}"}, nil},
	{"exists without a name", "pyspf", "permerror:a domain must follow", "", []string{"exists"}, nil},
	{"void look-ups behind mx, and by ptr once more", "pyspf, Mail::SPF", "", "permerror", []string{"mx", "ptr"}, nil},
	{"ip6 networks that hold IPv4", "Mail::SPF", "", "", []string{"ip6:::"}, nil},
	{"unknown macro letter behind a match", "Mail::SPF", "permerror:macro letter", "", []string{"%{x}"}, nil},
	{"ip4 with three numbers", "Mail::SPF", "permerror:not an address of this kind", "", []string{"ip4:192.0.2", "broken.test"}, nil},
	{"name with an empty label", "Mail::SPF", "", "died: empty label", []string{"a:example..test"}, nil},
	// rspamd makes one sorted list of networks of all terms that it can read.
	{"syntax errors", "rspamd", "permerror:syntax error", "", anyRecord, nil},
	{"include or redirect of a domain without a record", "rspamd", "permerror:has no SPF record", "", anyRecord, nil},
	{"several records", "rspamd", "permerror:multiple matching", "", []string{"+ another"}, nil},
	{"more than ten look-ups", "rspamd", "permerror:lookup limit", "", anyRecord, nil},
	{"version that is not exactly v=spf1", "rspamd", "none", "", []string{" v=spf1", "v=spf1;", "v=spf10", "v=spf1\t", "v=spf1\x7f", "v=spf1 é", "spf1 "}, nil},
	{"version that is not exactly v=spf1", "rspamd", "", "", []string{"v=spf10", "V=SPF1", "v=spf2.0/mfrom"}, func(q question, _ spf.Result, _ string) bool { return strings.HasSuffix(q.record, "+ another") }},
	{"record without a term that it keeps", "rspamd", "neutral", "permerror", anyRecord, func(_ question, r spf.Result, _ string) bool { return r.Mechanism == "" }},
	{"+all and networks of everyone", "rspamd", "", "", anyRecord, byEveryone},
	{"terms of an include", "rspamd", "", "", []string{"include:"}, func(_ question, r spf.Result, _ string) bool { return strings.Contains(r.Mechanism, " via include:") }},
	{"a prefix length for one family", "rspamd", "", "", []string{"/24", "//64"}, byPrefix},
	{"number of labels in a macro", "rspamd", "", "", []string{"%{l1r-}", "%{d1r+}", "%{d2}"}, func(_ question, r spf.Result, _ string) bool { return strings.HasPrefix(r.Mechanism, "exists:") }},
	{"terms behind redirect", "rspamd", "", "", []string{"redirect="}, func(_ question, r spf.Result, _ string) bool {
		return r.Mechanism != "" && !strings.Contains(r.Mechanism, "redirect=")
	}},
	{"redirect with spaces at the end", "rspamd", "", "permerror", []string{"redirect="}, func(q question, _ spf.Result, _ string) bool { return strings.HasSuffix(q.record, "  ") }},
	{"order of terms", "rspamd", "", "", anyRecord, func(q question, r spf.Result, theirs string) bool {
		return r.Mechanism != "" && saidBy(directive, q, theirs)
	}},
	{"order of terms", "rspamd", "", "pass", []string{"include:"}, func(_ question, r spf.Result, _ string) bool { return r.Mechanism != "" }},
}

// everyone is a term that rspamd leaves out: a network of a whole family, or
// all behind an include; +all is another.
var everyone = regexp.MustCompile(`^(ip4:0.0.0.0/0|ip6:::/0|all via include)`)

func byEveryone(_ question, r spf.Result, _ string) bool {
	return everyone.MatchString(r.Mechanism) || strings.HasPrefix(r.Mechanism, "all") && r.Value == "pass"
}

var (
	directive = regexp.MustCompile(`(?i) ([-~?+]?)[a-z0-9]+[^ =]*( |$)`)
	prefixed  = regexp.MustCompile(`(?i) ([-~?+]?)(a|mx)(:[^ /]+)?/[0-9/]+( |$)`)
)

// byPrefix: rspamd takes a prefix of one family for nothing in the other.
func byPrefix(q question, _ spf.Result, theirs string) bool { return saidBy(prefixed, q, theirs) }

// saidBy tells whether a term of a form has this result.
func saidBy(form *regexp.Regexp, q question, result string) bool {
	words := map[string]string{"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
	for _, term := range strings.Fields(q.record) {
		if found := form.FindStringSubmatch(" " + term); found != nil && words[found[1]] == result {
			return true
		}
	}
	return false
}
