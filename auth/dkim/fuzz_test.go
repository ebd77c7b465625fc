package dkim

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatepost/mail"
)

// FuzzSignature: what a DKIM-Signature says does not hang on the order of its
// tags, stays within its bounds, and is safe to show even where it is broken.
func FuzzSignature(f *testing.F) {
	for _, s := range []string{
		"v=1; a=rsa-sha256; d=example.com; s=s1; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA",
		" v=1; a=ed25519-sha256; c=relaxed; d=ex.example; s=a.b; i=joe=40x@sub.ex.example; l=10; t=1; x=2; q=dns/txt; h=From : To; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU; b=\r\n A A",
		"v=2; b=x", "a=rsa-sha1", "i=\x1b[31m@x; d=\xff", "v=1;;;", "d=bücher.example; s=ü",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		field := mail.Field{Name: "DKIM-Signature", Raw: []byte("DKIM-Signature:" + value)}
		var result Result
		s, fault := parseSignature(field, &result)
		for _, shown := range []string{result.Algorithm, result.Identity, result.B, result.Selector} {
			if mail.SafeText(shown, 320) != shown {
				t.Fatalf("%q: %q is not safe", value, shown)
			}
		}
		if fault != nil {
			if s != nil || fault.reason == "" || mail.SafeText(fault.reason, 400) != fault.reason {
				t.Fatalf("%q: fault %+v", value, fault)
			}
			return
		}
		if !slices.Contains(s.names, "from") || len(s.names) > maxSignedNames || len(s.bodyHash) != 32 || !s.identity.Within(s.domain) ||
			len(KeyName(s.domain, s.selector.String())) > 253 || s.body.Limit < -1 || s.expires >= 0 && s.expires <= s.signed {
			t.Fatalf("%q: %+v", value, s)
		}
		specs := strings.Split(value, ";")
		slices.Reverse(specs)
		field.Raw = []byte("DKIM-Signature:" + strings.Join(specs, ";"))
		other, fault := parseSignature(field, &Result{})
		if fault != nil {
			t.Fatalf("%q: backwards %v", value, fault)
		}
		if other.field = s.field; !reflect.DeepEqual(other, s) {
			t.Fatalf("%q: %+v, backwards %+v", value, s, other)
		}
	})
}

// FuzzBase64: white space and padding mean nothing, and what is read is what
// the standard library reads.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "AAAA", "A A\r\n\tA=", "AA==", "A", "====", "AB", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := DecodeBase64(s)
		if err != nil {
			return
		}
		if len(got) > len(s) {
			t.Fatalf("%q: %d octets", s, len(got))
		}
		again, err := DecodeBase64(base64.StdEncoding.EncodeToString(got))
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q: %x, again %x, %v", s, got, again, err)
		}
		if decoded := decodeQuotedPrintable(s); len(decoded) > len(s) {
			t.Fatalf("%q grows to %q", s, decoded)
		}
	})
}
