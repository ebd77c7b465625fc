package failure

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/mail"

	"pgregory.net/rapid"
)

func addr(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func header(t testing.TB, s string) mail.Header {
	t.Helper()
	h, err := mail.ParseHeader([]byte(s + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const original = "Received: from secret-host ([192.0.2.9]) for <victim@receiver.example>\r\nFrom: Alice Secret <alice@author.example>\r\nTo: victim@receiver.example\r\n" +
	"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1.x@author.example>\r\nSubject: the secret plan\r\nX-Mine: secret\r\n" +
	"DKIM-Signature: v=1; a=rsa-sha256; d=author.example; s=s1; i=alice=20secret@mail.author.example;\r\n h=From:To; bh=AAAA; z=From:secret@x|To:victim; b=BBBB\r\n BBBB; x-note=secret\r\n"

func incident(t testing.TB) *Incident {
	return &Incident{ID: 12345, At: time.Unix(1700000000, 0), Client: netip.MustParseAddr("::ffff:192.0.2.1"), Port: 1234, Helo: "mail.bad.example",
		MailFrom: addr(t, "alice@author.example"), Domain: addr(t, "x@author.example").Domain(), Failure: DMARC, Delivery: "reject", Unaligned: []string{"dkim", "spf"},
		Results:    "Authentication-Results: mx.receiver.example;\r\n dkim=fail reason=\"alice@author.example\" header.i=alice@author.example;\r\n dmarc=fail header.from=author.example\r\n",
		DKIMDomain: addr(t, "x@author.example").Domain(), DKIMSel: "s1", DKIMID: "alice@author.example", SPFDomain: addr(t, "x@author.example").Domain(), SPFRecord: `v=spf1 "\ -all`,
		Header: Excerpt(header(t, original)), ReportingBy: "mx.receiver.example", Agent: "Gatepost/1"}
}

func TestWrite(t *testing.T) {
	part, about := Write(incident(t), Redactor{[]byte("key")})
	wantPart := `Feedback-Type: auth-failure
User-Agent: Gatepost/1
Version: 1
Original-Envelope-Id: 000000000C1SJ
Original-Mail-From: <HASH@author.example>
Arrival-Date: Tue, 14 Nov 2023 22:13:20 +0000
Reporting-MTA: dns; mx.receiver.example
Source-IP: 192.0.2.1
Source-Port: 1234
Incidents: 1
Reported-Domain: author.example
Authentication-Results: mx.receiver.example; dkim=fail
 reason="HASH@author.example"
 header.i=HASH@author.example; dmarc=fail
 header.from=author.example
Delivery-Result: reject
Auth-Failure: dmarc
Identity-Alignment: dkim, spf
DKIM-Domain: author.example
DKIM-Identity: HASH@author.example
DKIM-Selector: s1
SPF-DNS: txt : author.example : "v=spf1 \"\\ -all"
`
	wantAbout := `Received: from mail.bad.example ([192.0.2.1]) by mx.receiver.example with
 SMTP id 000000000C1SJ; Tue, 14 Nov 2023 22:13:20 +0000
From: <HASH@author.example>
Date: Tue, 14 Nov 2023 22:13:20 +0000
Message-ID: <1.x@author.example>
Subject: [redacted]
DKIM-Signature: v=1; a=rsa-sha256; d=author.example; s=s1;
 i=OTHER@mail.author.example; h=From:To; bh=AAAA; b=BBBBBBBB
`
	r := Redactor{[]byte("key")}
	names := strings.NewReplacer("HASH", r.local("alice", "author.example"), "OTHER", r.local("alice=20secret", "mail.author.example"),
		"000000000C1SJ", mail.ID(12345).String(), "\n", "\r\n")
	if want := names.Replace(wantPart); string(part) != want {
		t.Errorf("got\n%s\nwant\n%s", part, want)
	}
	if want := names.Replace(wantAbout); string(about) != want {
		t.Errorf("got\n%s\nwant\n%s", about, want)
	}
}

// TestReadBack: our own reader finds in it what was meant.
func TestReadBack(t *testing.T) {
	i := incident(t)
	i.Failure, i.Incidents, i.Unaligned = Signature, 7, nil
	r, err := Parse(Write(i, Redactor{[]byte("key")}))
	if err != nil {
		t.Fatal(err)
	}
	hash := Redactor{[]byte("key")}.local("Alice", "Author.example") // whatever its case
	if r.Type != "auth-failure" || r.Domain != "author.example" || r.Source != netip.MustParseAddr("192.0.2.1") || r.AuthFailure != "signature" || r.Delivery != "reject" ||
		r.Alignment != "none" || r.Incidents != "7" || r.MailFrom != "<"+hash+"@author.example>" || r.From != r.MailFrom || r.MessageID != "<1.x@author.example>" ||
		r.DKIMDomain != "author.example" || r.DKIMSel != "s1" || r.Subject != "[redacted]" || r.Reporter != "dns; mx.receiver.example" {
		t.Errorf("%+v", r)
	}
}

func TestHashes(t *testing.T) {
	a, b := Redactor{[]byte("key")}, Redactor{[]byte("another")}
	if a.local("x", "a.example") == b.local("x", "a.example") || a.local("x", "a.example") == a.local("x", "b.example") || a.local("x", "a.example") == a.local("y", "a.example") {
		t.Error("hashes are not apart")
	}
	if len(a.local("x", "")) != hashLength || a.Address(mail.Address{}) != "<>" {
		t.Error("the shape of a hash")
	}
	for in, want := range map[string]string{
		"smtp.mailfrom=b=c@a": "smtp.mailfrom=" + a.local("b=c", "a") + "@a", "x=b@a": a.local("x=b", "a") + "@a",
		"no address": "no address", "@a.example": "@a.example", `x="b c"@a.example!`: `x=` + a.local(`"b c"`, "a.example") + "@a.example!", `"d" "b c"@a`: a.local(`"d" "b c"`, "a") + "@a",
		"<b@a.example>,c@d": "<" + a.local("b", "a.example") + "@a.example>," + a.local("c", "d") + "@d", `b"@a`: a.local(`b"`, "a") + "@a", "a@@": a.local("a", "") + "@@",
	} {
		if got := a.text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What cannot be read is not told.
func TestUnreadableFieldsAreLeftOut(t *testing.T) {
	i := incident(t)
	for _, h := range []string{
		"From: secret\r\n", "From: <secret@x.example> secret\r\n", "Date: secret\r\n", "Message-ID: secret\r\n", "Message-ID: <secret@x@y>\r\n", "Message-ID: <secret secret@x>\r\n",
		"Message-ID: <" + strings.Repeat("secret", 100) + "@x>\r\n", "DKIM-Signature: secret\r\n", "DKIM-Signature: i=secret; secret=1; z=secret; d=secret@x; I=secret@x\r\n", "DKIM-Signature: i=secret@-\r\n",
		"Comments: secret\r\n", "Received: secret\r\n", "Return-Path: <secret@x.example>\r\n", "Authentication-Results: secret\r\n", "Reply-To: secret@x.example\r\n",
	} {
		i.Header = Excerpt(header(t, h))
		if _, about := Write(i, Redactor{[]byte("key")}); strings.Contains(string(about), "secret") || strings.Count(string(about), "\r\n") != 2 {
			t.Errorf("%q: %s", h, about)
		}
	}
}

func TestSignatureIsFoldedAndTold(t *testing.T) {
	i := incident(t)
	long := strings.Repeat("b", 700)
	i.Header, i.Helo = Excerpt(header(t, "DKIM-Signature: d=a.example; b="+long+"; d=b.example\r\n")), "x) by other (y"
	_, about := Write(i, Redactor{[]byte("key")})
	for line := range strings.SplitSeq(string(about), "\r\n") {
		if len(line) > 78 {
			t.Errorf("%d octets: %s", len(line), line)
		}
	}
	flat := strings.ReplaceAll(string(about), "\r\n ", "")
	if !strings.Contains(flat, long) || !strings.Contains(flat, "d=a.example;") || strings.Contains(flat, "b.example") || !strings.HasPrefix(flat, "Received: from unknown ([192.0.2.1])") {
		t.Errorf("got %s", flat)
	}
}

func TestDateIsWrittenAnew(t *testing.T) {
	i := incident(t)
	i.Header = Excerpt(header(t, "Date: Tue, 14 Nov 2023 22:13:20 +0000 (secret)\r\n"))
	if _, about := Write(i, Redactor{[]byte("key")}); strings.Contains(string(about), "secret") || !strings.HasSuffix(string(about), "\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n") {
		t.Errorf("got %s", about)
	}
}

func TestExcerptIsBounded(t *testing.T) {
	h := header(t, strings.Repeat("DKIM-Signature: "+strings.Repeat("x", 900)+"\r\n", 50)+strings.Repeat("From: "+strings.Repeat("y", 900)+"\r\n", 50)+"Subject: z\r\n")
	octets, signatures := 0, 0
	for _, f := range Excerpt(h) {
		octets += len(f.Raw)
		if f.Is("DKIM-Signature") {
			signatures++
		}
	}
	if octets > maxExcerpt || octets < maxExcerpt/2 || signatures != maxSignatures {
		t.Errorf("%d octets, %d signatures", octets, signatures)
	}
}

// TestNothingLeaks: whatever a stranger writes, the report is US-ASCII in
// lines of bearable length, our reader takes it, and a secret in any local part
// or field that is not on the list does not leave.
func TestNothingLeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		noise := rapid.OneOf(rapid.SampledFrom([]string{"", "a", "\r\n", "\x00", "\"", "@", "<", ">", ";", "=", "é", "\xff", strings.Repeat("x", 1200), "a@b.example", "=?utf-8?q?x?="}), rapid.String())
		s := func() string { return noise.Draw(t, "noise") }
		local := "SECRET" + rapid.StringMatching(`[a-z."= ;]{0,5}`).Draw(t, "local") + "SECRET"
		from, err := mail.NewAddress(local, addrs("x@author.example").Domain())
		if err != nil {
			t.Skip(err)
		}
		i := &Incident{ID: 1, At: time.Unix(1700000000, 0), Helo: s(), MailFrom: from, Domain: from.Domain(), Failure: DMARC, Delivery: "other",
			Results: "Authentication-Results: x; spf=fail smtp.mailfrom=" + from.String() + "\r\n", DKIMDomain: from.Domain(), DKIMSel: s(), DKIMID: local + "@author.example",
			SPFDomain: from.Domain(), SPFRecord: s(), ReportingBy: "mx.example", Agent: "G/1"}
		for _, name := range []string{"From", "Date", "Subject", "DKIM-Signature", "X-Other", "To", "From"} {
			value := s() + from.Path() + s()
			if name == "Subject" || name == "X-Other" || name == "DKIM-Signature" {
				value = s() + ";i=" + local + "@author.example;z=" + local
			}
			raw := strings.NewReplacer("\r", "", "\n", "").Replace(name + ": " + value)
			i.Header = append(i.Header, Excerpt(mail.Header{Fields: []mail.Field{{Name: name, Raw: []byte(raw + "\r\n")}}})...)
		}
		part, about := Write(i, Redactor{[]byte("key")})
		for _, b := range [][]byte{part, about} {
			for line := range strings.SplitSeq(string(b), "\r\n") {
				if len(line) > 998 || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
					t.Fatalf("line %q", line)
				}
			}
			if strings.Contains(string(b), "SECRET") {
				t.Fatalf("it tells the secret %q:\n%s", local, b)
			}
		}
		if len(part) > 8000 || len(about) > 30_000 {
			t.Fatalf("%d and %d octets", len(part), len(about))
		}
		if r, err := Parse(part, about); err != nil || r.Domain != "author.example" || r.AuthFailure != "dmarc" {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

func addrs(s string) mail.Address {
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		panic(err)
	}
	return a
}
