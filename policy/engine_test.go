package policy

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/mail"
)

func TestMail(t *testing.T) {
	e := engine(t, options(t, &proofs{}))
	user := Session{Role: mail.RoleRelay, User: "crm", Client: "exchange"}
	for _, c := range []struct {
		name    string
		session Session
		from    string
		want    Action
		text    string
	}{
		{"strangers send as whom they like", stranger(), "a@example.com", Accept, ""},
		{"null reverse-path", client("printers"), "", Accept, ""},
		{"own address", client("printers"), "scanner@example.com", Accept, ""},
		{"own address in another case", client("printers"), "SCANNER@EXAMPLE.COM", Accept, ""},
		{"another address of the domain", client("printers"), "boss@example.com", Reject, "<boss@example.com>"},
		{"the text names the fix", client("printers"), "boss@example.com", Reject, `add it to send_as of relay client "printers"`},
		{"other_from unsigned", client("exchange"), "a@elsewhere.example", Accept, ""},
		{"a user is more than the client", user, "a@example.com", Reject, `user "crm"`},
		{"a user's own domain", user, "a@example.org", Accept, ""},
		{"a subdomain is another domain", user, "a@sub.example.org", Reject, ""},
		{"unknown client", client("gone"), "a@example.com", Reject, "Relaying denied"},
		{"unknown user of a known client", Session{Role: mail.RoleRelay, User: "gone", Client: "exchange"}, "a@example.com", Reject, ""},
		{"neither client nor user", Session{Role: mail.RoleRelay}, "a@example.com", Reject, ""},
		{"non-ASCII is not repeated", client("printers"), "ü@example.com", Reject, "envelope sender is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := e.Mail(t.Context(), c.session, address(t, c.from))
			if v.Action != c.want || !strings.Contains(v.Reply.Text, c.text) || v.Refused() && v.Reply.String()[:9] != "550 5.7.1" {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestRecipient(t *testing.T) {
	e := engine(t, options(t, &proofs{}))
	for _, c := range []struct {
		name    string
		session Session
		to      string
		want    string // reply; empty: accepted
	}{
		{"our domain", stranger(), "a@example.com", ""},
		{"a subdomain is not ours", stranger(), "a@sub.example.com", "550 5.7.1"},
		{"another domain", stranger(), "a@example.org", "550 5.7.1"},
		{"an address literal", stranger(), "a@[192.0.2.1]", "550 5.7.1"},
		{"the postmaster of the configuration", stranger(), "Postmaster@admin.example", ""},
		{"relay session", client("exchange"), "a@example.org", ""},
		{"relay session of nobody", client("gone"), "a@example.org", "550 5.7.1"},
		{"no role", Session{}, "a@example.org", "550 5.7.1"},
		{"our own notice", Session{Role: mail.RoleInternal}, "a@example.org", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := e.Recipient(t.Context(), c.session, mail.Address{}, address(t, c.to))
			if (c.want == "") != (v.Action == Accept) || c.want != "" && !strings.HasPrefix(v.Reply.String(), c.want) {
				t.Errorf("got %+v", v)
			}
		})
	}
}

// TestReportInbox: an address of report.inbox exists, whatever the list says,
// and no other does because of it.
func TestReportInbox(t *testing.T) {
	o := options(t, &proofs{})
	file := filepath.Join(t.TempDir(), "recipients")
	if err := os.WriteFile(file, []byte("bob@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Domains = []Domain{{Name: domain(t, "example.com"), File: file}}
	o.Inboxes = []mail.Address{address(t, "reports@example.com"), address(t, "reports@example.net")}
	e := engine(t, o)
	for to, want := range map[string]Action{"Reports@example.com": Accept, "bob@example.com": Accept, "report@example.com": Reject, "reports@example.net": Reject} {
		if v := e.Recipient(t.Context(), stranger(), mail.Address{}, address(t, to)); v.Action != want {
			t.Errorf("%s: %+v", to, v)
		}
	}
}

func TestRefusalsEndWithTheID(t *testing.T) {
	e := engine(t, options(t, &proofs{}))
	s := stranger()
	v := e.Recipient(t.Context(), s, mail.Address{}, address(t, "a@example.org"))
	if !strings.HasSuffix(v.Reply.Text, "("+s.ID.String()+")") {
		t.Errorf("got %q", v.Reply.Text)
	}
}

func TestClientFor(t *testing.T) {
	e := engine(t, options(t, &proofs{}))
	both := []string{"printers", "exchange", "gone"}
	for _, c := range []struct {
		addr  string
		names []string
		want  string
	}{
		{"192.0.2.10", both, "exchange"},
		{"::ffff:192.0.2.10", both, "exchange"},
		{"192.0.2.10", []string{"exchange", "printers"}, "exchange"},
		{"192.0.2.11", both, "exchange"},
		{"198.51.100.77", both, "printers"},
		{"192.0.2.12", both, "printers"},
		{"192.0.2.10", []string{"printers"}, "printers"},
		{"192.0.2.10", nil, ""},
		{"2001:db8:1::25", both, "exchange"},
		{"2001:db8:2::25", both, ""},
		{"127.0.0.1", both, ""},
		{"10.0.0.1", both, ""},
	} {
		got, ok := e.ClientFor(c.names, netip.MustParseAddr(c.addr))
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%s among %v: got %q, %v; want %q", c.addr, c.names, got, ok, c.want)
		}
	}
}

func TestSenderPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, address string
		want             bool
	}{
		{"@example.com", "a@example.com", true},
		{"@Example.COM", "a@example.com", true},
		{"@example.com", "a@sub.example.com", false},
		{"@example.com", "a@notexample.com", false},
		{"@*.example.com", "a@sub.example.com", true},
		{"@*.example.com", "a@x.sub.example.com", true},
		{"@*.example.com", "a@example.com", false},
		{"@*.example.com", "a@notexample.com", false},
		{"@bücher.example", "a@xn--bcher-kva.example", true},
		{"a@example.com", "A@example.com", true},
		{"a@example.com", "b@example.com", false},
		{"a@example.com", "a@sub.example.com", false},
		{"@example.com", "", false},
	} {
		p, err := parseSenderPattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.matches(address(t, c.address)); got != c.want {
			t.Errorf("%s matches %s: %v", c.pattern, c.address, got)
		}
	}
	for _, bad := range []string{"", "@", "example.com", "*", "@*", "a b@example.com", "@*.", "@example..com", "*@example.com.."} {
		if _, err := parseSenderPattern(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
