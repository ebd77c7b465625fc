package spf_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatepost/auth/spf"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// peers are other programs' checkers, run once for all questions, and the
// command that tells whether they are there.
var peers = []struct {
	name  string
	run   []string
	there []string
}{
	{"pyspf", []string{"/usr/bin/python3", "testdata/peers/pyspf.py"}, []string{"/usr/bin/python3", "-c", "import spf"}},
	{"Mail::SPF", []string{"/usr/bin/perl", "testdata/peers/mailspf.pl"}, []string{"/usr/bin/perl", "-MMail::SPF", "-e", "1"}},
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
		data = quoted(data)
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
	z := newPeerZone(uint64(number(t, "GATEPOST_SEED", 1)))
	questions := make([]question, number(t, "GATEPOST_DIFFERENTIAL", 400))
	for i := range questions {
		questions[i] = z.next(i)
	}
	checker := spf.New(spf.Options{Resolver: dnstest.New(t, z.text.String()).Resolver(t), Receiver: "receiver.example"})
	ours := make([]spf.Result, len(questions))
	for i, q := range questions {
		from, err := mail.ParseAddress(q.sender, false)
		if err != nil {
			t.Fatal(err)
		}
		ours[i] = checker.Check(t.Context(), netip.MustParseAddr(q.client), q.helo, from)
	}
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			if out, err := exec.Command(p.there[0], p.there[1:]...).CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: %s is absent; 'make deps' installs it: %v %s", p.name, err, out)
			}
			compare(t, p.name, questions, ours, runPeer(t, p.run, z.records, questions))
		})
	}
}

// runPeer gives the results of one program on all questions.
func runPeer(t *testing.T, command []string, records map[string][]string, questions []question) []string {
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
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	var trouble bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(append(in, '\n')), &trouble
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, trouble.String())
	}
	results := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(results) != len(questions) {
		t.Fatalf("%d results on %d questions\n%.2000s", len(results), len(questions), trouble.String())
	}
	return results
}

// compare counts the named disagreements; others are errors.
func compare(t *testing.T, peer string, questions []question, ours []spf.Result, theirs []string) {
	t.Helper()
	same, named := 0, map[string]int{}
	for i, q := range questions {
		if theirs[i] == ours[i].Value {
			same++
			continue
		}
		name := explain(peer, q, ours[i], theirs[i])
		if name == "" {
			t.Errorf("%s for %s, %q: we say %s (%s), %s says %s", q.client, q.sender, q.record, ours[i].Value, ours[i].Reason, peer, theirs[i])
		}
		named[name]++
	}
	t.Logf("%s: %d records, %d same results; named disagreements: %v", peer, len(questions), same, named)
	if same < len(questions)/2 {
		t.Errorf("only %d equal results: the peer did not judge", same)
	}
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

// disagreement is a kind of record that a peer judges otherwise: a row of
// docs/conformance.md.
type disagreement struct {
	name, peers string // peers: with a comma and a space between them
	// ours and theirs are results; a part of ours' reason may follow a colon.
	ours, theirs string
	record       []string // parts of the record, any of them
}

func explain(peer string, q question, r spf.Result, theirs string) string {
	for _, d := range disagreements {
		value, reason, _ := strings.Cut(d.ours, ":")
		if slices.Contains(strings.Split(d.peers, ", "), peer) && (value == "" || value == r.Value) && strings.Contains(r.Reason, reason) &&
			strings.HasPrefix(theirs, d.theirs) && slices.ContainsFunc(d.record, func(part string) bool { return strings.Contains(q.record, part) }) {
			return d.name
		}
	}
	return ""
}

var disagreements = []disagreement{
	{"macro with zero labels", "pyspf, Mail::SPF", "permerror:0 right-hand parts", "", []string{"%{d0}"}},
	{"exists without a name", "pyspf", "permerror:a domain must follow", "", []string{"exists"}},
	{"void look-ups behind mx, and by ptr once more", "pyspf, Mail::SPF", "", "permerror", []string{"mx", "ptr"}},
	{"ip6 networks that hold IPv4", "Mail::SPF", "", "", []string{"ip6:::"}},
	{"unknown macro letter behind a match", "Mail::SPF", "permerror:macro letter", "", []string{"%{x}"}},
	{"ip4 with three numbers", "Mail::SPF", "permerror:not an address of this kind", "", []string{"ip4:192.0.2", "broken.test"}},
	{"name with an empty label", "Mail::SPF", "", "died: empty label", []string{"a:example..test"}},
}
