package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// suiteCase is one case of suites/smtp/dialogue-cases.yml.
type suiteCase struct {
	ID     string
	Send   []string
	Body   []string
	Class  string
	Code   string
	Expect string
}

func suite(t *testing.T) []suiteCase {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = "../../shared/suites"
	}
	b, err := os.ReadFile(filepath.Join(dir, "smtp", "dialogue-cases.yml"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("SKIPPED: no SMTP dialogues at %s; set GATEPOST_SUITES: %v", dir, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Session []suiteCase }
	if err := yaml.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Session) < 20 {
		t.Fatalf("only %d dialogues", len(all.Session))
	}
	return all.Session
}

// suiteLines are what to send where the case describes it in words.
var suiteLines = map[string][]string{
	"unknown-many":  strings.Split(strings.Repeat("WRONG\n", 20)[:119], "\n"),
	"line-too-long": {"HELO " + strings.Repeat("x", 4000)},
	"ehlo-resets":   {"EHLO x", "MAIL FROM:<a@good.test>", "EHLO y", "RCPT TO:<bob@example.test>"},
	"rset":          {"EHLO x", "MAIL FROM:<a@good.test>", "RSET", "RCPT TO:<bob@example.test>"},
	"pipelined":     {"EHLO x", "MAIL FROM:<a@good.test>\r\nRCPT TO:<bob@example.test>\r\nDATA"},
	"too-big":       {"EHLO x", "MAIL FROM:<a@b.test> SIZE=999999999"},
}

// suiteReplies are the replies wanted where the case says it in words: codes,
// classes, or "close".
var suiteReplies = map[string][]string{
	"banner":       {},
	"quit":         {"221", "close"},
	"http-first":   {"5"},
	"pipelined":    {"250", "250", "250", "354"},
	"unknown-many": {"500"},
}

// TestDialogueSuite plays the suite against the real binary.
func TestDialogueSuite(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	special := map[string]func(*testing.T, *site){
		"unknown-many": unknownMany, "dot-stuffing": dotStuffing, "too-big-undeclared": tooBigUndeclared,
		"auth-thrice-bad": authThriceBad, "auth-twice": authTwice, "http-first": httpFirst,
	}
	cases, passed := suite(t), 0
	for _, c := range cases {
		ok := t.Run(c.ID, func(t *testing.T) {
			if play, ok := special[c.ID]; ok {
				play(t, s)
				return
			}
			playCase(t, s, c)
		})
		if ok {
			passed++
		}
	}
	t.Logf("CONFORMANCE: suite=smtp-dialogues cases=%d passed=%d contested=0:", len(cases), passed)
}

func playCase(t *testing.T, s *site, c suiteCase) {
	d, err := dialFrom(fromWorld, s.mx)
	if err != nil {
		t.Fatal(err)
	}
	defer d.conn.Close()
	lines := c.Send
	if described, ok := suiteLines[c.ID]; ok {
		lines = described
	}
	var replies []string
	for _, line := range lines {
		if err := d.send(line + "\r\n"); err != nil {
			t.Fatal(err)
		}
		for range strings.Count(line, "\r\n") + 1 {
			_, text, err := d.reply()
			if err != nil {
				text = "close"
			}
			replies = append(replies, text)
		}
	}
	if want, ok := suiteReplies[c.ID]; ok {
		checkReplies(t, d, replies, want)
		return
	}
	if c.Class == "" || len(replies) == 0 {
		t.Fatalf("no rule for %+v", c)
	}
	last := replies[len(replies)-1]
	if c.Class != "pol" && last[:1] != c.Class[:1] {
		t.Errorf("%q: %q, want class %s", lines, last, c.Class)
	}
	if c.Code != "" && !strings.Contains(c.Code, last[:3]) {
		t.Errorf("%q: %q, want %s", lines, last, c.Code)
	}
	d.expect(t, 250, "NOOP")
}

func checkReplies(t *testing.T, d *dialogue, replies, want []string) {
	t.Helper()
	for i, w := range want {
		if w == "close" {
			if _, text, err := d.cmd("NOOP"); err == nil {
				t.Errorf("the session goes on: %q", text)
			}
			return
		}
		if i >= len(replies) || !strings.HasPrefix(replies[i], w) {
			t.Fatalf("replies %q, want %q", replies, want)
		}
	}
}

// unknownMany: 421 after a limit.
func unknownMany(t *testing.T, s *site) {
	d, err := dialFrom(fromWorld, s.mx)
	if err != nil {
		t.Fatal(err)
	}
	defer d.conn.Close()
	for i := range 21 {
		code, text, err := d.cmd("WRONG")
		if err != nil || code == 421 {
			if i == 0 {
				t.Errorf("at once: %q, %v", text, err)
			}
			return
		}
		if code != 500 {
			t.Errorf("%q", text)
		}
	}
	t.Error("20 unknown commands did not end the session")
}

func httpFirst(t *testing.T, s *site) {
	d, err := dialFrom(fromWorld, s.mx)
	if err != nil {
		t.Fatal(err)
	}
	defer d.conn.Close()
	code, text, err := d.cmd("GET / HTTP/1.1\r\nHost: x\r\n")
	if err == nil && code/100 != 5 && code != 421 {
		t.Errorf("%q", text)
	}
	for range 12 {
		if code, _, err := d.cmd("User-Agent: x"); err != nil || code == 421 {
			return
		}
	}
	t.Error("a browser is listened to for ever")
}

func dotStuffing(t *testing.T, s *site) {
	send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "stuffed", ".Muahaha\r\n.x"))
	contains(t, string(s.inside.wait(t, "Subject: stuffed").Data), "\r\n.Muahaha\r\n.x\r\n")
}

// tooBigUndeclared: 552 behind the final dot, and the session is of use.
func tooBigUndeclared(t *testing.T, _ *site) {
	end := startSink(t, nil)
	in := freeAddress(t)
	config := strings.Replace(relayConfig, "limits: {", "limits: {message_size: 64KiB, ", 1)
	startGate(t, config, relayVars(end, in))
	d := mustDial(t, in)
	d.expect(t, 250, "EHLO client.test")
	code, text, err := d.transaction("a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "too big", strings.Repeat("0123456789\r\n", 10000)))
	if err != nil || code != 552 || !strings.Contains(text, "5.3.4") {
		t.Errorf("%q, %v", text, err)
	}
	code, text, err = d.transaction("a@sender.test", []string{"b@rcpt.test"}, letter("a@sender.test", "b@rcpt.test", "small", "x"))
	if err != nil || code != 250 {
		t.Errorf("afterwards: %q, %v", text, err)
	}
	end.wait(t, "Subject: small")
}

func authThriceBad(t *testing.T, s *site) {
	d := secured(t, fromPrinter, s.submission)
	for i := range 10 {
		code, text, err := d.cmd(plain(siteUser, fmt.Sprintf("wrong %d", i)))
		if err != nil || code == 421 {
			return
		}
		if code != 535 {
			t.Errorf("%q", text)
		}
	}
	t.Error("ten wrong passwords did not end the session")
}

func authTwice(t *testing.T, s *site) {
	d := secured(t, fromStranger, s.submission)
	d.expect(t, 235, plain(siteUser, sitePassword))
	d.expect(t, 503, plain(siteUser, sitePassword))
}
