package route

import (
	"errors"
	"slices"
	"testing"

	"gatepost/mail"
)

func address(t *testing.T, s string) mail.Address {
	t.Helper()
	if s == "" {
		return mail.Address{}
	}
	var a mail.Address
	if err := a.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return a
}

func domain(t *testing.T, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func exampleOptions(t *testing.T) Options {
	return Options{
		NextHops:  []string{"exchange", "partner"},
		Listeners: []string{"mx", "devices"},
		Domains: []Domain{
			{domain(t, "example.com"), "exchange"},
			{domain(t, "example.net"), MX},
		},
		Routes: []Route{
			{Recipients: []string{"partner.example", "*.partner.example"}, NextHop: "partner"},
			{Senders: []string{"newsletter.example.com"}, NextHop: MX},
			{Listeners: []string{"devices"}, Recipients: []string{"scan.example"}, NextHop: "exchange"},
		},
	}
}

func TestChoose(t *testing.T) {
	table, err := New(exampleOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, from, listener, to, dest, rule string }{
		{"our domain goes to its next hop", "a@b.example", "mx", "u@example.com", "hop:exchange", "domains: example.com"},
		{"our domain comes before the routes", "a@newsletter.example.com", "mx", "u@example.com", "hop:exchange", "domains: example.com"},
		{"our domain may go to its MX", "a@b.example", "mx", "u@example.net", "mx:example.net", "domains: example.net"},
		{"a subdomain of ours is not ours", "a@b.example", "mx", "u@sub.example.com", "mx:sub.example.com", "default"},
		{"exact pattern", "a@b.example", "mx", "u@partner.example", "hop:partner", "routes[0]"},
		{"subdomain pattern", "a@b.example", "mx", "u@x.y.partner.example", "hop:partner", "routes[0]"},
		{"a label that only ends alike", "a@b.example", "mx", "u@xpartner.example", "mx:xpartner.example", "default"},
		{"by sender", "a@newsletter.example.com", "mx", "u@other.example", "mx:other.example", "routes[1]"},
		{"first match wins", "a@newsletter.example.com", "mx", "u@partner.example", "hop:partner", "routes[0]"},
		{"the null sender has no domain", "", "mx", "u@other.example", "mx:other.example", "default"},
		{"by listener", "a@b.example", "devices", "u@scan.example", "hop:exchange", "routes[2]"},
		{"another listener", "a@b.example", "mx", "u@scan.example", "mx:scan.example", "default"},
		{"address literal", "a@b.example", "mx", "u@[192.0.2.1]", "mx:[192.0.2.1]", "default"},
		{"IPv6 literal", "a@b.example", "mx", "u@[IPv6:2001:db8::1]", "mx:[IPv6:2001:db8::1]", "default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := table.Choose(address(t, c.from), c.listener, address(t, c.to))
			if got != (Choice{c.dest, c.rule}) {
				t.Errorf("got %+v, want %s by %s", got, c.dest, c.rule)
			}
		})
	}
}

func paths(err error) []string {
	var out []string
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, e := range joined.Unwrap() {
		if f := (*FieldError)(nil); errors.As(e, &f) {
			out = append(out, f.Path)
		}
	}
	return out
}

func TestNewReportsEveryWrongOption(t *testing.T) {
	_, err := New(Options{
		NextHops: []string{"exchange", MX},
		Domains:  []Domain{{domain(t, "example.com"), "exchnage"}, {domain(t, "example.net"), ""}},
		Routes: []Route{
			{Recipients: []string{"ok.example", "u@bad.example", "-"}, Senders: []string{"*.*.example"}, NextHop: "exchange"},
			{Listeners: []string{"none"}, NextHop: "nowhere"},
			{NextHop: MX},
		},
	})
	want := []string{"next_hops[1].name", "domains[0].next_hop", "domains[1].next_hop", "routes[0].match.recipients[1]",
		"routes[0].match.recipients[2]", "routes[0].match.senders[0]", "routes[1].next_hop", "routes[1].match.listeners[0]", "routes[2].match"}
	if got := paths(err); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestRouteTakenByTwoEarlierOnesCanNeverMatch(t *testing.T) {
	_, err := New(Options{Domains: []Domain{{domain(t, "example.com"), MX}}, Routes: []Route{
		{Recipients: []string{"a.example"}, NextHop: MX},
		{Recipients: []string{"b.example"}, NextHop: MX},
		{Recipients: []string{"a.example", "b.example", "example.com"}, NextHop: MX},
	}})
	if got := paths(err); !slices.Equal(got, []string{"routes[2]"}) {
		t.Errorf("got %q: %v", got, err)
	}
}

func TestRouteThatCanNeverMatchIsAnError(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second Route
		unreachable   bool
	}{
		{"behind everything", Route{Recipients: []string{"*"}}, Route{Recipients: []string{"a.example"}}, true},
		{"behind itself", Route{Recipients: []string{"a.example"}}, Route{Recipients: []string{"a.example"}}, true},
		{"behind its parent pattern", Route{Recipients: []string{"*.example"}}, Route{Recipients: []string{"*.a.example"}}, true},
		{"name behind a pattern", Route{Recipients: []string{"*.example"}}, Route{Recipients: []string{"a.example"}}, true},
		{"a pattern does not hold its own domain", Route{Recipients: []string{"*.example"}}, Route{Recipients: []string{"example"}}, false},
		{"one of two escapes", Route{Recipients: []string{"a.example"}}, Route{Recipients: []string{"a.example", "b.example"}}, false},
		{"the earlier one wants more", Route{Recipients: []string{"*"}, Senders: []string{"s.example"}}, Route{Recipients: []string{"a.example"}}, false},
		{"the later one wants more", Route{Recipients: []string{"a.example"}}, Route{Recipients: []string{"a.example"}, Senders: []string{"s.example"}}, true},
		{"same senders, all recipients", Route{Senders: []string{"s.example"}}, Route{Senders: []string{"s.example"}, Recipients: []string{"*"}}, true},
		{"star of senders is no condition", Route{Senders: []string{"*"}}, Route{Recipients: []string{"a.example"}}, true},
		{"another listener", Route{Listeners: []string{"mx"}}, Route{Listeners: []string{"devices"}}, false},
		{"one listener of two", Route{Listeners: []string{"mx"}}, Route{Listeners: []string{"mx", "devices"}}, false},
		{"the same listener", Route{Listeners: []string{"mx", "devices"}}, Route{Listeners: []string{"mx"}, Recipients: []string{"a.example"}}, true},
		{"only our own domain", Route{Recipients: []string{"z.example"}}, Route{Recipients: []string{"example.com"}}, true},
		{"more than our own domain", Route{Recipients: []string{"z.example"}}, Route{Recipients: []string{"example.com", "*.example.com"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.first.NextHop, c.second.NextHop = MX, MX
			_, err := New(Options{Listeners: []string{"mx", "devices"}, Routes: []Route{c.first, c.second},
				Domains: []Domain{{domain(t, "example.com"), MX}}})
			if got := slices.Contains(paths(err), "routes[1]"); got != c.unreachable {
				t.Errorf("unreachable = %v, want %v (%v)", got, c.unreachable, err)
			}
		})
	}
}
