package policy

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
)

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	var a mail.Address
	if err := a.UnmarshalText([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return a
}

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func header(t testing.TB, text string) mail.Header {
	t.Helper()
	h, err := mail.ParseHeader([]byte(text + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// proofs is every checker: it answers with what the test says.
type proofs struct {
	spf     spf.Result
	dkim    []dkim.Result
	dkimErr error
	// dmarc is the answer about a message that does not pass; with Value
	// temperror it is the answer unless the author's domain passes.
	dmarc dmarc.Result
	arc   arc.Result
	names []string
	iprev error
	wait  func(who string)
}

func (p *proofs) meet(who string) {
	if p.wait != nil {
		p.wait(who)
	}
}

type spfFake struct{ *proofs }

func (f spfFake) Check(context.Context, netip.Addr, string, mail.Address) spf.Result {
	f.meet("spf")
	return f.spf
}

type dkimFake struct{ *proofs }

func (f dkimFake) Verify(context.Context, mail.Body) ([]dkim.Result, error) {
	f.meet("dkim")
	return f.proofs.dkim, f.dkimErr
}

type arcFake struct{ *proofs }

func (f arcFake) Verify(context.Context, mail.Body) (arc.Result, error) {
	f.meet("arc")
	return f.proofs.arc, nil
}

type dmarcFake struct{ *proofs }

// Check knows strict alignment only, and is in doubt where a proof is.
func (f dmarcFake) Check(_ context.Context, from mail.Domain, s spf.Result, d []dkim.Result) dmarc.Result {
	r := f.dmarc
	r.From = from
	if r.Value == "temperror" || r.Value == "none" {
		return r
	}
	r.Value = "fail"
	weigh := func(value string, d mail.Domain) {
		switch {
		case d == from && value == "pass":
			r.Value = "pass"
		case d == from && value == "temperror" && r.Value != "pass":
			r.Value = "temperror"
		}
	}
	weigh(s.Value, s.Domain)
	for _, one := range d {
		weigh(one.Value, one.Domain)
	}
	return r
}

type reverseFake struct{ *proofs }

func (f reverseFake) ForwardConfirmed(context.Context, netip.Addr) ([]string, string, error) {
	f.meet("iprev")
	if f.iprev != nil || len(f.names) == 0 {
		return nil, "", f.iprev
	}
	return f.names, f.names[0], nil
}

var errDown = errors.New("server down")

func options(t testing.TB, p *proofs) Options {
	return Options{
		Postmaster: address(t, "postmaster@admin.example"),
		Domains: []Domain{
			{Name: domain(t, "example.com"), AcceptAll: true},
		},
		RelayClients: []RelayClient{
			{Name: "exchange", Addresses: []string{"192.0.2.10", "::ffff:192.0.2.11", "2001:db8:1::/48"},
				SendAs: []string{"@example.com", "@*.example.net"}, OtherFrom: FromUnsigned},
			{Name: "printers", Addresses: []string{"192.0.2.0/24", "::ffff:198.51.100.0/120"}, SendAs: []string{"Scanner@example.com"}},
		},
		Users:     []User{{Name: "crm", SendAs: []string{"@example.org"}}},
		DMARC:     DMARC{Enabled: true, HonorPct: true, EnforcePercent: 100},
		Exempt:    []string{"198.51.100.7"},
		SampleKey: []byte("key"),
		Proofs:    Proofs{SPF: spfFake{p}, DKIM: dkimFake{p}, ARC: arcFake{p}, DMARC: dmarcFake{p}, Reverse: reverseFake{p}},
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func engine(t testing.TB, o Options) *Engine {
	t.Helper()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func stranger() Session {
	return Session{Role: mail.RoleMX, Addr: netip.MustParseAddr("203.0.113.9"), Helo: "out.author.example", ID: 1}
}

func client(name string) Session {
	return Session{Role: mail.RoleRelay, Client: name, Addr: netip.MustParseAddr("192.0.2.10"), ID: 1}
}
