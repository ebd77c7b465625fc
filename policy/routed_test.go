package policy

import (
	"strings"
	"testing"

	"gatepost/mail"
)

// accept: all took victim%world.example@ours.example, which a Postfix behind us
// turns into victim@world.example and relays, for it trusts us.
func TestRoutedLocalPartsExistOnlyByName(t *testing.T) {
	e, _, _ := listed(t, "odd%name@example.com\n@example.org\n")
	for to, want := range map[string]bool{
		"odd%name@example.com": true, "victim%world.example@example.com": false,
		"victim%world.example@example.org": false, "world.example!victim@example.org": false, `"victim@world.example"@example.org`: false,
		"anyone@example.org": true,
	} {
		if got := e.takes(t, to); got != want {
			t.Errorf("%s: got %v", to, got)
		}
	}
	o := options(t, &proofs{})
	o.Domains = []Domain{{Name: domain(t, "all.example"), AcceptAll: true}}
	all := engine(t, o)
	for to, want := range map[string]bool{
		"victim%world.example@all.example": false, "world.example!victim@all.example": false, "SRS0=HHH=TT=a.example=b@all.example": true,
	} {
		v := all.Recipient(t.Context(), stranger(), mail.Address{}, address(t, to))
		if got := v.Action == Accept; got != want || !got && !strings.HasPrefix(v.Reply.String(), "550 5.1.1 ") {
			t.Errorf("%s: %+v", to, v)
		}
	}
}
