package intake

import (
	"testing"

	"gatepost/mail"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"x-a", "x-a", true}, {"x-a", "x-ab", false}, {"x-*", "x-", true}, {"x-*", "x-a", true}, {"x-*", "y-x-", false},
		{"*-a", "x-a", true}, {"*-a", "x-ab", false}, {"x*a*z", "x1a2z", true}, {"x*a*z", "xz", false}, {"x*a*z", "xaz", true},
		{"x-*-y", "x-y", false}, {"a*a", "a", false}, {"**a", "ba", true},
	} {
		if got := matches(tt.pattern, tt.s); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func TestCheckPattern(t *testing.T) {
	for p, good := range map[string]bool{
		"X-Gatepost-*": true, "Subject": true, "": false, "*": false, "**": false, "X Y": false, "X:": false, "Ü": false,
	} {
		if err := checkPattern(p); (err == nil) != good {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestCuts(t *testing.T) {
	raw := "X-Gatepost-Verdict: accept\r\n" +
		"Authentication-Results: example.com; dkim=pass\r\n" +
		"Subject: x\r\n" +
		"x-ms-exchange-organization-SCL:\r\n -1\r\n" +
		"Authentication-Results: mx1.example.com; dkim=pass\r\n" + // this node's own name
		"Authentication-Results: =?; neither id can be read\r\n" +
		"Authentication-Results: other.example; dkim=pass\r\n\r\n"
	h, err := mail.ParseHeader([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	s := newScrubber("example.com", "mx1.example.com", []string{"X-Gatepost-*", "X-MS-Exchange-Organization-*", "*-verdict"})
	m := mail.Message{Content: mail.MemoryBody([]byte(raw)), Cuts: s.cuts(h)}
	want := "Subject: x\r\nAuthentication-Results: other.example; dkim=pass\r\n\r\n"
	r, err := m.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(raw))
	n, _ := r.Read(got)
	for k := 1; k > 0; {
		k, _ = r.Read(got[n:])
		n += k
	}
	if string(got[:n]) != want {
		t.Errorf("got %q, want %q", got[:n], want)
	}
}
