package spf_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zone = `
plain.test.       60 IN TXT "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"
early.test.       60 IN TXT "v=spf1 ip4:192.0.2.1 bogus -all"
early2.test.      60 IN TXT "v=spf1 +all ip4:300.1.1.1"
inner.test.       60 IN TXT "v=spf1 include:early.test -all"
local.test.       60 IN TXT "v=spf1 exists:%{l}.user.local.test -all"
a\064evil.test.user.local.test. 60 IN A 127.0.0.2
evil.test.        60 IN TXT "v=spf1 -all"
mapped.test.      60 IN TXT "v=spf1 ip6:::ffff:0:0/96 -all"
mapped2.test.     60 IN TXT "v=spf1 ip4:192.0.2.1 -all"
hosts.test.       60 IN TXT "v=spf1 a/28 mx:mail.hosts.test ptr:hosts.test -all"
hosts.test.       60 IN A 198.51.100.1
hosts.test.       60 IN AAAA 2001:db8::1
mail.hosts.test.  60 IN MX 10 mx.hosts.test.
mx.hosts.test.    60 IN A 203.0.113.1
1.0.0.10.in-addr.arpa. 60 IN PTR client.hosts.test.
client.hosts.test. 60 IN A 10.0.0.1
outer.test.       60 IN TXT "v=spf1 include:mid.test ~all"
mid.test.         60 IN TXT "v=spf1 include:none-of.test redirect=plain.test"
none-of.test.     60 IN TXT "v=spf1 -all"
neutral.test.     60 IN TXT "v=spf1 include:none-of.test"
existing.test.    60 IN TXT "v=spf1 exists:yes.existing.test -all"
yes.existing.test. 60 IN A 127.0.0.1
void.test.        60 IN TXT "v=spf1 a:x1.void.test a:x2.void.test a:x3.void.test ?all"
deep.test.        60 IN TXT "v=spf1 include:deep.test -all"
trouble.test.     60 IN TXT "v=spf1 a:broken.test -all"
exp.test.         60 IN TXT "v=spf1 -all exp=why.exp.test"
why.exp.test.     60 IN TXT "%{s} may not send from %{i} to %{r} at %{t}"
denied.test.      60 IN TXT "v=spf1 -include:plain.test ?all exp=why.denied.test"
why.denied.test.  60 IN TXT "denied"
incexp.test.      60 IN TXT "v=spf1 include:exp.test -all"
longexp.test.     60 IN TXT "v=spf1 -all exp=why.longexp.test"
_spf.under.test.  60 IN TXT "v=spf1 redirect=plain.test"
`

func newServer(t *testing.T) *dnstest.Server {
	s := dnstest.New(t, zone)
	s.Add(t, `why.longexp.test. 60 IN TXT "`+strings.Repeat("x", 250)+`" "`+strings.Repeat("y", 250)+`"`)
	s.Add(t, `strings.test. 60 IN TXT "v=spf1 "`+strings.Repeat(` "ip4:10.0.0.1 "`, 100)+` "ip4:192.0.2.1 -all"`)
	s.Fail("broken.test", "A", dnstest.ServFail)
	s.Fail("silent.test", "TXT", dnstest.Timeout)
	s.Fail("loop.test", "TXT", dnstest.CNAMELoop)
	s.Fail("huge.test", "TXT", dnstest.Huge)
	return s
}

func check(t *testing.T, s *dnstest.Server, ip, helo string, from mail.Address) spf.Result {
	t.Helper()
	checker := spf.New(spf.Options{Resolver: s.Resolver(t), Receiver: "mx.here.test", Now: func() time.Time { return time.Unix(12345, 0) }})
	return checker.Check(t.Context(), netip.MustParseAddr(ip), helo, from)
}

func address(t *testing.T, local, domain string) mail.Address {
	t.Helper()
	d, err := mail.ParseDomain(domain)
	if err != nil {
		t.Fatal(err)
	}
	a, err := mail.NewAddress(local, d)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMechanism(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct{ domain, ip, value, mechanism string }{
		{"plain.test", "192.0.2.7", "pass", "ip4:192.0.2.0/24"},
		{"plain.test", "2001:db8::7", "pass", "ip6:2001:db8::/32"},
		{"plain.test", "10.9.9.9", "fail", "all"},
		{"hosts.test", "198.51.100.5", "pass", "a:hosts.test/28//128"},
		{"hosts.test", "2001:db8::1", "pass", "a:hosts.test/28//128"},
		{"hosts.test", "203.0.113.1", "pass", "mx:mail.hosts.test"},
		{"hosts.test", "10.0.0.1", "pass", "ptr:hosts.test"},
		{"hosts.test", "10.0.0.2", "fail", "all"},
		{"existing.test", "2001:db8::1", "pass", "exists:yes.existing.test"}, // A counts for IPv6 clients too
		{"outer.test", "192.0.2.7", "pass", "ip4:192.0.2.0/24 via redirect=plain.test via include:mid.test"},
		{"outer.test", "10.9.9.9", "softfail", "all"},
		{"denied.test", "192.0.2.7", "fail", "ip4:192.0.2.0/24 via include:plain.test"},
		{"_spf.under.test", "192.0.2.7", "pass", "ip4:192.0.2.0/24 via redirect=plain.test"},
		{"neutral.test", "192.0.2.7", "neutral", ""},
		{"unknown.test", "192.0.2.7", "none", ""},
		{"strings.test", "192.0.2.1", "pass", "ip4:192.0.2.1/32"},
	} {
		r := check(t, s, c.ip, "helo.test", address(t, "user", c.domain))
		if r.Value != c.value || r.Mechanism != c.mechanism || r.Identity != "mailfrom" || r.Domain.String() != c.domain {
			t.Errorf("%s from %s: %+v", c.domain, c.ip, r)
		}
	}
}

// A syntax error anywhere is a permerror, though a term before it matches.
func TestMatchBeforeSyntaxError(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"early.test", "early2.test", "inner.test"} {
		r := check(t, s, "192.0.2.1", "helo.test", address(t, "user", name))
		if r.Value != "permerror" || !strings.Contains(r.Reason, "syntax error in the SPF record of") || r.Mechanism != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// The domain asked is the one behind the last @, and macros get the local part whole.
func TestLocalPartWithAt(t *testing.T) {
	s := newServer(t)
	r := check(t, s, "192.0.2.1", "helo.test", address(t, "a@evil.test", "local.test"))
	if r.Value != "pass" || r.Domain.String() != "local.test" || s.Queries("evil.test", "TXT") != 0 {
		t.Errorf("%+v", r)
	}
}

func TestNullSenderIsCheckedByHelo(t *testing.T) {
	s := newServer(t)
	for helo, want := range map[string]string{
		"plain.test": "pass", "PLAIN.test.": "pass", "evil.test": "fail", "unknown.test": "none",
		"localhost": "none", "[192.0.2.1]": "none", "": "none", "a b": "none", "exp.test": "fail",
	} {
		r := check(t, s, "192.0.2.1", helo, mail.Address{})
		if r.Value != want || r.Identity != "helo" {
			t.Errorf("HELO %q: %+v", helo, r)
		}
		if helo == "exp.test" && r.Explanation != "postmaster@exp.test may not send from 192.0.2.1 to mx.here.test at 12345" {
			t.Errorf("explanation %q", r.Explanation)
		}
	}
}

func TestAddressLiteralIsNotAsked(t *testing.T) {
	s := newServer(t)
	from, err := mail.ParseAddress("user@[192.0.2.1]", false)
	if err != nil {
		t.Fatal(err)
	}
	if r := check(t, s, "192.0.2.1", "plain.test", from); r.Value != "none" || s.Total() != 0 {
		t.Errorf("%+v after %d queries", r, s.Total())
	}
}

func TestMappedAddressesAreIPv4(t *testing.T) {
	s := newServer(t)
	for name, want := range map[string]string{"mapped.test": "fail", "mapped2.test": "pass"} {
		for _, ip := range []string{"192.0.2.1", "::ffff:192.0.2.1"} {
			if r := check(t, s, ip, "helo.test", address(t, "user", name)); r.Value != want {
				t.Errorf("%s from %s: %+v", name, ip, r)
			}
		}
	}
	if r := spf.New(spf.Options{Resolver: s.Resolver(t)}).Check(t.Context(), netip.Addr{}, "h.test", address(t, "u", "plain.test")); r.Value != "permerror" {
		t.Errorf("no address: %+v", r)
	}
}

func TestOnlyTheClientsFamilyIsAsked(t *testing.T) {
	s := newServer(t)
	check(t, s, "10.0.0.2", "helo.test", address(t, "user", "hosts.test"))
	if n := s.Queries("hosts.test", "AAAA") + s.Queries("mx.hosts.test", "AAAA"); n != 0 {
		t.Errorf("%d questions for IPv6 addresses", n)
	}
}

func TestLimitsAndTrouble(t *testing.T) {
	s := newServer(t)
	for name, want := range map[string]string{
		"void.test":    "permerror void lookup limit reached",
		"deep.test":    "permerror lookup limit reached",
		"trouble.test": "temperror looking up A broken.test: temporary failure",
		"loop.test":    "temperror looking up TXT loop.test: temporary failure",
		"huge.test":    "none no SPF record",
		"silent.test":  "temperror looking up TXT silent.test: temporary failure",
	} {
		r := check(t, s, "10.0.0.1", "helo.test", address(t, "user", name))
		if got := r.Value + " " + r.Reason; got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if n := s.Queries("x3.void.test", "A"); n > 1 {
		t.Errorf("%d questions behind the limit", n)
	}
}

func TestTimeLimit(t *testing.T) {
	s := newServer(t)
	resolver := s.ResolverWith(t, dnsx.Options{TryTimeout: 5 * time.Second, Timeout: 5 * time.Second})
	start := time.Now()
	r := spf.New(spf.Options{Resolver: resolver, TimeLimit: 50 * time.Millisecond}).
		Check(t.Context(), netip.MustParseAddr("192.0.2.1"), "helo.test", address(t, "user", "silent.test"))
	if r.Value != "temperror" || time.Since(start) > 4*time.Second {
		t.Errorf("%+v after %v", r, time.Since(start))
	}
}

func TestExplanation(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct{ local, domain, want string }{
		{"user", "exp.test", "user@exp.test may not send from 192.0.2.1 to mx.here.test at 12345"},
		{"müller", "exp.test", "m?ller@exp.test may not send from 192.0.2.1 to mx.here.test at 12345"},
		{"user", "denied.test", "denied"},
		{"user", "incexp.test", ""},
		{"user", "evil.test", ""},
		{"user", "longexp.test", strings.Repeat("x", 250) + strings.Repeat("y", 150)},
	} {
		r := check(t, s, "192.0.2.1", "helo.test", address(t, c.local, c.domain))
		if r.Value != "fail" || r.Explanation != c.want {
			t.Errorf("%s@%s: %+v", c.local, c.domain, r)
		}
	}
	// A text with control octets is no explanation (RFC 7208 section 6.2).
	s.Add(t, fmt.Sprintf("why.evil.test. 60 IN TXT \"a\\013\\010b\"\nctl.test. 60 IN TXT %q", "v=spf1 -all exp=why.evil.test"))
	if r := check(t, s, "192.0.2.1", "helo.test", address(t, "user", "ctl.test")); r.Value != "fail" || r.Explanation != "" {
		t.Errorf("%+v", r)
	}
}

// RFC 8616 section 4: a term with the local part in its name matches nothing
// where the local part is not ASCII. It was looked up as an A-label.
func TestLocalPartThatIsNotASCIIMatchesNothing(t *testing.T) {
	s := newServer(t)
	s.Add(t, `eai.test.  60 IN TXT "v=spf1 exists:%{l}.x.eai.test exists:%{s}.x.eai.test include:%{l}.inc.eai.test ?exists:%{o}.y.eai.test -all"
xn--mller-kva.x.eai.test. 60 IN A 127.0.0.2
muller.x.eai.test. 60 IN A 127.0.0.2
eai.test.y.eai.test. 60 IN A 127.0.0.2
redir.test. 60 IN TXT "v=spf1 redirect=%{L}.plain.test"
xn--mller-kva.plain.test. 60 IN TXT "v=spf1 +all"
%C3%BCmller.plain.test. 60 IN TXT "v=spf1 +all"
`)
	for _, c := range []struct{ local, domain, value, mechanism string }{
		{"müller", "eai.test", "neutral", "exists:eai.test.y.eai.test"},
		{"muller", "eai.test", "pass", "exists:muller.x.eai.test"},
		{"ümller", "redir.test", "permerror", ""},
	} {
		r := check(t, s, "192.0.2.1", "helo.test", address(t, c.local, c.domain))
		if r.Value != c.value || r.Mechanism != c.mechanism {
			t.Errorf("%s@%s: %+v", c.local, c.domain, r)
		}
	}
	if n := s.Queries("xn--mller-kva.x.eai.test", "A"); n != 0 {
		t.Errorf("%d questions for the A-label of a local part", n)
	}
	s.Add(t, "sender.test. 60 IN TXT \"v=spf1 -exists:%{s}.x.sender.test +all\"\n*.x.sender.test. 60 IN A 127.0.0.2\n")
	for local, want := range map[string]string{"müller": "pass", "muller": "fail"} {
		if r := check(t, s, "192.0.2.1", "helo.test", address(t, local, "sender.test")); r.Value != want {
			t.Errorf("%s of %%{s}: %+v", local, r)
		}
	}
}

// The p macro compared names with their case: a record that writes its domain
// with capitals did not find the client's name below it.
func TestValidatedNameComparesWithoutCase(t *testing.T) {
	s := dnstest.New(t, `case.test. 60 IN TXT "v=spf1 include:Inner.CASE.test -all"
Inner.CASE.test. 60 IN TXT "v=spf1 exists:%{p}.ok.case.test -all"
1.0.0.10.in-addr.arpa. 60 IN PTR other.test.
1.0.0.10.in-addr.arpa. 60 IN PTR host.inner.case.test.
other.test. 60 IN A 10.0.0.1
host.inner.case.test. 60 IN A 10.0.0.1
host.inner.case.test.ok.case.test. 60 IN A 127.0.0.2
2.0.0.10.in-addr.arpa. 60 IN PTR other2.test.
2.0.0.10.in-addr.arpa. 60 IN PTR inner.case.test.
other2.test. 60 IN A 10.0.0.2
inner.case.test. 60 IN A 10.0.0.2
inner.case.test.ok.case.test. 60 IN A 127.0.0.2
`)
	for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
		if r := check(t, s, ip, "helo.test", address(t, "u", "case.test")); r.Value != "pass" {
			t.Errorf("%s: %+v", ip, r)
		}
	}
}

// TestOddRecords: what records hold at the edges of the grammar and the limits.
func TestOddRecords(t *testing.T) {
	s := newServer(t)
	ten := strings.Repeat(" a:yes.odd.test", 10)
	records := map[string][]string{
		"pass": {
			"v=spf1 ip4:10.0.0.9/0 -all", "v=spf1 a:yes.odd.test/0 -all", "v=spf1 mx:many10.odd.test/0 -all", "V=SPF1   IP4:192.0.2.1   -ALL  ",
			"v=spf1 a:yes.odd.test/0//0 -all", "v=spf1 moo=x ip4:192.0.2.1 -all", "v=spf1 all=no ip4:192.0.2.1", "v=spf1 ~exists:no1.odd.test A:YES.odd.test/0",
			"v=spf1" + ten + " ip4:192.0.2.1 -all", "v=spf1 ip4:192.0.2.1 redirect=no1.odd.test", "v=spf1 redirect=no1.odd.test +all", "v=spf1 exists:%{ir}.%{v}.odd.test -all",
			"v=spf1 exists:%{h2}.odd.test -all", "v=spf1 exists:%{l1r-}.odd.test -all", "v=spf1 exists:%{o1}.odd.test -all",
			"v=spf1 a:no1.odd.test a:no2.odd.test ip4:192.0.2.1 -all", "v=spf1 ptr:odd.test +all",
		},
		"fail":    {"v=spf1 ip6:::/0 -all", "v=spf1 ip6:::ffff:192.0.2.1 -all", "v=spf1 a:yes.odd.test//0 -all", "v=spf1 ptr -all", "v=spf1 exists:%{i}.%{v}.odd.test -all"},
		"neutral": {"v=spf1", "v=spf1 ", "v=spf1 ip4:10.0.0.1", "v=spf1 moo=%{c}%{r}%{t}"},
		"none":    {"v=spf10 +all", "v=spf1\t+all", " v=spf1 +all", "v=spf1+all", "v=spf2.0/mfrom +all"},
		"permerror": {
			"v=spf1 ip4:192.0.2.1/33 +all", "v=spf1 ip6:::1/129 +all", "v=spf1 ip4:192.0.2.1/ +all", "v=spf1 ip4:192.0.2.1/00 +all", "v=spf1 ip4:192.0.2 +all", "v=spf1 ip4 +all",
			"v=spf1 ip4:192.0.2.01 +all", "v=spf1 ip4:::1 +all", "v=spf1 ip6:192.0.2.1 +all", "v=spf1 a/33 +all", "v=spf1 a//129 +all", "v=spf1 a/ +all", "v=spf1 a/24/24 +all", "v=spf1 mx: +all",
			"v=spf1 all: +all", "v=spf1 -redirect=yes.odd.test +all", "v=spf1 redirect=yes.odd.test redirect=yes.odd.test +all", "v=spf1 exp=a.b exp=a.b +all", "v=spf1 include +all",
			"v=spf1 include: +all", "v=spf1 exists +all", "v=spf1 ptr/24 +all", "v=spf1 a:%{c}.odd.test +all", "v=spf1 a:%{t}.odd.test +all", "v=spf1 a:%{r}.odd.test +all", "v=spf1 a:%{x}.b.c +all",
			"v=spf1 a:%{d0}.b +all", "v=spf1 a:%(d).b +all", "v=spf1 a:% +all", "v=spf1 a:%{d.b +all", "v=spf1 a:com +all", "v=spf1 a:b.123 +all", "v=spf1 a:b.c-/24 +all", "v=spf1 \x01 +all",
			"v=spf1 +all\xc3\xbc", "v=spf1 a:b\xc3\xbc.test +all", "v=spf1 exp= +all", "v=spf1 redirect= +all", "v=spf1 moo=% +all", "v=spf1 +all ip5:1", "v=spf1 +all.", "v=spf1 ++all",
			"v=spf1" + ten + " a:yes.odd.test +all", "v=spf1" + ten + " ptr +all", "v=spf1" + ten + " exists:yes.odd.test +all", "v=spf1" + ten + " mx:mx.odd.test +all",
			"v=spf1" + ten + " include:yes.odd.test +all", "v=spf1" + ten + " redirect=plain.test", "v=spf1 mx:many11.odd.test/0 -all", "v=spf1 redirect=no1.odd.test", "v=spf1 include:no1.odd.test +all",
			"v=spf1 a:no1.odd.test exists:no2.odd.test mx:no3.odd.test +all", "v=spf1 ptr a:no1.odd.test a:no2.odd.test +all",
		},
	}
	s.Add(t, `yes.odd.test. 60 IN A 10.9.9.9
1.2.0.192.in-addr.odd.test. 60 IN A 127.0.0.2
helo.test.odd.test. 60 IN A 127.0.0.2
user-x.odd.test. 60 IN A 127.0.0.2
user.odd.test. 60 IN A 127.0.0.2
test.odd.test. 60 IN A 127.0.0.2
`)
	for i := range 11 {
		s.Add(t, fmt.Sprintf("many11.odd.test. 60 IN MX %d m%d.odd.test.\nm%d.odd.test. 60 IN A 10.9.9.%d\n", i, i, i, i))
		if i < 10 {
			s.Add(t, fmt.Sprintf("many10.odd.test. 60 IN MX %d m%d.odd.test.\n", i, i))
		}
	}
	n := 0
	for want, list := range records {
		for _, record := range list {
			n++
			name := fmt.Sprintf("r%d.odd.test", n)
			line := fmt.Sprintf("%s. 60 IN TXT", name)
			for len(record) > 200 { // strings of one record are joined without a space
				line, record = line+" "+quoted(record[:200]), record[200:]
			}
			s.Add(t, line+" "+quoted(record))
			if r := check(t, s, "192.0.2.1", "helo.test", address(t, "user-x", name)); r.Value != want {
				t.Errorf("%q: %+v, want %s", record, r, want)
			}
		}
	}
}

// Eleven records of 60 KiB of macros cost two seconds of processor time.
func TestLongRecordIsNotExpanded(t *testing.T) {
	s := newServer(t)
	for name, n := range map[string]int{"long.test": 8000, "longer.test": 9000} {
		line := name + ". 60 IN TXT \"v=spf1 \""
		for range n / 100 {
			line += " " + quoted(strings.Repeat(" ip4:10.1.1.1/32 ip4:10.1.1.2/32 ", 3)+"\x20")
		}
		s.Add(t, line+` " ip4:192.0.2.1 -all"`)
	}
	if r := check(t, s, "192.0.2.1", "helo.test", address(t, "u", "long.test")); r.Value != "pass" {
		t.Errorf("a record of 8,000 octets: %+v", r)
	}
	if r := check(t, s, "192.0.2.1", "helo.test", address(t, "u", "longer.test")); r.Value != "permerror" || !strings.Contains(r.Reason, "longer than 8192 octets") {
		t.Errorf("a record of 9,000 octets: %+v", r)
	}
}
