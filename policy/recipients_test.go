package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
)

// listed makes an engine whose example.com reads a recipient list.
func listed(t *testing.T, text string) (e *Engine, path string, pass func(time.Duration)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "recipients.txt")
	write(t, path, text)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	o := options(t, &proofs{})
	o.Now = func() time.Time { return now }
	o.Domains = []Domain{{Name: domain(t, "example.com"), File: path}, {Name: domain(t, "example.org"), File: path}}
	return engine(t, o), path, func(d time.Duration) { now = now.Add(d) }
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (e *Engine) takes(t *testing.T, to string) bool {
	t.Helper()
	v := e.Recipient(t.Context(), stranger(), mail.Address{}, address(t, to))
	if v.Action != Accept && !strings.HasPrefix(v.Reply.String(), "550 5.1.1 ") {
		t.Errorf("%s: got %+v", to, v)
	}
	return v.Action == Accept
}

func TestRecipientList(t *testing.T) {
	e, _, _ := listed(t, "\uFEFF# people\r\nAlice@example.com\n\n  bob@example.com   # a comment\n\"c d\"@example.com\n@example.org\n")
	for to, want := range map[string]bool{
		"alice@example.com": true, "ALICE@example.com": true, "bob@example.com": true, `"c d"@example.com`: true,
		"carol@example.com": false, "anyone@example.org": true, "postmaster@example.com": true, "PostMaster@example.com": true,
		"alice+tag@example.com": false,
	} {
		if got := e.takes(t, to); got != want {
			t.Errorf("%s: got %v", to, got)
		}
	}
}

func TestRecipientListIsReadAgain(t *testing.T) {
	e, path, pass := listed(t, "alice@example.com\n")
	write(t, path, "alice@example.com\nbob@example.com\n")
	if e.takes(t, "bob@example.com") {
		t.Error("looked at the file at once: every RCPT costs a stat")
	}
	pass(recheck)
	if !e.takes(t, "bob@example.com") {
		t.Error("a changed file was not read")
	}
	write(t, path, "alice@example.com\nbroken line\n")
	pass(recheck)
	if !e.takes(t, "bob@example.com") {
		t.Error("a broken file took the old list away")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	pass(recheck)
	if !e.takes(t, "bob@example.com") {
		t.Error("a removed file took the old list away")
	}
	write(t, path, "carol@example.com\n")
	pass(recheck)
	if e.takes(t, "bob@example.com") || !e.takes(t, "carol@example.com") {
		t.Error("a mended file was not read")
	}
}
