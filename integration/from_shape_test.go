package integration

import (
	"slices"
	"strings"
	"testing"
)

// fromShapes has From fields for each reason why a message has not exactly one
// author; docs/conformance.md lists the reasons.
var fromShapes = []struct {
	reason string
	fields []string
}{
	{"no From field", []string{"X-From: OWN", "Sender: OWN"}},
	{"more than one From field", []string{"From: OWN\r\nFrom: OWN", "From: OWN\r\nfrom : OTHER"}},
	{"no address", []string{"From:", "From: (OWN)"}},
	{"more than one address", []string{"From: OWN, OTHER", "From: <OWN><OTHER>", "From: OTHER <OWN>", "From: OWN OTHER", "From: <OWN,OTHER>"}},
	{"a group instead of an address", []string{"From: undisclosed:;", "From: team: OWN;", "From: team: OWN, OTHER;"}},
	{"an empty address", []string{"From: <>", "From: OWN <>"}},
	{"a source route", []string{"From: <@a.test,@b.test:OWN>", "From: <@a.test:OWN>"}},
	{"a control octet", []string{"From: OWN\x01", "From: \x07 <OWN>"}},
	{"an encoded word where none is allowed", []string{"From: =?utf-8?q?a?=@b.test", "From: <=?utf-8?q?OWN?=>", "From: =?utf-8?q?OTHER=00?= <OWN>"}},
	{"text around the address", []string{"From: OWN text", "From: text OWN", "From: <OWN> text"}},
	{"a comment that looks like an address", []string{"From: OWN (OTHER)", "From: (<OTHER>) <OWN>"}},
	{"obsolete syntax", []string{"From : OWN", "From: a @ b.test", "From: ,OWN", "From: OWN,", "From: <a(x)@b.test>"}},
	{"an address without a domain", []string{"From: OWNLOCAL", "From: Some Body", "From: <OWNLOCAL>"}},
	{"a malformed address", []string{"From: a..b@c.test", "From: a@b@c.test", "From: a@b.test.", "From: a@-b.test"}},
	{"malformed syntax", []string{`From: "OWN`, "From: <OWN", "From: OWN)", "From: (OWN <OWN>"}},
}

// TestFromShapes: every shape of From but one field with one address has one
// answer in both roles, whoever stands in it, and says what is wrong.
func TestFromShapes(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	held := startSite(t, "", func(vars map[string]string) { vars["policy"] = "bad_from: quarantine" })
	var reasons []string
	for _, shape := range fromShapes {
		reasons = append(reasons, shape.reason)
		for _, field := range shape.fields {
			stranger := strings.NewReplacer("OWNLOCAL", "eve", "OWN", "eve@good.test", "OTHER", "bob@reject.test").Replace(field)
			printer := strings.NewReplacer("OWNLOCAL", "scanner", "OWN", "scanner@example.test", "OTHER", "bob@example.test").Replace(field)
			want := "5.7.1 From field must hold exactly one address, but there is " + shape.reason
			contains(t, send(t, fromWorld, s.mx, 550, "eve@good.test", "bob@example.test", stranger+"\r\nSubject: x\r\n\r\ntext\r\n"), want)
			contains(t, send(t, fromPrinter, s.devices, 550, "scanner@example.test", "carl@world.test", printer+"\r\nSubject: x\r\n\r\ntext\r\n"), want)
		}
		field := strings.NewReplacer("OWNLOCAL", "eve", "OWN", "eve@good.test", "OTHER", "bob@reject.test").Replace(shape.fields[0])
		id := queuedID(t, send(t, fromWorld, held.mx, 250, "eve@good.test", "bob@example.test", field+"\r\nSubject: x\r\n\r\ntext\r\n"))
		held.traced(id, "held", "header From: "+shape.reason)
		contains(t, send(t, fromPrinter, held.devices, 550, "scanner@example.test", "carl@world.test", field+"\r\nSubject: x\r\n\r\ntext\r\n"), "5.7.1")
	}
	documented(t, slices.Values(reasons))
	if n := len(s.inside.all()) + len(s.world.all()) + len(held.inside.all()) + len(held.world.all()); n != 0 {
		t.Errorf("%d messages arrived", n)
	}
}
