package intake

import (
	"errors"
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

func loadSuite(t *testing.T) []suiteCase {
	t.Helper()
	dir := os.Getenv("GATEPOST_SUITES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "suites")
	}
	b, err := os.ReadFile(filepath.Join(dir, "smtp", "dialogue-cases.yml"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("SKIPPED: the SMTP suite is not there (%v); set GATEPOST_SUITES", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var suite struct{ Session []suiteCase }
	if err := yaml.Unmarshal(b, &suite); err != nil {
		t.Fatal(err)
	}
	return suite.Session
}

// scripts are the cases whose expectation is not a class of the last reply,
// in the language of TestDialogues.
var scripts = map[string]string{
	"banner":             "S: 220",
	"quit":               "S: 220\nC: QUIT\nS: 221\nX:",
	"unknown-many":       "S: 220\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nC: WRONG\nS: 500\nS: 421\nX:",
	"http-first":         "S: 220\nR: \"GET / HTTP/1.1\\r\\nHost: x\\r\\n\"\nS: 5\nX:",
	"pipelined":          hello + "R: \"MAIL FROM:<a@b.test>\\r\\nRCPT TO:<u@local.test>\\r\\nDATA\\r\\n\"\nS: 250\nS: 250\nS: 354",
	"dot-stuffing":       hello + envelope + "C: DATA\nS: 354\nC: From: <a@b.test>\nC:\nC: ..Muahaha\nC: ..x\nC: .\nS: 250\nM: \\r\\n.Muahaha\\r\\n.x\\r\\n",
	"too-big-undeclared": hello + envelope + "C: DATA\nS: 354\nR: \"From: <a@b.test>\\r\\n\\r\\n\"\n%2000\nR: \"\\r\\n.\\r\\n\"\nS: 552\nC: NOOP\nS: 250",
	"auth-thrice-bad":    secure + "C: AUTH PLAIN AHUAcQ==\nS: 535\nC: AUTH PLAIN AHUAcQ==\nS: 535\nC: AUTH PLAIN AHUAcQ==\nS: 535\nS: 421\nX:",
	"auth-twice":         secure + "C: AUTH PLAIN AHUAcA==\nS: 235\nC: AUTH PLAIN AHUAcA==\nS: 503",
	"ehlo-resets":        hello + "C: MAIL FROM:<a@b.test>\nS: 250\nC: EHLO y\nS: 250\nC: RCPT TO:<u@local.test>\nS: 503",
	"rset":               hello + "C: MAIL FROM:<a@b.test>\nS: 250\nC: RSET\nS: 250\nC: RCPT TO:<u@local.test>\nS: 503",
	"line-too-long":      "S: 220\nR: \"HELO \"\n%1000\nR: \"\\r\\n\"\nS: 500",
}

const (
	hello    = "S: 220\nC: EHLO x\nS: 250\n"
	envelope = "C: MAIL FROM:<a@b.test>\nS: 250\nC: RCPT TO:<u@local.test>\nS: 250\n"
	secure   = hello + "C: STARTTLS\nS: 220\nT:\nC: EHLO x\nS: 250\n"
)

func TestSuite(t *testing.T) {
	cases, passed := loadSuite(t), 0
	for _, c := range cases {
		ok := t.Run(c.ID, func(t *testing.T) {
			r := newRig(t, Listener{Mechanisms: []string{"PLAIN"}, Limits: Limits{AuthFailures: 3}})
			if c.ID == "too-big-undeclared" {
				r.options.Listeners[0].Limits.MessageSize = 1024
			}
			r.start(t)
			if script, ok := scripts[c.ID]; ok {
				play(t, r, script)
				return
			}
			if c.Class == "" {
				t.Fatalf("no script for expectation %q", c.Expect)
			}
			playClass(t, r, c)
		})
		if ok {
			passed++
		}
	}
	t.Logf("CONFORMANCE: suite=smtp-dialogues-intake cases=%d passed=%d contested=0:", len(cases), passed)
}

// playClass sends every line and looks at the last reply.
func playClass(t *testing.T, r *rig, c suiteCase) {
	conn := dial(t, r.addr())
	conn.want("220")
	if c.ID == "too-big" {
		conn.say("EHLO x", "250")
	}
	for _, line := range c.Send {
		conn.write(line + "\r\n")
		conn.reply()
	}
	last := conn.last[len(conn.last)-1]
	if c.Class != "pol" && last[0] != c.Class[0] {
		t.Errorf("%q: %q, want class %s", c.Send, last, c.Class)
	}
	if c.Code != "" && !strings.Contains(c.Code, last[:3]) {
		t.Errorf("%q: %q, want code %s", c.Send, last, c.Code)
	}
	conn.say("NOOP", "250")
}
