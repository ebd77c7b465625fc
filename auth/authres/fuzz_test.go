package authres

import (
	"strings"
	"testing"

	"gatepost/mail"
)

// FuzzInstance: what stands behind the instance is the end of the value, and
// the instance is one word.
func FuzzInstance(f *testing.F) {
	for _, s := range []string{"i=1; mx.example; none", " (c) i = 50 ;", "i=1", "I=1;x", "i=1 1;x", "i=;", "i=\"1\";x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		instance, rest, err := ReadInstance(value)
		if err != nil {
			return
		}
		if !strings.HasSuffix(value, ";"+rest) || strings.ContainsAny(instance, " \t\r\n;(\"=\\") {
			t.Fatalf("%q: instance %q, rest %q", value, instance, rest)
		}
		again, behind, err := ReadInstance("i=" + instance + ";" + rest)
		if err != nil || again != instance || behind != rest {
			t.Fatalf("%q: instance %q reads %q, %q, %v", value, instance, again, behind, err)
		}
	})
}

// FuzzFormat: whatever a stranger puts into a reason or a value, two readers
// find the results that were meant, and nothing else.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{"joe@example.com", `x"; dkim=pass`, `\"; dkim=pass`, "a\r\n spf=pass", "a(b", "dmarc=pass@x.example", "\xff\xfe", ";", "a@@b"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, reason, value string) {
		wrote := []Method{{"dkim", "fail", reason, []Prop{{"header", "d", value}, {"header", "i", "@" + value}}}, {Name: "spf", Result: "none"}}
		field := string(Format("mx.example.com", wrote))
		id, strict, err := parseStrict(field)
		if err != nil || id != "mx.example.com" || len(strict) != 2 || strict[0].Result != "fail" || strict[1].Result != "none" {
			t.Fatalf("%q, %q: %q reads as %q, %v, %v", reason, value, field, id, strict, err)
		}
		id, ours, err := Read(strings.TrimPrefix(field, FieldName+":"))
		if err != nil || id != "mx.example.com" || len(ours) != 2 || ours[0].Result != "fail" || len(ours[0].Props) != len(strict[0].Props) {
			t.Fatalf("%q, %q: %q reads as %q, %v, %v", reason, value, field, id, ours, err)
		}
		for _, word := range []string{"dkim=pass", "dmarc=pass", "spf=pass", "arc=pass"} {
			if strings.Contains(strings.ToLower(field), word) {
				t.Fatalf("%q, %q: %q holds %s", reason, value, field, word)
			}
		}
		h, err := mail.ParseHeader([]byte(field))
		if err != nil || len(h.Fields) != 1 || len(Forged(h, "mx.example.com")) != 1 {
			t.Fatalf("%q, %q: %q is %d fields, %v", reason, value, field, len(h.Fields), err)
		}
	})
}

// FuzzForgedRead: a field that any reader of ours takes for one of ours is
// taken out, in whatever form it names us.
func FuzzForgedRead(f *testing.F) {
	for _, s := range []string{"mx.example.com; none", " (a(b)) MX.example.COM. 1; spf=pass", `"mx.example.com"; none`, `mx."example".com; none`, "m\\x.example.com; none", "mx.example.com", `"mx".example.com; x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		folded := strings.NewReplacer("\r", "", "\n", "").Replace(value)
		h, err := mail.ParseHeader([]byte(FieldName + ": " + folded + "\r\n"))
		if err != nil || len(h.Fields) != 1 {
			return
		}
		id, _, err := Read(h.Fields[0].Value())
		ours := err == nil && strings.EqualFold(strings.TrimSuffix(strings.TrimSpace(id), "."), "mx.example.com")
		if ours && len(Forged(h, "mx.example.com")) != 1 {
			t.Fatalf("%q reads as a field of %q and stays", value, id)
		}
	})
}
