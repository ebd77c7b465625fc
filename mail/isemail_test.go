package mail

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// isemailDiffers names the cases in which we decide otherwise than the
// mapping of the suite, and why.
var isemailDiffers = map[string]string{
	"43": "an empty quoted local part: software that drops the quotes reads a path without mailbox",
	"71": "an IPv6 literal with :: for one group: plain RFC 4291, and written out in its canonical form",
}

// TestIsEmail runs the isemail suite: what RFC 5321 allows in MAIL and RCPT is
// taken, all else is refused.
func TestIsEmail(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(suites(t), "isemail", "test", "tests.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Tests []struct {
			ID        string `xml:"id,attr"`
			Address   string `xml:"address"`
			Category  string `xml:"category"`
			Diagnosis string `xml:"diagnosis"`
		} `xml:"test"`
	}
	if err := xml.Unmarshal(data, &suite); err != nil {
		t.Fatal(err)
	}
	if len(suite.Tests) < 164 {
		t.Fatalf("only %d cases", len(suite.Tests))
	}
	accept := map[string]bool{"ISEMAIL_VALID_CATEGORY": true, "ISEMAIL_DNSWARN": true, "ISEMAIL_RFC5321": true}
	used, passed := 0, 0
	for _, c := range suite.Tests {
		s := controlPictures(c.Address)
		_, err := ParseAddress(s, true)
		_, differs := isemailDiffers[c.ID]
		if differs {
			used++
		}
		if (err == nil) != accept[c.Category] != differs {
			t.Errorf("case %s %q (%s, %s): %v", c.ID, s, c.Category, c.Diagnosis, err)
		} else if !differs {
			passed++
		}
	}
	if used != len(isemailDiffers) {
		t.Errorf("%d of %d named differences are no cases", len(isemailDiffers)-used, len(isemailDiffers))
	}
	var other []string
	for id, why := range isemailDiffers {
		other = append(other, "case "+id+" ("+why+")")
	}
	slices.Sort(other)
	t.Logf("CONFORMANCE: suite=isemail cases=%d passed=%d contested=%d: %s", len(suite.Tests), passed, len(other), strings.Join(other, "; "))
}

// controlPictures turns U+2400+n into octet n, as the suite asks.
func controlPictures(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x2400 && r < 0x2480 {
			return r - 0x2400
		}
		return r
	}, s)
}
