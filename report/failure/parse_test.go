package failure

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

const part = "Feedback-Type: Auth-Failure\r\nUser-Agent: R/1\r\nVersion: 1\r\nOriginal-Mail-From: <a@b.example>\r\nSource-IP: 192.0.2.1\r\n" +
	"Reported-Domain: Example.com\r\nAuth-Failure: DMARC\r\nDelivery-Result: Reject\r\nIdentity-Alignment: none\r\nAuthentication-Results: x.example;\r\n dmarc=fail\r\n"

func TestParse(t *testing.T) {
	r, err := Parse([]byte(part), []byte("From: A <a@author.example>\nSubject: =?utf-8?q?x?=\nMessage-ID: <1@x>\n\nFrom: body\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Type != "auth-failure" || r.Domain != "example.com" || r.Source.String() != "192.0.2.1" || r.AuthFailure != "dmarc" || r.Delivery != "reject" ||
		r.Results != "x.example; dmarc=fail" || r.From != "A <a@author.example>" || r.MessageID != "<1@x>" || r.MailFrom != "<a@b.example>" {
		t.Errorf("%+v", r)
	}
	for name, c := range map[string][2]string{
		"base64 unannounced": {base64.StdEncoding.EncodeToString([]byte(part)), ""},
		"no domain":          {strings.Replace(part, "Reported-Domain: Example.com\r\n", "", 1), "From: x <y@Example.COM>\r\n"},
		"address literal":    {strings.Replace(part, "192.0.2.1", "[IPv6:2001:db8::1]", 1), ""},
		"LF and blank lines": {"\n\n" + strings.ReplaceAll(part, "\r\n", "\n"), ""},
		"endless original":   {part, strings.Repeat("X: y\r\n", 100_000)},
	} {
		if r, err := Parse([]byte(c[0]), []byte(c[1])); err != nil || r.Domain != "example.com" || !r.Source.IsValid() {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for want, text := range map[string]string{
		"no Feedback-Type":       "Version: 1\r\n",
		"names no domain":        "Feedback-Type: abuse\r\n",
		"is no address":          "Feedback-Type: abuse\r\nReported-Domain: a.example\r\nSource-IP: fe80::1%x\r\n",
		"more than 200 fields":   part + manyFields(300),
		"longer than 65536":      part + "X: " + strings.Repeat("x", 70_000),
		"Reported-Domain is \"?": "Feedback-Type: abuse\r\nReported-Domain: \xff\r\n",
	} {
		_, err := Parse([]byte(text), nil)
		var ours *Error
		if !errors.As(err, &ours) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("X" + strings.Repeat("y", i%70) + string(rune('a'+i/70)) + ": 1\r\n")
	}
	return b.String()
}

// FuzzParse: no report makes the reader panic or give what cannot be stored.
func FuzzParse(f *testing.F) {
	f.Add([]byte(part), []byte("From: a@b.example\r\n"))
	f.Add([]byte(base64.StdEncoding.EncodeToString([]byte(part))), []byte(nil))
	f.Fuzz(func(t *testing.T, b, original []byte) {
		r, err := Parse(b, original)
		if err != nil {
			var ours *Error
			if !errors.As(err, &ours) {
				t.Errorf("%v cannot be shown", err)
			}
			return
		}
		for _, s := range []string{r.Type, r.Agent, r.Domain, r.Delivery, r.Results, r.From, r.Subject, r.MessageID} {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) || len(s) > 2*maxText {
				t.Errorf("text %q", s)
			}
		}
		if r.Domain == "" || r.Type == "" {
			t.Errorf("%+v", r)
		}
	})
}
