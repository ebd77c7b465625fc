package arc

import (
	"strings"
	"testing"
)

// oddMail is mail as it comes, the odd with the plain.
func oddMail() map[string]string {
	const header = "From: Anna <anna@author.test>\r\nTo: bob@example.test\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
	return map[string]string{
		"plain":                    header + "\r\nHello Bob.\r\n",
		"no body":                  header + "\r\n",
		"no empty line":            header,
		"no line end in header":    "From: anna@author.test\r\nSubject: x",
		"only a body":              "\r\nx\r\n",
		"empty":                    "",
		"empty last lines":         header + "\r\nHello.\r\n\r\n\r\n\r\n",
		"empty lines only":         header + "\r\n\r\n\r\n\r\n",
		"blank lines with spaces":  header + "\r\n \r\n\t\r\nx  \t y \r\n \t \r\n",
		"no final line end":        header + "\r\nHello",
		"final line is a space":    header + "\r\nHello\r\n ",
		"many blank lines":         header + "\r\nHello" + strings.Repeat("\r\n", 1<<20),
		"8-bit body":               header + "\r\nGrüße \xff\xfe\r\n",
		"long line":                header + "\r\n" + strings.Repeat("0123456789 ", 5000) + "\r\nend\r\n",
		"long body":                header + "\r\n" + strings.Repeat("a line of the body\r\n", 10000),
		"SMTPUTF8 header":          "From: Jürgen <jürgen@author.test>\r\nSubject: Grüße, 世界\r\n\r\nx\r\n",
		"header in Latin-1":        "From: anna@author.test\r\nSubject: Gr\xfc\xdfe\r\n\r\nx\r\n",
		"folded header":            "From: Anna\r\n <anna@author.test>\r\nSubject: a\r\n\tb\r\n  c  \r\nTo:\r\n bob@example.test\r\n\r\nx\r\n",
		"white space in header":    "FROM :  anna@author.test  \r\nsUbJect:\t x \t y\t\r\n\r\nx\r\n",
		"empty fields":             "From: anna@author.test\r\nSubject:\r\nCc: \r\nReply-To:\r\n \r\n\r\nx\r\n",
		"duplicate fields":         "Subject: one\r\nFrom: anna@author.test\r\nSubject: two\r\nFrom: b@author.test\r\n\r\nx\r\n",
		"a signature of others":    "DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=from; bh=x; b=x\r\n" + header + "\r\nx\r\n",
		"header looking like body": header + "X-Long: " + strings.Repeat("y", 900) + "\r\n\r\nFrom: not@a.header\r\n\r\n",
	}
}

// TestOddMailIsSealed: both kinds of keys, and delivery ends the last line of
// what has no end.
func TestOddMailIsSealed(t *testing.T) {
	zone := records{}
	for _, f := range []*forwarder{newForwarder(t, zone, "one.test"), newRSAForwarder(t, zone, "two.test")} {
		for name, message := range oddMail() {
			sealed := f.forward(t, message, nil)
			checkLines(t, sealed)
			if !strings.HasSuffix(sealed, "\r\n") {
				sealed += "\r\n"
			}
			if r := verify(t, zone, sealed); r.Value != Pass || r.OldestPass != 0 {
				t.Errorf("%s by %s: %+v", name, f.Domain, r)
			}
			if r := verify(t, zone, f.forward(t, sealed, nil)); r.Value != Pass || len(r.Sets) != 2 {
				t.Errorf("%s, twice by %s: %+v", name, f.Domain, r)
			}
		}
	}
}
