package policy_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"gatepost/auth/arc"
	"gatepost/auth/arc/arctest"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// The names that the four checks ask of a.example.
const (
	spfName   = "a.example"
	dkimName  = "s1._domainkey.a.example"
	dmarcName = "_dmarc.a.example"
	arcName   = "k1._domainkey.a.example"
)

// judged is what the four checks say.
type judged struct{ spf, dkim, dmarc, arc string }

// The answers that come again and again.
var (
	sound     = judged{"pass", "pass", "pass", "pass"}
	temporary = judged{"temperror", "temperror", "temperror", "fail for now"}
	nothing   = judged{"none", "permerror", "none", "fail"}
)

// dnsFaults are ways in which DNS can go wrong, and the result of every check
// when all that it asks goes wrong so. The message is sound.
var dnsFaults = []struct {
	name  string
	fault dnstest.Fault
	zone  func(t *testing.T, good map[string]string) string // instead of the good zone
	want  judged
}{
	{name: "nothing wrong", want: sound},
	{name: "SERVFAIL", fault: dnstest.ServFail, want: temporary},
	{name: "REFUSED", fault: dnstest.Refused, want: temporary},
	{name: "time-out", fault: dnstest.Timeout, want: temporary},
	{name: "referral", fault: dnstest.Referral, want: temporary},
	{name: "garbage", fault: dnstest.Garbage, want: temporary},
	{name: "truncated, TCP works", fault: dnstest.Truncated, want: sound},
	{name: "truncated over TCP too", fault: dnstest.TruncatedAlways, want: temporary},
	{name: "truncated, TCP hangs", fault: dnstest.TruncatedHang, want: temporary},
	{name: "truncated, TCP closed", fault: dnstest.TruncatedClosed, want: temporary},
	{name: "answer for another name", fault: dnstest.WrongName, want: temporary},
	{name: "answer for another type", fault: dnstest.WrongType, want: temporary},
	{name: "answer with another id", fault: dnstest.WrongID, want: temporary},
	{name: "question instead of an answer", fault: dnstest.NotResponse, want: temporary},
	{name: "records of another name only", fault: dnstest.OtherOwner, want: nothing},
	{name: "unrelated records beside", fault: dnstest.ExtraRecords, want: sound},
	{name: "NXDOMAIN with an answer", fault: dnstest.NXDomainAnswer, want: sound}, // the records are there
	{name: "empty answer", fault: dnstest.Empty, want: nothing},
	{name: "names in another case", fault: dnstest.OtherCase, want: sound},
	{name: "CNAME loop", fault: dnstest.CNAMELoop, want: temporary},
	{name: "CNAME chain too long", fault: dnstest.CNAMEChain, want: temporary},
	{name: "no such name", zone: func(*testing.T, map[string]string) string { return "other.example. 60 IN A 192.0.2.9\n" }, want: nothing},
	{name: "CNAME to the record", zone: aliased, want: sound},
	{name: "CNAME to nothing", zone: func(_ *testing.T, good map[string]string) string {
		return each(good, func(name, _ string) string { return name + ". 60 IN CNAME gone.example.\n" })
	}, want: nothing},
	{name: "100 strings in one record", zone: func(_ *testing.T, good map[string]string) string {
		return each(good, func(name, text string) string {
			return txt(name, text+strings.Repeat(" ", 100-min(100, len(text))), 100)
		})
	}, want: sound},
	{name: "100 records, ours first", zone: func(_ *testing.T, good map[string]string) string {
		return each(good, func(name, text string) string { return txt(name, text, 1) + others(name, 99) })
	}, want: sound},
	// Of key records only the first sixteen are looked at.
	{name: "100 records, ours last", zone: func(_ *testing.T, good map[string]string) string {
		return each(good, func(name, text string) string { return others(name, 99) + txt(name, text, 1) })
	}, want: judged{"pass", "permerror", "pass", "fail"}},
	{name: "100 equal records", zone: func(_ *testing.T, good map[string]string) string {
		return each(good, func(name, text string) string { return strings.Repeat(txt(name, text, 1), 100) })
	}, want: judged{"permerror", "permerror", "none", "fail"}},
	// Keys may have 16 KiB, records of SPF and DMARC 8 KiB.
	{name: "record of 64 KiB", zone: long, want: judged{"permerror", "permerror", "none", "fail"}},
	{name: "include loop", zone: spfOnly("v=spf1 include:a.example -all"), want: judged{"permerror", "pass", "pass", "pass"}},
	{name: "include loop of two", zone: spfOnly("v=spf1 include:b.example -all"), want: judged{"permerror", "pass", "pass", "pass"}},
	{name: "redirect loop", zone: spfOnly("v=spf1 redirect=a.example"), want: judged{"permerror", "pass", "pass", "pass"}},
	{name: "eleven look-ups", zone: spfOnly("v=spf1" + strings.Repeat(" a:h.example", 11) + " ip4:192.0.2.1 -all"), want: judged{"permerror", "pass", "pass", "pass"}},
	{name: "three void look-ups", zone: spfOnly("v=spf1 a:x.example a:y.example a:z.example ip4:192.0.2.1 -all"), want: judged{"permerror", "pass", "pass", "pass"}},
	{name: "ten look-ups, two void", zone: spfOnly("v=spf1 a:x.example a:y.example" + strings.Repeat(" a:h.example", 8) + " ip4:192.0.2.1 -all"), want: sound},
}

// TestDNSFaults: every check has its answer to every fault, in bounded time
// and with a bounded number of questions.
func TestDNSFaults(t *testing.T) {
	message, good := soundMessage(t)
	for _, c := range dnsFaults {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			text := each(good, func(name, text string) string { return txt(name, text, 1) })
			if c.zone != nil {
				text = c.zone(t, good)
			}
			server := dnstest.New(t, text)
			for _, name := range []string{spfName, dkimName, dmarcName, arcName} {
				server.Fail(name, "TXT", c.fault)
			}
			start := time.Now()
			if got := judge(t, server.ResolverWith(t, patience(c.want)), message); got != c.want {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
			// SPF alone may ask 10 times beyond its record; each of the others
			// has one question here, DMARC the names above too, and truncation
			// doubles them.
			if n := server.Total(); n > 22 {
				t.Errorf("%d questions", n)
			}
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// patience lets a busy machine take its time, but where nothing is to come.
func patience(want judged) dnsx.Options {
	if want == temporary {
		return dnsx.Options{CacheEntries: -1, TryTimeout: 300 * time.Millisecond}
	}
	return dnsx.Options{CacheEntries: -1, TryTimeout: 10 * time.Second, Timeout: 10 * time.Second}
}

// judge asks all four, through a real resolver.
func judge(t *testing.T, r *dnsx.Resolver, message []byte) judged {
	t.Helper()
	body := mail.MemoryBody(message)
	from, err := mail.ParseAddress("joe@a.example", false)
	if err != nil {
		t.Fatal(err)
	}
	s := spf.New(spf.Options{Resolver: r}).Check(t.Context(), netip.MustParseAddr("192.0.2.1"), "helo.example", from)
	d, err := dkim.NewVerifier(dkim.Options{Resolver: r}).Verify(t.Context(), body)
	if err != nil || len(d) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	// DMARC is judged by itself: SPF has passed for it.
	m := dmarc.New(dmarc.Options{Resolver: r}).Check(t.Context(), from.Domain(), spf.Result{Value: spf.Pass, Domain: from.Domain()}, nil)
	a, err := arc.NewVerifier(arc.Options{Resolver: r}).Verify(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	got := judged{s.Value, d[0].Value, m.Value, a.Value}
	if a.Temporary {
		got.arc += " for now"
	}
	for value, why := range map[string]string{s.Value: s.Reason, d[0].Value: d[0].Reason, m.Value: m.Reason, a.Value: a.Reason} {
		if value != "pass" && why == "" {
			t.Errorf("%s without a reason", value)
		}
	}
	return got
}

// soundMessage is signed and sealed by a.example; good are its records.
func soundMessage(t *testing.T) (message []byte, good map[string]string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	text := "From: joe@a.example\r\nTo: ann@example.net\r\nSubject: x\r\nDate: Fri, 21 Nov 2025 10:00:00 +0000\r\n\r\nText.\r\n"
	var signed bytes.Buffer
	if err := msgauth.Sign(&signed, strings.NewReader(text), &msgauth.SignOptions{Domain: "a.example", Selector: "s1", Signer: key}); err != nil {
		t.Fatal(err)
	}
	sealer := arctest.Sealer{Domain: "a.example"}
	sealed, err := sealer.Seal(signed.String())
	if err != nil {
		t.Fatal(err)
	}
	return []byte(sealed), map[string]string{
		spfName:   "v=spf1 ip4:192.0.2.1 -all",
		dkimName:  "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
		dmarcName: "v=DMARC1; p=reject;",
		arcName:   sealer.Record(),
	}
}

func each(good map[string]string, line func(name, text string) string) string {
	var b strings.Builder
	for name, text := range good {
		b.WriteString(line(name, text))
	}
	return b.String()
}

// txt is a zone line with text cut into so many strings, or as few as hold it.
func txt(name, text string, pieces int) string {
	size := max(1, min(255, (len(text)+pieces-1)/pieces))
	var b strings.Builder
	for ; text != ""; text = text[min(size, len(text)):] {
		fmt.Fprintf(&b, " %q", text[:min(size, len(text))])
	}
	return name + ". 60 IN TXT" + b.String() + "\n"
}

func others(name string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(txt(name, fmt.Sprintf("site-verification=%d", i), 1))
	}
	return b.String()
}

// long fills every record up to 64,000 octets with what its grammar allows.
func long(_ *testing.T, good map[string]string) string {
	return each(good, func(name, text string) string {
		filler := " n=" + strings.Repeat("x", 64_000)
		if name == spfName {
			text, filler = "v=spf1 ip4:192.0.2.1", strings.Repeat(" ip4:198.51.100.1", 64_000/17)
		} else if name == dmarcName {
			filler = " x=" + strings.Repeat("x", 64_000)
		} else {
			text += ";"
		}
		return txt(name, text+filler, 1)
	})
}

// aliased puts every record behind a CNAME, as Microsoft 365 wants its keys.
func aliased(_ *testing.T, good map[string]string) string {
	return each(good, func(name, text string) string {
		target := "target." + name
		return name + ". 60 IN CNAME " + target + ".\n" + txt(target, text, 1)
	})
}

// spfOnly changes the SPF record; b.example includes a.example, h.example is
// another host.
func spfOnly(record string) func(*testing.T, map[string]string) string {
	return func(_ *testing.T, good map[string]string) string {
		return each(good, func(name, text string) string {
			if name == spfName {
				text = record
			}
			return txt(name, text, 1)
		}) + txt("b.example", "v=spf1 include:a.example -all", 1) + "h.example. 60 IN A 198.51.100.1\n"
	}
}
