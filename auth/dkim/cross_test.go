package dkim

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"pgregory.net/rapid"

	"gatepost/auth/canon"
	"gatepost/mail"
)

// messages draws messages with odd folding, white space, 8-bit octets, long
// lines, repeated fields and bodies with empty lines at the end.
func messages() *rapid.Generator[string] {
	word := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9:;=,.-]{1,12}`), rapid.SampledFrom([]string{"ö", "\xff", "=?utf-8?q?x?=", "b=x;", strings.Repeat("x", 900)}))
	space := rapid.SampledFrom([]string{" ", "  ", "\t", " \t ", "\r\n ", " \r\n\t", ""})
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		words := func() {
			for range rapid.IntRange(0, 6).Draw(t, "words") {
				b.WriteString(space.Draw(t, "space") + word.Draw(t, "word"))
			}
		}
		for i := range rapid.IntRange(1, 8).Draw(t, "fields") {
			b.WriteString(rapid.SampledFrom([]string{"Subject", "TO", "x-a", "X-A", "Received", "Date"}).Draw(t, "name") + ":")
			words()
			fmt.Fprintf(&b, " %d\r\n", i)
		}
		b.WriteString("From: Joe  <joe@example.com>\r\n\r\n")
		for range rapid.IntRange(0, 8).Draw(t, "lines") {
			if rapid.Bool().Draw(t, "text") {
				words()
			}
			b.WriteString(rapid.SampledFrom([]string{"\r\n", " \r\n", "\t\r\n", "\r\n\r\n"}).Draw(t, "end"))
		}
		return b.String()
	})
}

// TestSignedByAnotherProgram: whatever go-msgauth signs, verifies; with one
// octet of the body changed, it does not.
func TestSignedByAnotherProgram(t *testing.T) {
	s := newEd25519Signer(t)
	o := testOptions(records{testKeyName: s.record})
	rapid.Check(t, func(t *rapid.T) {
		message := messages().Draw(t, "message")
		form := rapid.SampledFrom([]msgauth.Canonicalization{"simple", "relaxed"})
		signed := msgauthSign(t, &msgauth.SignOptions{Domain: "example.com", Selector: "s1", Signer: s.key.(ed25519.PrivateKey),
			HeaderCanonicalization: form.Draw(t, "header"), BodyCanonicalization: form.Draw(t, "body"),
			HeaderKeys: rapid.SampledFrom([][]string{nil, {"From", "Subject", "Subject", "X-A", "x-a", "To"}, {"From", "From", "Received", "Received", "Date"}}).Draw(t, "keys"),
		}, message)
		results, err := NewVerifier(o).Verify(t.Context(), mail.MemoryBody([]byte(signed)))
		if err != nil || len(results) != 1 || results[0].Value != Pass {
			t.Fatalf("%q: %v, %v", signed, describeResults(results), err)
		}
		results, err = NewVerifier(o).Verify(t.Context(), mail.MemoryBody([]byte(signed+"x")))
		if err != nil || len(results) != 1 || results[0].Value != Fail {
			t.Fatalf("with a longer body: %v, %v", describeResults(results), err)
		}
	})
}

// TestRemoveSignature: only the value of the tag b goes, with the white space
// around it.
func TestRemoveSignature(t *testing.T) {
	for in, want := range map[string]string{
		"D: a=1; b=xyz; c=2\r\n":                "D: a=1; b=; c=2\r\n",
		"D: a=1; b = x\r\n y z ;c=2\r\n":        "D: a=1; b =;c=2\r\n",
		"D: a=1; b=xyz\r\n":                     "D: a=1; b=",
		"D: a=1;\r\n\tb=x\r\n y\r\n":            "D: a=1;\r\n\tb=",
		"D:b=x; bh=b=y; xb=b; z=b=1|b:b=\r\n":   "D:b=; bh=b=y; xb=b; z=b=1|b:b=\r\n",
		"D : z=x; b=y; \r\n":                    "D : z=x; b=; \r\n",
		"D: a=1\r\n":                            "D: a=1\r\n",
		"D: B=x; b=y\r\n":                       "D: B=x; b=",
		"D-b=: a; b\r\n\t=\r\n\tQ/+=; h=b\r\n ": "D-b=: a; b\r\n\t=; h=b\r\n ",
	} {
		if got := string(canon.RemoveSignature([]byte(in))); got != want {
			t.Errorf("RemoveSignature(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzTags(f *testing.F) {
	for _, s := range []string{"a=1; b=2;", " v = DKIM1 ;\r\n p=\r\n x", ";;=", "a=b=c", "a", "1=2", "z=a|b;b=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags, err := ParseTags(s)
		if err != nil {
			return
		}
		var again strings.Builder
		for name, value := range tags {
			if strings.Contains(value, ";") || trimFWS(value) != value {
				t.Fatalf("%q: tag %s=%q", s, name, value)
			}
			again.WriteString(name + "=" + value + ";")
		}
		back, err := ParseTags(again.String())
		if err != nil || len(back) != len(tags) {
			t.Fatalf("%q is written as %q: %v", s, again.String(), err)
		}
		removed := canon.RemoveSignature([]byte("D:" + s))
		if without, err := ParseTags(string(removed[2:])); err != nil || without["b"] != "" || len(without) != len(tags) {
			t.Fatalf("%q without b= is %q: %v", s, removed, err)
		}
	})
}

func FuzzKey(f *testing.F) {
	for _, s := range []string{"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "p=", "v=DKIM1; p=MFww", "k=x; h=sha256; s=*; t=y:s; p=AA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := ParseKey(s)
		if (err == nil) != (key.Public != nil) || key.Bits > maxRSABits && err == nil {
			t.Fatalf("%q: %+v, %v", s, key, err)
		}
	})
}

// FuzzVerify: any message gets its results with bounded work, and none of them
// is a pass, for nobody has the key.
func FuzzVerify(f *testing.F) {
	s := newEd25519Signer(f)
	good := strings.Replace(s.sign(f, testTags, testMessage), " b=", " b=AAAA", 1)
	for _, message := range []string{good, testMessage, "DKIM-Signature: v=1; l=0;\r\n\r\n", "DKIM-Signature:\r\n", strings.Repeat("DKIM-Signature: b=\r\n", 60)} {
		f.Add([]byte(message))
	}
	v := NewVerifier(testOptions(records{testKeyName: s.record}))
	f.Fuzz(func(t *testing.T, message []byte) {
		results, work, err := v.verify(t.Context(), mail.MemoryBody(message))
		if err != nil || len(results) > maxResults+1 {
			t.Fatalf("%d results, %v", len(results), err)
		}
		if limit := int64(12*len(message) + 40); work > limit {
			t.Fatalf("%d octets hashed for a message of %d", work, len(message))
		}
		for _, r := range results {
			if r.Value == Pass || r.Value == "" || (r.Reason == "") || !bytes.Equal([]byte(r.Reason), []byte(mail.SafeText(r.Reason, 400))) {
				t.Fatalf("result %+v", r)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	ed := newEd25519Signer(b)
	for _, size := range []int{5 << 10, 50 << 10, 1 << 20} {
		message := "From: Joe <joe@example.com>\r\nTo: ann@example.net\r\nSubject: dinner\r\nX-Filler: " + strings.Repeat("abcdefghi\r\n ", 90) +
			"\r\n\r\n" + strings.Repeat("some words of a letter that fill a line, and some more of them after that\r\n", size/75)
		for name, s := range map[string]signer{"ed25519": ed, "rsa": rsaSigner(b, benchKey(b))} {
			signed := s.sign(b, strings.Replace(testTags, "ed25519", name, 1), message)
			for _, count := range []int{1, 3, 10} {
				field, _, _ := strings.Cut(signed, "From: Joe")
				body := mail.MemoryBody([]byte(strings.Repeat(field, count-1) + signed))
				v := NewVerifier(testOptions(records{testKeyName: s.record}))
				b.Run(fmt.Sprintf("%dKiB/%s/%d", size>>10, name, count), func(b *testing.B) {
					b.ReportAllocs()
					b.SetBytes(body.Size())
					for b.Loop() {
						if results, err := v.Verify(b.Context(), body); err != nil || results[0].Value != Pass {
							b.Fatal(describeResults(results), err)
						}
					}
				})
			}
		}
	}
}
