package integration

import (
	"iter"
	"os"
	"strings"
	"testing"
)

// technique is one way past author checks, of the kinds published in
// "Composition Kills" (Chen, Paxson, Jiang) and "Weak Links in Authentication
// Chains" (Shen et al.). Each is played twice: by a stranger to the
// mx role, who has a sound envelope of his own (good.test, for which SPF and
// DMARC pass) and wants to look like reject.test; and in a relay session by a
// client that may send as scanner@example.test only, and wants to be
// bob@example.test. VICTIM and OWN stand for the two addresses.
type technique struct {
	name    string
	from    string // the From fields; others may follow
	sender  string // of the envelope; empty: OWN
	mx      int    // reply code to the stranger
	relay   int    // to the relay client
	rule    string // part of the reply
	results string // in Authentication-Results, where the stranger's mail is accepted
}

// proved is what an accepted message says: judged was the attacker's own
// domain.
const proved = "dmarc=pass header.from=good.test"

var techniques = []technique{
	// SPF proves one name, DMARC judges another.
	{name: "null sender, SPF passing by HELO", sender: "NULL", from: "From: VICTIM", mx: 550, relay: 550},
	{name: "empty MAIL FROM in parentheses", sender: "(OWN", from: "From: VICTIM", mx: 501, relay: 501},
	{name: "sender of another domain, passing SPF", from: "From: VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "envelope with a route", sender: "@VICTIMDOMAIN,@x.test:OWN", from: "From: VICTIM", mx: 550, relay: 550},
	{name: "envelope with two at signs", sender: "VICTIM@OWNDOMAIN", from: "From: VICTIM", mx: 553, relay: 553},
	{name: "envelope with a quoted victim", sender: `"VICTIM"@OWNDOMAIN`, from: "From: VICTIM", mx: 553, relay: 553},
	// A From field that the judge and the reader understand in two ways.
	{name: "two From fields", from: "From: OWN\r\nFrom: VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "two From fields, victim first", from: "From: VICTIM\r\nFrom: OWN", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "space before the colon", from: "From : VICTIM\r\nFrom: OWN", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "space before the colon, alone", from: "From : VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "folded first line", from: " From: VICTIM\r\nFrom: OWN", mx: 550, relay: 550},
	{name: "folded field name", from: "From\r\n : VICTIM\r\nFrom: OWN", mx: 550, relay: 550},
	{name: "Sender beside From", from: "From: VICTIM\r\nSender: OWN", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "no From, Sender only", from: "Sender: VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "Resent-From", from: "From: VICTIM\r\nResent-From: OWN", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "two addresses", from: "From: VICTIM, OWN", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "two addresses, own first", from: "From: OWN, VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "two angle brackets", from: "From: <OWN><VICTIM>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "empty element of a list", from: "From: ,<VICTIM>,<OWN>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "empty mailbox in front", from: "From: <>, <VICTIM>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "group", from: "From: VICTIM:OWN;", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "source route", from: "From: <@OWNDOMAIN,@x.test:VICTIM>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "route portion of the victim", from: "From: <@VICTIMDOMAIN:OWN>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "text behind the address", from: "From: <OWN> VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "bare address in front", from: "From: VICTIM <OWN>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "escaped bracket", from: `From: <OWN\>,<VICTIM>`, mx: 550, relay: 550, rule: "5.7.1"},
	{name: "comment inside the address", from: "From: <VICTIM(@OWNDOMAIN)>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "comment that holds an address", from: "From: <OWN> (<VICTIM>)", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "quoted victim as local part", from: `From: <"VICTIM"@OWNDOMAIN>`, mx: 250, relay: 550, results: proved},
	{name: "unbalanced quotation", from: `From: "<VICTIM> <OWN>`, mx: 550, relay: 550, rule: "5.7.1"},
	{name: "encoded word as address", from: "From: =?utf-8?B?Ym9iQHJlamVjdC50ZXN0?=", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "encoded bracket in front", from: "From: =?utf-8?Q?=3CVICTIM=3E=2C?= <OWN>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "encoded NUL behind a victim", from: "From: =?utf-8?Q?VICTIM=00?= <OWN>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "display name of the victim", from: `From: "VICTIM" <OWN>`, mx: 250, relay: 250, results: proved},
	{name: "NUL in From", from: "From: VICTIM\x00, OWN", mx: 550, relay: 550},
	{name: "control octet in From", from: "From: VICTIM\x01 <OWN>", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "domain literal", from: "From: bob@[127.0.0.20]", mx: 250, relay: 550, results: "dmarc=none"},
	{name: "trailing dot", from: "From: bob@VICTIMDOMAIN.", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "full-width dot", from: "From: bob@reject\u3002test", mx: 550, relay: 550},
	{name: "no From at all", from: "Subject: x", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "empty From", from: "From:", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "non-existent subdomain", from: "From: bob@no-such.VICTIMDOMAIN", mx: 250, relay: 550, results: "policy.dmarc=none"}, // its owner says sp=none
	// What others read in the message instead of what was judged.
	{name: "forged Authentication-Results", from: "Authentication-Results: example.test; dmarc=pass header.from=reject.test\r\nFrom: VICTIM", mx: 550, relay: 550, rule: "5.7.1"},
	{name: "a second header behind an empty line", from: "From: OWN\r\n\r\nFrom: VICTIM", mx: 250, relay: 250, results: proved},
}

// TestBypassTechniques plays each technique in both roles against the real
// binary. docs/conformance.md lists them with our answer.
func TestBypassTechniques(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	for _, c := range techniques {
		t.Run(c.name, func(t *testing.T) {
			mx := c.play(t, s, fromWorld, s.mx, "bob@example.test", strings.NewReplacer("VICTIMDOMAIN", "reject.test", "OWNDOMAIN", "good.test", "VICTIM", "bob@reject.test", "OWN", "eve@good.test"), c.mx)
			if mx {
				contains(t, unfolded(s.inside.wait(t, "X-Technique: "+c.name+"\r\n").Data), c.results)
			}
			relay := c.play(t, s, fromPrinter, s.devices, "carl@world.test", strings.NewReplacer("VICTIMDOMAIN", "example.test", "OWNDOMAIN", "example.test", "VICTIM", "bob@example.test", "OWN", "scanner@example.test"), c.relay)
			if relay {
				contains(t, string(s.world.wait(t, "X-Technique: "+c.name+"\r\n").Data), "scanner@example.test")
			}
		})
	}
	documented(t, func(yield func(string) bool) {
		for _, c := range techniques {
			if !yield(c.name) {
				return
			}
		}
	})
	s.settled()
	accepted := 0
	for _, c := range techniques {
		accepted += map[bool]int{true: 1}[c.mx == 250] + map[bool]int{true: 1}[c.relay == 250]
	}
	if n := len(s.inside.all()) + len(s.world.all()); n != accepted {
		t.Errorf("%d messages arrived, %d were accepted", n, accepted)
	}
}

// play sends one technique and tells whether it was accepted.
func (c technique) play(t *testing.T, s *site, local, address, to string, names *strings.Replacer, code int) bool {
	t.Helper()
	sender := names.Replace("OWN")
	if c.sender != "" {
		sender = strings.Replace(names.Replace(c.sender), "NULL", "", 1)
	}
	d := session(t, local, address)
	defer d.conn.Close()
	message := names.Replace(c.from) + "\r\nTo: " + to + "\r\nX-Technique: " + c.name + "\r\nSubject: technique\r\n\r\ntext\r\n"
	if strings.Contains(c.from, "\r\n\r\n") {
		message = "X-Technique: " + c.name + "\r\n" + message
	}
	got, reply, err := d.transaction(sender, []string{to}, message)
	if err != nil || got != code {
		t.Errorf("%s: got %q, %v; want %d", address, reply, err, code)
	}
	if code != 250 {
		contains(t, reply, c.rule)
	}
	return got == 250
}

// documented wants each name as the first column of a row of
// docs/conformance.md.
func documented(t *testing.T, names iter.Seq[string]) {
	t.Helper()
	text, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range names {
		contains(t, string(text), "\n| "+name+" |")
	}
}
