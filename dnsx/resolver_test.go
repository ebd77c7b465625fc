package dnsx_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const exampleZone = `
$ORIGIN example.com.
@         300 IN SOA ns.example.com. hostmaster.example.com. 1 7200 3600 1209600 60
@         300 IN MX  20 backup
@         300 IN MX  10 Mail
@         300 IN TXT "first " "second"
@         300 IN TXT "quote\" back\\slash \200"
nullmx    300 IN MX  0 .
mail      300 IN A   192.0.2.1
mail      120 IN AAAA 2001:db8::1
four      300 IN A   192.0.2.4
alias     60  IN CNAME alias2
alias2    300 IN CNAME mail
dangling  300 IN CNAME nowhere
a.deep    300 IN A   192.0.2.5
*.wild    300 IN TXT "wild"
_25._tcp.mail 300 IN TLSA 3 1 1 ABCDEF
odd\032name 300 IN TXT "odd"
`

func TestRecordsOfEveryType(t *testing.T) {
	s := dnstest.New(t, exampleZone+"1.2.0.192.in-addr.arpa. 60 IN SOA a. b. 1 2 3 4 5\n1.2.0.192.in-addr.arpa. 60 IN PTR mail.example.com.")
	r, ctx := s.Resolver(t), t.Context()

	txt, err := r.TXT(ctx, "EXAMPLE.com")
	want(t, err, txt.Records, []string{"first second", "quote\" back\\slash \xc8"})
	mx, err := r.MX(ctx, "example.com.")
	want(t, err, mx.Records, []dnsx.MX{{Preference: 10, Host: "mail.example.com"}, {Preference: 20, Host: "backup.example.com"}})
	null, err := r.MX(ctx, "nullmx.example.com")
	if err != nil || !null.Records[0].IsNull() || mx.Records[0].IsNull() {
		t.Errorf("null MX: %v %v", null, err)
	}
	a, err := r.A(ctx, "mail.example.com")
	want(t, err, a.Records, addrs("192.0.2.1"))
	both, err := r.Addrs(ctx, "mail.example.com")
	want(t, err, both.Records, addrs("2001:db8::1", "192.0.2.1"))
	if both.TTL > 2*time.Minute || both.TTL < time.Minute {
		t.Errorf("TTL of both: %v", both.TTL)
	}
	only, err := r.Addrs(ctx, "four.example.com")
	want(t, err, only.Records, addrs("192.0.2.4"))
	ptr, err := r.PTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	want(t, err, ptr.Records, []string{"mail.example.com"})
	cname, err := r.CNAME(ctx, "alias.example.com")
	want(t, err, cname.Records, []string{"alias2.example.com"})
	tlsa, err := r.TLSA(ctx, "_25._tcp.mail.example.com")
	if err != nil || len(tlsa.Records) != 1 || tlsa.Records[0].Usage != 3 || !slices.Equal(tlsa.Records[0].Data, []byte{0xab, 0xcd, 0xef}) {
		t.Errorf("TLSA: %+v %v", tlsa, err)
	}
	odd, err := r.TXT(ctx, "odd name.example.com")
	want(t, err, odd.Records, []string{"odd"})
}

func TestAliasesAreFollowedAndReported(t *testing.T) {
	r := dnstest.New(t, exampleZone).Resolver(t)
	got, err := r.A(t.Context(), "alias.example.com")
	want(t, err, got.Records, addrs("192.0.2.1"))
	want(t, nil, got.Chain, []string{"alias2.example.com", "mail.example.com"})
	if got.Canonical != "mail.example.com" || got.TTL > time.Minute || got.Authentic {
		t.Errorf("%+v", got)
	}
	_, err = r.A(t.Context(), "dangling.example.com")
	var e *dnsx.Error
	if !errors.As(err, &e) || e.Kind != dnsx.NXDomain || !slices.Equal(e.Chain, []string{"nowhere.example.com"}) {
		t.Errorf("dangling alias: %v", err)
	}
}

// A server that knows only the alias leaves the rest to another question.
func TestAliasIntoAnotherZoneIsAskedAgain(t *testing.T) {
	target := dnstest.New(t, "$ORIGIN target.test.\n@ 60 IN SOA a. b. 1 2 3 4 5\nwww 60 IN A 192.0.2.7")
	first := dnstest.New(t, "$ORIGIN first.test.\n@ 60 IN SOA a. b. 1 2 3 4 5\nwww 60 IN CNAME www.target.test.")
	r := first.ResolverWith(t, dnsx.Options{Servers: []dnsx.Server{{Address: first.Addr}, {Address: target.Addr}}})
	got, err := r.A(t.Context(), "www.first.test")
	want(t, err, got.Records, addrs("192.0.2.7"))
}

func TestNothingFoundIsToldApart(t *testing.T) {
	r := dnstest.New(t, exampleZone).Resolver(t)
	for name, kind := range map[string]dnsx.Kind{
		"missing.example.com":      dnsx.NXDomain,
		"x.mail.example.com":       dnsx.NXDomain,
		"deep.example.com":         dnsx.NoData, // an empty non-terminal
		"example.com":              dnsx.NoData,
		"a.wild.example.com":       dnsx.NoData,
		"a.b.wild.example.com":     dnsx.NoData,
		"wild.example.com":         dnsx.NoData,
		"elsewhere.test":           dnsx.Temporary, // REFUSED
		"":                         dnsx.NXDomain,
		".":                        dnsx.NXDomain,
		"a..example.com":           dnsx.NXDomain,
		".example.com":             dnsx.NXDomain,
		strings.Repeat("a.", 130):  dnsx.NXDomain,
		strings.Repeat("é.", 120):  dnsx.NXDomain,
		strings.Repeat("b", 64):    dnsx.NXDomain,
		strings.Repeat("b", 2_000): dnsx.NXDomain,
	} {
		_, err := r.A(t.Context(), name)
		var e *dnsx.Error
		if !errors.As(err, &e) || e.Kind != kind {
			t.Errorf("%.40q: %v, want %s", name, err, kind)
		}
		if dnsx.IsNotFound(err) != (kind != dnsx.Temporary) || dnsx.IsNXDomain(err) != (kind == dnsx.NXDomain) || dnsx.IsTemporary(err) != (kind == dnsx.Temporary) {
			t.Errorf("%.40q: predicates disagree with %s", name, kind)
		}
	}
}

func TestBadNamesAreNotAsked(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	r := s.Resolver(t)
	for _, name := range []string{"a..b", strings.Repeat("a.", 130), strings.Repeat("b", 64) + ".example.com"} {
		if _, err := r.TXT(t.Context(), name); !dnsx.IsNXDomain(err) {
			t.Errorf("%.40q: %v", name, err)
		}
	}
	if s.Total() != 0 {
		t.Errorf("%d queries", s.Total())
	}
}

func TestLocalhostIsNotAsked(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	for _, name := range []string{"localhost", "Localhost.", "mail.localhost"} {
		got, err := s.Resolver(t).Addrs(t.Context(), name)
		want(t, err, got.Records, addrs("::1", "127.0.0.1"))
	}
	if s.Total() != 0 {
		t.Errorf("%d queries", s.Total())
	}
}

func TestInternationalNamesAreAskedInASCII(t *testing.T) {
	r := dnstest.New(t, "xn--bcher-kva.example. 60 IN A 192.0.2.9").Resolver(t)
	got, err := r.A(t.Context(), "Bücher.example")
	want(t, err, got.Records, addrs("192.0.2.9"))
}

func TestFaults(t *testing.T) {
	for fault, wantTemporary := range map[dnstest.Fault]bool{
		dnstest.ServFail:        true,
		dnstest.Refused:         true,
		dnstest.Timeout:         true,
		dnstest.Truncated:       false, // TCP has it
		dnstest.TruncatedAlways: true,
		dnstest.WrongName:       true,
		dnstest.WrongID:         true,
		dnstest.NotResponse:     true,
		dnstest.Garbage:         true,
		dnstest.Referral:        true,
		dnstest.CNAMELoop:       true,
		dnstest.CNAMEChain:      true,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s := dnstest.New(t, exampleZone)
			s.Fail("mail.example.com", "A", fault)
			got, err := s.Resolver(t).A(t.Context(), "mail.example.com")
			if wantTemporary && !dnsx.IsTemporary(err) {
				t.Errorf("got %v, %v", got, err)
			}
			if !wantTemporary {
				want(t, err, got.Records, addrs("192.0.2.1"))
			}
		})
	}
}

func TestEndlessAliasesAreNamed(t *testing.T) {
	for fault, cause := range map[dnstest.Fault]error{dnstest.CNAMELoop: dnsx.ErrLoop, dnstest.CNAMEChain: dnsx.ErrChain} {
		s := dnstest.New(t, exampleZone)
		s.Fail("mail.example.com", "A", fault)
		if _, err := s.Resolver(t).A(t.Context(), "mail.example.com"); !errors.Is(err, cause) {
			t.Errorf("%s: %v", fault, err)
		}
	}
}

// A record of another name in the answer is no answer for ours.
func TestRecordsOfAnotherNameAreIgnored(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.OtherOwner)
	if got, err := s.Resolver(t).A(t.Context(), "mail.example.com"); !dnsx.IsNotFound(err) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLargeTextRecords(t *testing.T) {
	s := dnstest.New(t, "many.example. 60 IN TXT "+strings.Repeat(` "0123456789"`, 100)+"\nhuge.example. 60 IN TXT x")
	s.Fail("huge.example", "TXT", dnstest.Huge)
	r := s.Resolver(t)
	many, err := r.TXT(t.Context(), "many.example")
	want(t, err, many.Records, []string{strings.Repeat("0123456789", 100)})
	huge, err := r.TXT(t.Context(), "huge.example")
	want(t, err, huge.Records, []string{dnstest.HugeText()})
}

func TestNextServerIsAskedAndTheFailingOneSpared(t *testing.T) {
	for _, fault := range []dnstest.Fault{dnstest.ServFail, dnstest.Refused, dnstest.Timeout} {
		t.Run(string(fault), func(t *testing.T) {
			bad, good := dnstest.New(t, exampleZone), dnstest.New(t, exampleZone)
			bad.Fail("mail.example.com", "ANY", fault)
			r := good.ResolverWith(t, dnsx.Options{CacheEntries: -1, Servers: []dnsx.Server{{Address: bad.Addr}, {Address: good.Addr}}})
			for range 3 {
				got, err := r.A(t.Context(), "mail.example.com")
				want(t, err, got.Records, addrs("192.0.2.1"))
			}
			wantAsked := 3 // the server works, this name does not
			if fault == dnstest.Timeout {
				wantAsked = 1
			}
			if n := bad.Total(); n != wantAsked {
				t.Errorf("first server was asked %d times, want %d", n, wantAsked)
			}
			if failing := r.Health()[0].Failing; failing != (fault == dnstest.Timeout) {
				t.Errorf("failing = %v", failing)
			}
		})
	}
}

func TestDeadlineOfTheCallerHolds(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.Timeout)
	r := s.ResolverWith(t, dnsx.Options{TryTimeout: time.Minute, Timeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := r.A(ctx, "mail.example.com")
	if !dnsx.IsTemporary(err) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

func TestTimeoutOfTheQuestionHolds(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.Timeout)
	r := s.ResolverWith(t, dnsx.Options{TryTimeout: 40 * time.Millisecond, Timeout: 100 * time.Millisecond, Rounds: 1000})
	if _, err := r.A(t.Context(), "mail.example.com"); !dnsx.IsTemporary(err) {
		t.Error(err)
	}
	if n := s.Total(); n < 2 || n > 4 {
		t.Errorf("%d tries", n)
	}
}

func TestOnlyValidatingServersAreBelieved(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.AuthenticData)
	s.Fail("missing.example.com", "A", dnstest.AuthenticData)
	for _, validating := range []bool{true, false} {
		r := s.ResolverWith(t, dnsx.Options{Servers: []dnsx.Server{{Address: s.Addr, Validating: validating}}})
		got, err := r.A(t.Context(), "mail.example.com")
		if err != nil || got.Authentic != validating {
			t.Errorf("validating %v: %+v %v", validating, got, err)
		}
		_, err = r.A(t.Context(), "missing.example.com")
		var e *dnsx.Error
		if !errors.As(err, &e) || e.Authentic != validating {
			t.Errorf("validating %v: %v", validating, err)
		}
		if got, _ := r.A(t.Context(), "four.example.com"); got.Authentic {
			t.Error("authentic without AD")
		}
	}
}

func TestEqualQuestionsShareOneExchange(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.Timeout)
	r := s.ResolverWith(t, dnsx.Options{TryTimeout: 2 * time.Second, CacheEntries: -1})
	impatient, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		ctx := t.Context()
		if i == 0 {
			ctx = impatient
		}
		callers.Go(func() { _, errs[i] = r.A(ctx, "mail.example.com") })
	}
	s.Await(1)
	cancel()
	callers.Wait()
	if !errors.Is(errs[0], context.Canceled) {
		t.Errorf("the one who left: %v", errs[0])
	}
	for _, err := range errs[1:] {
		if errors.Is(err, context.Canceled) || !dnsx.IsTemporary(err) {
			t.Errorf("the others: %v", err)
		}
	}
	if s.Total() > 2 {
		t.Errorf("%d queries for one question", s.Total())
	}
}

// What the last caller gave up says nothing about the name: it is not kept.
func TestAbandonedQuestionLeavesNoTrace(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.Timeout)
	r := s.ResolverWith(t, dnsx.Options{TryTimeout: time.Minute, Timeout: time.Minute, FailureTTL: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.A(ctx, "mail.example.com")
		gone <- err
	}()
	s.Await(1)
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.Close() // waits for what the caller left behind; the cache still answers
	if _, err := r.A(t.Context(), "mail.example.com"); !errors.Is(err, dnsx.ErrClosed) {
		t.Errorf("kept in the cache: %v", err)
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	s := dnstest.New(t, exampleZone)
	s.Fail("mail.example.com", "A", dnstest.Timeout)
	r := s.ResolverWith(t, dnsx.Options{TryTimeout: time.Minute, Timeout: time.Minute})
	done := make(chan error)
	go func() {
		_, err := r.A(t.Context(), "mail.example.com")
		done <- err
	}()
	s.Await(1)
	r.Close()
	if err := <-done; !dnsx.IsTemporary(err) {
		t.Error(err)
	}
	if _, err := r.A(t.Context(), "four.example.com"); !errors.Is(err, dnsx.ErrClosed) {
		t.Error(err)
	}
}

func TestServerAddressesAreChecked(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:53": true, "127.0.0.1": true, "::1": true, "[::1]:5353": true, "[::1]": true, "fe80::1%eth0": true,
		"dns.example.com:53": false, "": false, "127.0.0.1:x:y": false,
	} {
		r, err := dnsx.New(dnsx.Options{Servers: []dnsx.Server{{Address: address}}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if r != nil {
			r.Close()
		}
	}
}

func want[T comparable](t *testing.T, err error, got, want []T) {
	t.Helper()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, error %v; want %v", got, err, want)
	}
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}
