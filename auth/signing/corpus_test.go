package signing

import (
	"slices"
	"strings"
	"testing"
)

const plainHeader = "From: Alice <alice@example.com>\r\nTo: bob@example.org\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"

// corpus is mail as it comes, the odd with the plain.
func corpus() map[string]string {
	return map[string]string{
		"plain":                    plainHeader + "\r\nHello Bob.\r\n",
		"no body":                  plainHeader + "\r\n",
		"no empty line":            plainHeader,
		"only From":                "From: alice@example.com\r\n\r\nx\r\n",
		"empty last lines":         plainHeader + "\r\nHello.\r\n\r\n\r\n\r\n",
		"empty lines only":         plainHeader + "\r\n\r\n\r\n\r\n",
		"blank lines with spaces":  plainHeader + "\r\n \r\n\t\r\nx  \t y \r\n \t \r\n",
		"empty first lines":        plainHeader + "\r\n\r\n\r\nx\r\n",
		"no final line end":        plainHeader + "\r\nHello",
		"final line is a space":    plainHeader + "\r\nHello\r\n ",
		"8-bit body":               plainHeader + "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße \xff\xfe\r\n",
		"long line":                plainHeader + "\r\n" + strings.Repeat("0123456789 ", 5000) + "\r\nend\r\n",
		"long body":                plainHeader + "\r\n" + strings.Repeat("a line of the body\r\n", 10000),
		"dots":                     plainHeader + "\r\n.\r\n..\r\n.x\r\n",
		"SMTPUTF8 header":          "From: Jürgen <jürgen@example.com>\r\nTo: bob@example.org\r\nSubject: Grüße, 世界\r\n\r\nx\r\n",
		"header in Latin-1":        "From: alice@example.com\r\nSubject: Gr\xfc\xdfe\r\n\r\nx\r\n",
		"folded header":            "From: Alice\r\n <alice@example.com>\r\nSubject: a\r\n\tb\r\n  c  \r\nTo:\r\n bob@example.org,\r\n carol@example.org\r\n\r\nx\r\n",
		"white space in header":    "FROM :  alice@example.com  \r\nsUbJect:\t x \t y\t\r\n\r\nx\r\n",
		"empty fields":             "From: alice@example.com\r\nSubject:\r\nCc: \r\nReply-To:\r\n \r\n\r\nx\r\n",
		"duplicate fields":         "Subject: one\r\nFrom: alice@example.com\r\nSubject: two\r\nTo: b@example.org\r\nTo: c@example.org\r\n\r\nx\r\n",
		"many fields":              "From: alice@example.com\r\n" + strings.Repeat("References: <x@example.com>\r\n", 300) + "\r\nx\r\n",
		"a signature of others":    "DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=from; bh=x; b=x\r\n" + plainHeader + "\r\nx\r\n",
		"nested MIME":              plainHeader + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b--\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nFrom: x@y.example\r\nSubject: inner\r\n\r\nbody\r\n\r\n--a--\r\n",
		"header looking like body": plainHeader + "X-Long: " + strings.Repeat("y", 900) + "\r\n\r\nFrom: not@a.header\r\n\r\n",
	}
}

func TestSignaturesVerify(t *testing.T) {
	b := newBench(t, "example.com")
	for name, message := range corpus() {
		t.Run(name, func(t *testing.T) {
			fields := sign(t, b.signer(t, both()), vouched(t, message))
			for line := range strings.SplitSeq(fields, "\r\n") {
				if len(line) > 998 {
					t.Errorf("a line of %d octets", len(line))
				}
			}
			want := []string{"pass example.com r1 rsa-sha256", "pass example.com e1 ed25519-sha256"}
			got := b.verify(t, fields+message)
			if !slices.Equal(got[:2], want) {
				t.Errorf("our verifier: %v", got)
			}
			if passed, _ := b.verifyOther(t, fields+message); passed != 2 {
				t.Errorf("the library's verifier: %d pass", passed)
			}
		})
	}
}

// Delivery ends the last line of what has no end.
func TestHeaderWithoutFinalLineEnd(t *testing.T) {
	b := newBench(t, "example.com")
	message := "From: alice@example.com\r\nSubject: x"
	fields := sign(t, b.signer(t, both()), vouched(t, message))
	for _, got := range b.verify(t, fields+message+"\r\n") {
		if !strings.HasPrefix(got, "pass ") {
			t.Errorf("got %s", got)
		}
	}
}

func TestChangesBreakSignatures(t *testing.T) {
	b := newBench(t, "example.com")
	message := plainHeader + "\r\nHello Bob.\r\n"
	fields := sign(t, b.signer(t, both()), vouched(t, message))
	for name, c := range map[string]struct {
		message string
		holds   bool
	}{
		"unchanged":               {message, true},
		"a Received more":         {"Received: from x by y\r\n" + message, true},
		"blank lines at the end":  {message + "\r\n\r\n", true},
		"folded otherwise":        {strings.Replace(message, "Subject: hello", "Subject:\r\n hello", 1), true},
		"another body":            {strings.Replace(message, "Bob", "Rob", 1), false},
		"text appended":           {message + "x\r\n", false},
		"another subject":         {strings.Replace(message, "hello", "Hello", 1), false},
		"a second From":           {"From: eve@example.org\r\n" + message, false},
		"a second From below":     {strings.Replace(message, "\r\n\r\n", "\r\nFrom: eve@example.org\r\n\r\n", 1), false},
		"a second Subject":        {"Subject: x\r\n" + message, false},
		"a Cc where was none":     {"Cc: eve@example.org\r\n" + message, false},
		"a Reply-To where none":   {"Reply-To: eve@example.org\r\n" + message, false},
		"a MIME type added":       {"Content-Type: text/html\r\n" + message, true}, // not oversigned by default
		"the Message-ID is gone":  {strings.Replace(message, "Message-ID: <1@example.com>\r\n", "", 1), false},
		"an unsigned field added": {"X-Spam: no\r\n" + message, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, got := range b.verify(t, fields+c.message) {
				if strings.HasPrefix(got, "pass ") != c.holds {
					t.Errorf("our verifier: %s", got)
				}
			}
			if passed, failed := b.verifyOther(t, fields+c.message); (passed == 2) != c.holds || (failed == 2) == c.holds {
				t.Errorf("the library's verifier: %d pass, %d fail", passed, failed)
			}
		})
	}
}

func TestEveryInstanceIsNamedOnceAndOversignedOnceMore(t *testing.T) {
	b := newBench(t, "example.com")
	fields := sign(t, b.signer(t, Rule{Domains: []string{"example.com"}, Headers: []string{"from", "Subject", "X-A", "Date"}, Oversign: []string{"From", "To", "Subject"}}),
		vouched(t, "From: a@example.com\r\nSubject: 1\r\nX-A: 1\r\nX-A: 2\r\nSubject: 2\r\nX-B: 1\r\n\r\n"))
	_, rest, _ := strings.Cut(fields, " h=")
	list, _, _ := strings.Cut(rest, ";")
	if list != "From:To:Subject:X-A:From:Subject:X-A:Subject" {
		t.Errorf("h=%s", list)
	}
	if strings.Contains(fields, " x=") || strings.Contains(fields, " i=") || strings.Contains(fields, " l=") {
		t.Errorf("tags that were not asked for:\n%s", fields)
	}
}

// Four hundred To fields filled h=, which has a bound, before Subject, Date and
// Reply-To came: whoever got such a message could send it on under our d= with
// others.
func TestManyInstancesLeaveNoNameUnsigned(t *testing.T) {
	b := newBench(t, "example.com")
	content := strings.Repeat("To: b@other.example\r\n", 400) + "From: a@example.com\r\nSubject: 1\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nx\r\n"
	fields := sign(t, b.signer(t, Rule{Domains: []string{"example.com"}}), vouched(t, content))
	for _, name := range defaultOversign() {
		want := 2
		if name == "Cc" || name == "Reply-To" {
			want = 1
		}
		_, rest, _ := strings.Cut(fields, " h=")
		list, _, _ := strings.Cut(rest, ";")
		if got := strings.Count(":"+list+":", ":"+name); got < want {
			t.Errorf("%s stands %d times in h=%s", name, got, list)
		}
	}
	for _, got := range b.verify(t, fields+content) {
		if !strings.HasPrefix(got, "pass ") {
			t.Errorf("our verifier: %s", got)
		}
	}
	for _, got := range b.verify(t, fields+"Subject: another\r\n"+content) {
		if strings.HasPrefix(got, "pass ") {
			t.Errorf("with another Subject: %s", got)
		}
	}
}
