package authres

import (
	"strings"
	"testing"

	"gatepost/mail"
)

func TestCombine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "Subject: x\r\n": "",
		"Authentication-Results: a.test; spf=pass\r\n":                                                                     "a.test; spf=pass",
		"Authentication-Results: a.test;\r\n spf=pass ;\r\nAUTHENTICATION-RESULTS: A.test.; dkim=pass;\r\n":                "a.test;\r\n spf=pass; dkim=pass",
		"Authentication-Results: a.test; none\r\nAuthentication-Results: b.test; dmarc=pass\r\n":                           "a.test; none",
		"Subject: a.test; x\r\nAuthentication-Results: a.test; none\r\nX: a.test; dmarc=pass\r\n":                          "a.test; none",
		"Authentication-Results: a.test\r\nAuthentication-Results: a.test\r\nAuthentication-Results: a.test; spf=none\r\n": "a.test; spf=none",
		"Authentication-Results: =?x?=; dmarc=pass\r\nAuthentication-Results: a.test; none\r\n":                            "a.test; none",
	} {
		h, err := mail.ParseHeader([]byte(text + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := Combine(h); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestCombineOwn: what we write comes out as it was.
func TestCombineOwn(t *testing.T) {
	field := Format("mx.test", []Method{{Name: "spf", Result: "pass", Reason: "a; b", Props: []Prop{{"smtp", "mailfrom", strings.Repeat("a", 60) + "@b.test"}}}, {Name: "arc", Result: "none"}})
	h, err := mail.ParseHeader(append(field, "\r\n"...))
	if err != nil {
		t.Fatal(err)
	}
	id, methods, err := Read(Combine(h))
	if err != nil || id != "mx.test" || len(methods) != 2 || methods[0].Reason != "a, b" {
		t.Errorf("%s %+v, %v", id, methods, err)
	}
}
