package dkim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// peers are other programs' verifiers, run once for all messages, and the
// command that tells whether they are there.
var peers = []struct {
	name  string
	run   []string
	there []string
}{
	{"dkimpy", []string{"/usr/bin/python3", "testdata/peers/dkimpy.py"}, []string{"/usr/bin/python3", "-c", "import dkim, nacl"}},
	{"Mail::DKIM", []string{"/usr/bin/perl", "testdata/peers/maildkim.pl"}, []string{"/usr/bin/perl", "-MMail::DKIM::Verifier", "-e", "1"}},
	{"libopendkim", []string{"/usr/bin/python3", "testdata/peers/opendkim.py"}, []string{"/usr/bin/python3", "-c", "import ctypes; ctypes.CDLL('libopendkim.so.11')"}},
}

// TestPeers holds our verdict on generated messages against those of other
// programs. Every disagreement must be one that docs/conformance.md explains.
// GATEPOST_DIFFERENTIAL sets the number of messages, GATEPOST_SEED the seed.
func TestPeers(t *testing.T) {
	g := newPeerCases(t, uint64(number(t, "GATEPOST_SEED", 1)), time.Now())
	cases := make([]peerCase, number(t, "GATEPOST_DIFFERENTIAL", 400))
	for i := range cases {
		cases[i] = g.next(t)
	}
	o := Options{Resolver: g.zone}
	ours := make([][]Result, len(cases))
	for i, c := range cases {
		ours[i] = verifyWith(t, o, c.message)
	}
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			if out, err := exec.Command(p.there[0], p.there[1:]...).CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: %s is absent; 'make deps' installs it: %v %s", p.name, err, out)
			}
			compare(t, p.name, cases, ours, runPeer(t, p.run, g.zone, cases))
		})
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

// runPeer gives the verdicts of one program on all messages.
func runPeer(t *testing.T, command []string, zone records, cases []peerCase) (verdicts [][]string) {
	t.Helper()
	published := map[string][]string{}
	for name, record := range zone {
		published[name] = strings.Split(record, "\n")
	}
	in, err := json.Marshal(published)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		in = append(in, '\n')
		in = base64.StdEncoding.AppendEncode(in, []byte(c.message))
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(append(in, '\n'))
	var trouble bytes.Buffer
	cmd.Stderr = &trouble
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, trouble.String())
	}
	for line := range bytes.Lines(out) {
		var v []string
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		verdicts = append(verdicts, v)
	}
	if len(verdicts) != len(cases) {
		t.Fatalf("%d verdicts on %d messages\n%.2000s", len(verdicts), len(cases), trouble.String())
	}
	return verdicts
}

// compare looks at each signature and counts the named disagreements.
func compare(t *testing.T, peer string, cases []peerCase, ours [][]Result, theirs [][]string) {
	t.Helper()
	same, named := 0, map[string]int{}
	for i, c := range cases {
		for n, r := range ours[i] {
			verdict := "nothing"
			if n < len(theirs[i]) {
				verdict = theirs[i][n]
			}
			if (r.Value == Pass) == (verdict == Pass) {
				same++
				continue
			}
			name := explain(peer, c, r, verdict)
			if name == "" {
				t.Errorf("message %d, signature %d: we say %s (%s), %s says %s; odd: %q, ends in %q\n%.900s",
					i, n, r.Value, r.Reason, peer, verdict, slices.Sorted(maps.Keys(c.odd)), c.message[max(0, len(c.message)-40):], c.message)
			}
			named[name]++
		}
	}
	t.Logf("%s: %d messages, same verdict on %d signatures; named disagreements: %v", peer, len(cases), same, named)
	if same < len(cases)/2 {
		t.Errorf("only %d equal verdicts: the peer did not judge", same)
	}
}

// disagreement is a kind of message on which a peer decides otherwise: a row
// of docs/conformance.md.
type disagreement struct {
	name  string
	peers string // with a comma and a space between them
	// reason is a part of our reason where we do not pass what the peer passes;
	// else it is empty, and odd and verdict tell what the peer minds.
	reason, odd string   // odd: any of several
	verdicts    []string // parts of the peer's words
}

// explain finds the name of a disagreement; empty if it has none.
func explain(peer string, c peerCase, r Result, verdict string) string {
	for _, d := range disagreements {
		if slices.Contains(strings.Split(d.peers, ", "), peer) && d.fits(c, r, verdict) {
			return d.name
		}
	}
	return ""
}

func (d disagreement) fits(c peerCase, r Result, verdict string) bool {
	if r.Value != Pass {
		return d.reason != "" && strings.Contains(r.Reason, d.reason)
	}
	said := slices.ContainsFunc(d.verdicts, func(part string) bool { return strings.Contains(verdict, part) })
	odd := slices.ContainsFunc(strings.Split(d.odd, ", "), func(part string) bool { return part == "" || c.odd[part] })
	return d.reason == "" && said && odd
}

var disagreements = []disagreement{
	// We refuse, they pass.
	{name: "h= without From", peers: "dkimpy, Mail::DKIM", reason: "h= does not hold From"},
	{name: "a From field that is not signed", peers: "dkimpy, libopendkim, Mail::DKIM", reason: "a From field is not signed"},
	{name: "l=", peers: "dkimpy, Mail::DKIM, libopendkim", reason: "l= covers"},
	{name: "l= longer than the body", peers: "dkimpy, Mail::DKIM", reason: "l= is longer than the body"},
	{name: "l= that is no number", peers: "Mail::DKIM, libopendkim", reason: "l= is not a length"},
	{name: "t= or x= that is no number", peers: "Mail::DKIM", reason: "t= or x= is not a time"},
	{name: "x= not later than t=", peers: "dkimpy, Mail::DKIM", reason: "x= is not later than t="},
	{name: "expired", peers: "dkimpy", reason: "signature has expired"},
	{name: "made in the future", peers: "Mail::DKIM", reason: "made in the future"},
	{name: "v=, h= or bh= missing", peers: "Mail::DKIM", reason: "is missing or empty"},
	{name: "signature with a= twice", peers: "Mail::DKIM", reason: "tag a comes twice"},
	{name: "key record with p= twice", peers: "Mail::DKIM, libopendkim", reason: "tag p comes twice"},
	{name: "key record with h=sha1", peers: "dkimpy", reason: "not for SHA-256"},
	{name: "key record with t=s", peers: "dkimpy", reason: "(t=s)"},
	// They refuse, we pass.
	{name: "Ed25519", peers: "Mail::DKIM", verdicts: []string{"unsupported algorithm ed25519"}},
	{name: "white space before a colon", peers: "dkimpy, Mail::DKIM", odd: "space before a colon", verdicts: []string{"nothing", "missing", "unsupported", "altered", "fail", "MessageFormatError"}},
	{name: "no CRLF at the end", peers: "dkimpy, Mail::DKIM, libopendkim", odd: "no CRLF at the end", verdicts: []string{"body hash", "body has been altered"}},
	{name: "q= with more methods", peers: "dkimpy", odd: "q=dns/txt:http", verdicts: []string{"q= value"}},
	{name: "key record for several services", peers: "dkimpy", odd: "key services", verdicts: []string{"UnknownKeyTypeError"}},
	{name: "another signature that cannot be parsed", peers: "libopendkim", odd: "x= huge, t= no number, without v=, without a=, without d=, without bh=, without h=, without s=",
		verdicts: []string{"header refused", "nothing"}},
}
