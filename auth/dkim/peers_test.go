package dkim

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/auth/peertest"
	"gatepost/dnsx/dnstest"
)

// peers are other programs' verifiers, run once for all messages.
var peers = []peertest.Program{
	{Name: "dkimpy", Run: []string{"/usr/bin/python3", "testdata/peers/dkimpy.py"}, There: []string{"/usr/bin/python3", "-c", "import dkim, nacl"}},
	{Name: "Mail::DKIM", Run: []string{"/usr/bin/perl", "testdata/peers/maildkim.pl"}, There: []string{"/usr/bin/perl", "-MMail::DKIM::Verifier", "-e", "1"}},
	{Name: "libopendkim", Run: []string{"/usr/bin/python3", "testdata/peers/opendkim.py"}, There: []string{"/usr/bin/python3", "-c", "import ctypes; ctypes.CDLL('libopendkim.so.11')"}},
}

// TestPeers holds our verdict on generated messages against those of other
// programs. Every disagreement must be one that docs/conformance.md explains.
// GATEPOST_DIFFERENTIAL sets the number of messages, GATEPOST_SEED the seed.
func TestPeers(t *testing.T) {
	g := newPeerCases(t, peertest.Seed(t), time.Now())
	cases := make([]peerCase, peertest.Cases(t))
	for i := range cases {
		cases[i] = g.next(t)
	}
	o := Options{Resolver: g.zone}
	ours := make([][]Result, len(cases))
	for i, c := range cases {
		ours[i] = verifyWith(t, o, c.message)
	}
	for _, p := range peers {
		t.Run(p.Name, func(t *testing.T) { compare(t, p.Name, cases, ours, runPeer(t, p, g.zone, cases)) })
	}
	t.Run("rspamd", func(t *testing.T) { compare(t, "rspamd", cases, ours, askRspamd(t, g.zone, cases, ours)) })
}

// TestPeersDocumented: every disagreement has its row.
func TestPeersDocumented(t *testing.T) {
	for _, d := range disagreements {
		peertest.Documented(t, "../..", d.name)
	}
}

// runPeer gives the verdicts of one program on all messages.
func runPeer(t *testing.T, p peertest.Program, zone records, cases []peerCase) [][]string {
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
	verdicts := make([][]string, len(cases))
	for i, line := range p.Answers(t, append(in, '\n'), len(cases)) {
		if err := json.Unmarshal([]byte(line), &verdicts[i]); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
	}
	return verdicts
}

// askRspamd gives rspamd's verdicts.
func askRspamd(t *testing.T, zone records, cases []peerCase, ours [][]Result) [][]string {
	t.Helper()
	var text strings.Builder
	for name, record := range zone {
		text.WriteString(peertest.TXT(name, record))
	}
	r := peertest.StartRspamd(t, dnstest.New(t, text.String()).Addr)
	verdicts := make([][]string, len(cases))
	for i, c := range cases {
		v := r.Check(t, peertest.Mail{Client: "192.0.2.1", Helo: "mail.example.com", From: "joe@example.com", Message: c.message})
		for _, sig := range ours[i] {
			verdicts[i] = append(verdicts[i], rspamdVerdict(v, sig))
		}
	}
	return verdicts
}

// rspamdVerdict finds a signature by the beginning of b=.
func rspamdVerdict(v peertest.Verdict, r Result) string {
	for _, option := range v["DKIM_REASONS"] { // number:b:result:reason
		parts := strings.SplitN(option, ":", 4)
		if r.B != "" && strings.HasPrefix(r.B, parts[1]) {
			if parts[2] == "allow" {
				return Pass
			}
			return parts[2] + ": " + parts[3]
		}
	}
	return "nothing"
}

// compare looks at each signature and counts the named disagreements.
func compare(t *testing.T, peer string, cases []peerCase, ours [][]Result, theirs [][]string) {
	t.Helper()
	var count peertest.Tally
	for i, c := range cases {
		for n, r := range ours[i] {
			verdict := "nothing"
			if n < len(theirs[i]) {
				verdict = theirs[i][n]
			}
			if (r.Value == Pass) == (verdict == Pass) {
				count.Same++
				continue
			}
			count.Differs(t, explain(peer, c, r, verdict), "message %d, signature %d: we say %s (%s), %s says %s; odd: %q, ends in %q\n%.900s",
				i, n, r.Value, r.Reason, peer, verdict, slices.Sorted(maps.Keys(c.odd)), c.message[max(0, len(c.message)-40):], c.message)
		}
	}
	count.Report(t, peer, len(cases))
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
	{name: "a From field that is not signed", peers: "dkimpy, libopendkim, Mail::DKIM, rspamd", reason: "a From field is not signed"},
	{name: "l=", peers: "dkimpy, Mail::DKIM, libopendkim, rspamd", reason: "l= covers"},
	{name: "l= longer than the body", peers: "dkimpy, Mail::DKIM, rspamd", reason: "l= is longer than the body"},
	{name: "l= that is no number", peers: "Mail::DKIM, libopendkim", reason: "l= is not a length"},
	{name: "t= or x= that is no number", peers: "Mail::DKIM", reason: "t= or x= is not a time"},
	{name: "x= not later than t=", peers: "dkimpy, Mail::DKIM", reason: "x= is not later than t="},
	{name: "expired", peers: "dkimpy", reason: "signature has expired"},
	{name: "made in the future", peers: "Mail::DKIM", reason: "made in the future"},
	{name: "v=, h= or bh= missing", peers: "Mail::DKIM", reason: "is missing or empty"},
	{name: "signature with a= twice", peers: "Mail::DKIM", reason: "tag a comes twice"},
	{name: "key record with p= twice", peers: "Mail::DKIM, libopendkim, rspamd", reason: "tag p comes twice"},
	{name: "key record with h=sha1", peers: "dkimpy, rspamd", reason: "not for SHA-256"},
	{name: "key record with t=s", peers: "dkimpy, rspamd", reason: "(t=s)"},
	{name: "i= outside d=", peers: "rspamd", reason: "i= is not within d="},
	{name: "q= without dns/txt", peers: "rspamd", reason: "query method"},
	{name: "key record for other services", peers: "rspamd", reason: "not for mail"},
	{name: "key record of another version", peers: "rspamd", reason: "version \"DKIM2\""},
	{name: "key record of an unknown type", peers: "rspamd", reason: "key type \"dsa\""},
	// They refuse, we pass.
	{name: "Ed25519", peers: "Mail::DKIM", verdicts: []string{"unsupported algorithm ed25519"}},
	{name: "white space before a colon", peers: "dkimpy, Mail::DKIM, rspamd", odd: "space before a colon", verdicts: []string{"nothing", "missing", "unsupported", "altered", "fail", "MessageFormatError"}},
	{name: "no CRLF at the end", peers: "dkimpy, Mail::DKIM, libopendkim, rspamd", odd: "no CRLF at the end", verdicts: []string{"body hash", "body has been altered"}},
	{name: "q= with more methods", peers: "dkimpy", odd: "q=dns/txt:http", verdicts: []string{"q= value"}},
	{name: "key record for several services", peers: "dkimpy", odd: "key services", verdicts: []string{"UnknownKeyTypeError"}},
	{name: "another signature that cannot be parsed", peers: "libopendkim", odd: "x= huge, t= no number, without v=, without a=, without d=, without bh=, without h=, without s=",
		verdicts: []string{"header refused", "nothing"}},
	{name: "signed field that stands twice", peers: "rspamd", odd: "a single field twice", verdicts: []string{"headers rsa", "headers eddsa"}},
	{name: "h= with an empty name", peers: "rspamd", odd: "h= with an empty name", verdicts: []string{"headers rsa", "headers eddsa"}},
	{name: "body of nothing but white space", peers: "rspamd", odd: "body of white space", verdicts: []string{"body hash"}},
	{name: "x= beyond 64 bits", peers: "rspamd", odd: "x= huge", verdicts: []string{"nothing"}},
	{name: "tag without a value", peers: "rspamd", odd: "zz=", verdicts: []string{"nothing"}},
}
