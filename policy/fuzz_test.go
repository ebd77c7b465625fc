package policy

import (
	"net/netip"
	"strings"
	"testing"

	"gatepost/mail"
)

// FuzzPrefix: a range reads as it is written, holds its own first address in
// both its forms, and has no bits behind its length.
func FuzzPrefix(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "192.0.2.1", "::ffff:192.0.2.0/120", "::ffff:192.0.2.1", "2001:db8::/32", "192.0.2.1/24", "0.0.0.0/0", "fe80::1%eth0", "::ffff:0:0/95", "10.0.0.0/33"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePrefix(text)
		if err != nil {
			return
		}
		if again, err := ParsePrefix(p.String()); err != nil || again != p || p != p.Masked() || p.Addr().Zone() != "" {
			t.Fatalf("%q reads %s, then %s, %v", text, p, again, err)
		}
		list := []netip.Prefix{p}
		if !containsAddr(list, p.Addr()) || p.Addr().Is4() && !containsAddr(list, netip.AddrFrom16(p.Addr().As16())) {
			t.Fatalf("%q does not hold %s", text, p.Addr())
		}
	})
}

// FuzzSenderPattern: an entry of send_as matches what it names, and no domain
// above or beside it.
func FuzzSenderPattern(f *testing.F) {
	for _, s := range []string{"scanner@example.com", "@example.com", "@*.example.com", "@", "@*", "*@example.com", "@bücher.example", "@*.*.example", "a@[192.0.2.1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseSenderPattern(text)
		if err != nil {
			return
		}
		at := func(domain string) bool {
			a, err := mail.ParseAddress("joe@"+domain, false)
			return err == nil && p.matches(a)
		}
		if p.domain.IsZero() {
			if p.address.IsNull() || !p.matches(p.address) || at("elsewhere.example") && p.address.Domain().String() != "elsewhere.example" {
				t.Fatalf("%q: %+v", text, p)
			}
			return
		}
		name := p.domain.String()
		if _, err := mail.ParseAddress("joe@"+name, false); err != nil {
			return // a name that no address has
		}
		behind := name + ".evil.example" // which lies within "example"
		if at(name) == p.subdomains || at("evil"+name) || at(behind) && !strings.HasSuffix(behind, "."+name) {
			t.Fatalf("%q matches wrongly around %s", text, name)
		}
		if len(name) < 200 && at("sub."+name) != p.subdomains {
			t.Fatalf("%q: below %s", text, name)
		}
	})
}

// FuzzRecipientsFile: a line of a list names at most one recipient, which the
// list then holds, and writing it as it was understood says the same.
func FuzzRecipientsFile(f *testing.F) {
	for _, s := range []string{"joe@example.com", "  Joe@Example.COM # comment", "@example.com", "# only", "", "joe", "a@b c", "\ufeffjoe@example.com", "joe#tag@example.com", "ü@bücher.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r := &recipients{}
		entry, err := r.entry(line)
		if err != nil || entry == "" {
			return
		}
		if again, err := r.entry(entry); err != nil || again != entry {
			t.Fatalf("%q reads %q, then %q, %v", line, entry, again, err)
		}
		if strings.ContainsAny(entry, "\r\n\x00") || strings.HasPrefix(entry, "#") || !strings.Contains(entry, "@") {
			t.Fatalf("%q reads %q", line, entry)
		}
	})
}
