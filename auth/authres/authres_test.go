package authres

import (
	"reflect"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/authres"
	"pgregory.net/rapid"

	"gatepost/mail"
)

func TestFormat(t *testing.T) {
	got := string(Format("mx.example.com", []Method{
		{"spf", "pass", "", []Prop{{"smtp", "mailfrom", "joe+x=y@example.net"}, {"smtp", "helo", "mail.example.net"}}},
		{"dkim", "fail", "body hash did not verify", []Prop{{"header", "d", "example.net"}, {"header", "b", "Au/EfDxT"}, {"header", "i", "@example.net"}}},
		{"iprev", "pass", "", []Prop{{"policy", "iprev", "2001:db8::1"}, {"policy", "empty", ""}}},
	}))
	want := "Authentication-Results: mx.example.com;\r\n" +
		" spf=pass smtp.mailfrom=joe+x=y@example.net smtp.helo=mail.example.net;\r\n" +
		" dkim=fail reason=\"body hash did not verify\" header.d=example.net\r\n" +
		" header.b=\"Au/EfDxT\" header.i=@example.net;\r\n" +
		" iprev=pass policy.iprev=\"2001:db8::1\"\r\n"
	if got != want {
		t.Errorf("Format =\n%s\nwant\n%s", got, want)
	}
	if got := string(Format("example.com", []Method{{"spf", "none", "", []Prop{{"smtp.x=y", "z", "v"}, {"smtp", "a b", "v"}, {"", "x", "v"}, {"smtp", "-", "v"}}}})); got != "Authentication-Results: example.com;\r\n spf=none\r\n" {
		t.Errorf("names that are none: %q", got)
	}
	if got := string(Format("example.com", []Method{{"", "pass", "", nil}, {"x=y", "pass", "", nil}})); got != "Authentication-Results: example.com;\r\n none\r\n" {
		t.Errorf("no methods: %q", got)
	}
}

// TestFormatHostileValues: what a sender wrote stays a value.
func TestFormatHostileValues(t *testing.T) {
	for in, want := range map[string]string{
		`x"; dkim=pass header.d=bank.example`: `"x', dkim:pass header.d:bank.example"`,
		`x\"; dkim=pass`:                      `"x/', dkim:pass"`,
		"x\r\n dkim=pass":                     `"x?? dkim:pass"`,
		"x\r\nBcc: y":                         `"x??Bcc: y"`,
		"a(b":                                 `"a(b"`,
		`"x; dkim=pass header.d=bank.example"@a.test`: "@a.test",
		"jö@example.com":   "@example.com",
		"joe@[192.0.2.1]":  `"joe@[192.0.2.1]"`,
		"a@b@example.com":  "@example.com",
		"a@@a":             "@a", // a local part with @ needs quoting
		"joe@example.com.": `"joe@example.com."`,
		strings.Repeat("x", 400) + "@example.com":      `"` + strings.Repeat("x", 320) + `..."`,
		strings.Repeat("a.", 158) + "example.evil.com": `"` + strings.Repeat("a.", 158) + `exam..."`,
	} {
		if got := formatValue(in); got != want {
			t.Errorf("formatValue(%q) = %s, want %s", in, got, want)
		}
	}
}

// A signature with i=dmarc=pass@evil.example, a=dkim=pass or b=spf=pass put
// these words into our field, where rules of mailbox servers look for them.
func TestNoValueReadsAsResult(t *testing.T) {
	for _, value := range []string{"dmarc=pass@evil.example", "DKIM=Pass", "spf=pass", `"x dmarc=pass"@evil.example`, "version 'dmarc=pass' is not known",
		"dmarc=pass", "dmarc=pass@[192.0.2.1]"} {
		field := string(Format("mx.example.com", []Method{{"dkim", "permerror", value, []Prop{{"header", "i", value}}}}))
		if strings.Contains(strings.ToLower(field), "=pass") {
			t.Errorf("%q: %s", value, field)
		}
	}
}

// meant is what a reader must get for a value: the value itself where it can
// be written, else what the package comment promises.
func meant(v string) string {
	if claims(v) {
		return ""
	}
	if !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\;`, r) }) {
		if local, _, ok := cutLast(v, "@"); !ok || !strings.ContainsAny(local, " ()<>,:[]@") && !strings.Contains("."+local+".", "..") {
			return v
		}
	}
	return ""
}

func values() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-z0-9.+=/_-]{1,20}(@[a-z]{1,10}(\.[a-z]{2,5}){1,3})?`),
		rapid.StringMatching(`[a-z"\\;=@(){}<>\r\n\t ,:\[\]]{1,30}`),
		rapid.SampledFrom([]string{`"; dkim=pass`, `\"; dkim=pass`, "a\r\n b", "x\"@example.com", "\\\"@example.com", "dkim=pass@example.com"}),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "octets")) }),
	)
}

func TestFormatIsReadAsMeant(t *testing.T) {
	keyword := rapid.StringMatching(`[a-z][a-z0-9]{0,8}`)
	method := rapid.Custom(func(t *rapid.T) Method {
		return Method{
			Name: keyword.Draw(t, "name"), Result: keyword.Draw(t, "result"),
			Reason: rapid.OneOf(rapid.Just(""), values()).Draw(t, "reason"),
			Props: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Prop {
				return Prop{"p" + keyword.Draw(t, "ptype"), keyword.Draw(t, "property"), values().Draw(t, "value")}
			}), 0, 4).Draw(t, "props"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		methods := rapid.SliceOfN(method, 1, 5).Draw(t, "methods")
		field := string(Format("mx.example.com", methods))
		id, read, err := parseStrict(field)
		if err != nil || id != "mx.example.com" || len(read) != len(methods) {
			t.Fatalf("%q reads as %q with %d methods, %v; want %d", field, id, len(read), err, len(methods))
		}
		for i, m := range methods {
			checkMethod(t, m, read[i])
		}
		for line := range strings.SplitSeq(field, "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("line %q", line)
			}
		}
		_, results, err := msgauth.Parse(strings.TrimPrefix(strings.ReplaceAll(field, "\r\n", ""), FieldName+": "))
		if err != nil || len(results) != len(methods) {
			t.Fatalf("%q: go-msgauth reads %d results, %v", field, len(results), err)
		}
	})
}

// TestFormatIsReadAsMeantFixed: values that the property test once failed on.
func TestFormatIsReadAsMeantFixed(t *testing.T) {
	for _, value := range []string{"a@@a", "@@a", "a@b@c", "@a", "a@"} {
		m := Method{"x", "pass", value, []Prop{{"p", "x", value}}}
		_, read, err := parseStrict(string(Format("mx.example.com", []Method{m})))
		if err != nil || len(read) != 1 {
			t.Fatalf("%q: %v, %v", value, read, err)
		}
		checkMethod(t, m, read[0])
	}
}

func checkMethod(t rapid.TB, wrote, read Method) {
	if read.Name != wrote.Name || read.Result != wrote.Result || len(read.Props) != len(wrote.Props) {
		t.Fatalf("wrote %+v, read %+v", wrote, read)
	}
	if want := meant(wrote.Reason); want != "" && !strings.Contains(want, "  ") && strings.TrimSpace(want) != read.Reason {
		t.Fatalf("reason %q reads as %q", wrote.Reason, read.Reason)
	}
	for i, p := range wrote.Props {
		got := read.Props[i]
		if got.PType != p.PType || got.Property != p.Property || meant(p.Value) != "" && got.Value != meant(p.Value) {
			t.Fatalf("wrote %+v, read %+v", p, got)
		}
		if _, domain, ok := cutLast(p.Value, "@"); ok && isDomain(domain) && !strings.HasSuffix(got.Value, "@"+domain) {
			t.Fatalf("wrote %+v, read %+v: the domain is another", p, got)
		}
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func TestForged(t *testing.T) {
	ours := []string{
		"mx.example.com; dkim=pass", " MX.Example.COM ; dkim=pass", "\r\n mx.example.com;\r\n dkim=pass", "mx.example.com 1; none",
		"mx.example.com/1; none", "(x) mx.example.com; none", "(x (y\\)) z)\r\n (w) mx.example.com (v) 1 (u); none", `"mx.example.com"; none`,
		`"mx.exam\ple.com"; none`, `" mx.example.com "; none`, "mx.example.com", "mx.example.com dkim=pass", "mx.example.com.; none", "mx.example.com(c); none",
		"mx.example.com=x", `"mx".example.com; none`, `mx."example".com; none`, "mx(c).example.com; none", "mx (c) .example (d)\r\n .com; none", `"mx" ".example.com"; none`,
		`"mx".example.com 1; none`, "MX.EXAMPLE.COM.\t(c)\r\n 1 ; spf=pass", `"MX.EXAMPLE.COM." 1; none`, "((c) (d)) mx.example.com;", "mx.example.com;", "mx.example.com ;;", `"mx.example.com"x; none`, ")mx.example.com; none", "(a)) mx.example.com; none", // and what cannot be read:
		"", "; dkim=pass", "(x", "(x; mx.example.com", `"mx.example.com`, "=?utf-8?q?mx.example.com?=; none", "mx.example\x00.com; none",
		"m\xc3\xbcx.example; none", `mx.exa"mple".com; none`, strings.Repeat("(", 17) + strings.Repeat(")", 17) + "other.example; none", "<mx.example.com>; none", "mx.example.com, x; none", "mx.example.com:25; none", "mx.example.com@other.example; none",
	}
	theirs := []string{"other.example; dkim=pass", "example.com; none", "mx.example.com.other.example; none", "amx.example.com; none",
		"(mx.example.com) other.example; none", `"other.example" (mx.example.com); none`, "other.example; x=mx.example.com", "(a) other.example 1; none", `"other.example" 1; none`, "other.example/1; none",
		"other.example", "other.example;", "mx (c) .example; com", "mx.example; .com", "xmx.example.com.; none", `"oth\er.example"; none`, `" other.example "; none`, "(\\)) other.example; none", "mx.example.com2; none", `"[IPv6:2001:db8::1]"; none`}
	check := func(name, value string, want bool) {
		raw := "Subject: x\r\n" + name + value + "\r\nFrom: a@b\r\n\r\n"
		h, err := mail.ParseHeader([]byte(raw))
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		got := Forged(h, "mx.example.com")
		if (len(got) == 1) != want {
			t.Errorf("%q: spans %v, want one: %v", raw, got, want)
		}
		if len(got) == 1 && !reflect.DeepEqual(got[0], h.Fields[1].Span()) {
			t.Errorf("%q: span %v", raw, got)
		}
	}
	for _, value := range ours {
		check("Authentication-Results:", value, true)
		check("AUTHENTICATION-RESULTS :", value, true)
		check("X-Authentication-Results:", value, false)
	}
	for _, value := range theirs {
		check("Authentication-Results:", value, false)
	}
}

// An authserv-id with U-labels went out as "b?cher.example", and forged fields
// with its A-labels stayed.
func TestInternationalAuthservID(t *testing.T) {
	if got := string(Format("Bücher.example", nil)); got != "Authentication-Results: xn--bcher-kva.example;\r\n none\r\n" {
		t.Errorf("written %q", got)
	}
	for _, id := range []string{"xn--bcher-kva.example", "XN--Bcher-KVA.example.", "bücher.example"} {
		h, err := mail.ParseHeader([]byte("Authentication-Results: " + id + "; dkim=pass\r\n"))
		if err != nil || len(Forged(h, "bücher.example")) != 1 {
			t.Errorf("%q stays, %v", id, err)
		}
	}
}

func FuzzForged(f *testing.F) {
	for _, s := range []string{"mx.example.com; none", "(a(b)) x", `"a\"b"`, "\"", "(", "x/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		id, ok := claimedID(value)
		if ok && (id == "" || strings.ContainsAny(id, " \t\r\n\"\\")) {
			t.Fatalf("%q claims %q", value, id)
		}
		written := formatValue(value)
		p := &strictParser{written}
		if got := p.pvalue(); value != "" && (p.s != "" || got == "") {
			t.Fatalf("%q is written as %q", value, written)
		}
	})
}
