package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/auth/keyring"
	"gatepost/mail"
)

const simple = "From: a@example.com\r\n\r\nx\r\n"

func TestWhoIsSigned(t *testing.T) {
	b := newBench(t, "example.com", "sub.example.com", "example.org")
	deep := both()
	deep.Subdomains = true
	near := Rule{Domains: []string{"sub.example.com"}, Algorithms: []string{"ed25519"}}
	rest := Rule{Domains: []string{"example.org", "nokey.example"}}
	signers := []*Signer{b.signer(t, rest, deep, near), b.signer(t, near, rest, deep)}
	for _, c := range []struct {
		name, from string
		role       mail.Role
		want       string // keys
	}{
		{"own domain", "example.com", mail.RoleRelay, "example.com/r1 example.com/e1"},
		{"subdomain", "mail.example.com", mail.RoleRelay, "example.com/r1 example.com/e1"},
		{"the nearest rule", "sub.example.com", mail.RoleRelay, "sub.example.com/e1"},
		{"subdomain of a rule without subdomains", "x.sub.example.com", mail.RoleRelay, "example.com/r1 example.com/e1"},
		{"RSA by default", "example.org", mail.RoleRelay, "example.org/r1"},
		{"no rule for its subdomain", "x.example.org", mail.RoleRelay, ""},
		{"a name that only ends alike", "notexample.com", mail.RoleRelay, ""},
		{"no key", "nokey.example", mail.RoleRelay, ""},
		{"no rule", "other.example", mail.RoleRelay, ""},
		{"our own notices", "example.com", mail.RoleInternal, "example.com/r1 example.com/e1"},
		{"mail of strangers", "example.com", mail.RoleMX, ""},
		{"no role", "example.com", "", ""},
		{"not vouched for", "", mail.RoleRelay, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := vouched(t, simple)
			m.Origin = mail.Origin{Role: c.role}
			if c.from != "" {
				m.Origin.From = domain(t, c.from)
			}
			for _, s := range signers {
				_, names, err := s.Sign(t.Context(), m, c.name, m.Open)
				if got := strings.Join(names, " "); got != c.want || err != nil {
					t.Errorf("got %q, %v; want %q", got, err, c.want)
				}
			}
		})
	}
}

func TestPendingAndRetiredKeysDoNotSign(t *testing.T) {
	b := newBench(t, "example.com")
	if err := b.ring.Retire(t.Context(), domain(t, "example.com"), "r1"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ring.Create(t.Context(), domain(t, "example.com"), keyring.RSA2048, "r2", false); err != nil {
		t.Fatal(err)
	}
	if got := sign(t, b.signer(t, both()), vouched(t, simple)); !strings.Contains(got, "s=e1;") || strings.Contains(got, "s=r") {
		t.Errorf("got %s", got)
	}
}

func TestExistingSignatures(t *testing.T) {
	b := newBench(t, "example.com")
	ours := "DKIM-Signature: v=1; a=rsa-sha256;\r\n d = Example.\r\n com; s=old; h=from; bh=x; b=x\r\n"
	foreign := "DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=from; bh=x; b=x\r\n"
	for _, c := range []struct {
		existing, message string
		want              []string // of our verifier, values only
	}{
		{"", ours + simple, []string{"permerror"}},
		{Keep, ours + simple, []string{"permerror"}},
		{Keep, foreign + simple, []string{"pass", "pass", "permerror"}},
		{Add, ours + simple, []string{"pass", "pass", "permerror"}},
		{Replace, ours + simple + ours, []string{"pass", "pass"}},
		{Replace, foreign + ours + simple, []string{"pass", "pass", "permerror"}},
	} {
		t.Run(c.existing+" "+fmt.Sprint(len(c.message)), func(t *testing.T) {
			r := both()
			r.Existing = c.existing
			s, m := b.signer(t, r), vouched(t, c.message)
			h, err := mail.HeaderOf(t.Context(), m.Content, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if s.Replaces(m.Origin.From) != (c.existing == Replace) {
				t.Error("Replaces is wrong")
			}
			m.Cuts = s.Cuts(t.Context(), m, h)
			in, err := m.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			final, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range b.verify(t, sign(t, s, m)+string(final)) {
				got = append(got, strings.Fields(r)[0])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v\n%s", got, c.want, final)
			}
		})
	}
}

func TestCutsKeepThoseThatAreThere(t *testing.T) {
	b := newBench(t, "example.com")
	r := both()
	r.Existing = Replace
	m := vouched(t, "X-Cut: 1\r\nDKIM-Signature: d=example.com\r\n"+simple)
	m.Cuts = []mail.Span{{Offset: 0, Length: 10}}
	h, err := mail.HeaderOf(t.Context(), m.Content, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := b.signer(t, r).Cuts(t.Context(), m, h)
	if !slices.Equal(got, []mail.Span{{Offset: 0, Length: 10}, h.Fields[1].Span()}) {
		t.Errorf("got %v", got)
	}
	if m.Cuts = got; !slices.Equal(b.signer(t, r).Cuts(t.Context(), m, h), got) {
		t.Error("asked twice, it cuts twice")
	}
}

func TestARetryDoesNotSignAgain(t *testing.T) {
	b := newBench(t, "example.com")
	s, m, in := b.signer(t, both()), vouched(t, simple), &opener{text: simple}
	signIt := func(form string) string {
		fields, _, err := s.Sign(t.Context(), m, form, in.open)
		if err != nil {
			t.Fatal(err)
		}
		return string(fields)
	}
	first := signIt("as-is")
	if signIt("as-is") != first || in.count != 1 {
		t.Errorf("read %d times", in.count)
	}
	if signIt("7bit"); in.count != 2 {
		t.Error("another form was not signed")
	}
	m.ID++
	if signIt("as-is"); in.count != 3 {
		t.Error("another message was not signed")
	}
	b.clock.at = b.clock.at.Add(2 * 24 * time.Hour) // more than a quarter of x=
	if signIt("as-is"); in.count != 4 {
		t.Error("an ageing signature was sent")
	}
	if _, err := b.ring.Create(t.Context(), domain(t, "example.com"), keyring.Ed25519, "e2", true); err != nil {
		t.Fatal(err)
	}
	if got := signIt("as-is"); in.count != 5 || !strings.Contains(got, "s=e2;") {
		t.Error("a new key did not sign")
	}
}

func TestReadErrorsAreTold(t *testing.T) {
	b := newBench(t, "example.com")
	broken := errors.New("disk gone")
	for name, open := range map[string]Opener{
		"open":   (&opener{err: broken}).open,
		"header": func(context.Context) (io.ReadCloser, error) { return io.NopCloser(failing("From: a@e", broken)), nil },
		"body":   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(failing(simple, broken)), nil },
	} {
		fields, _, err := b.signer(t, both()).Sign(t.Context(), vouched(t, simple), name, open)
		if !errors.Is(err, broken) || fields != nil {
			t.Errorf("%s: got %q, %v", name, fields, err)
		}
	}
}

func failing(text string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(text), iotestErr{err})
}

type iotestErr struct{ err error }

func (e iotestErr) Read([]byte) (int, error) { return 0, e.err }

func TestARunOfBlankLinesIsNotHeldInMemory(t *testing.T) {
	b := newBench(t, "example.com")
	s := b.signer(t, both())
	if got := sign(t, s, vouched(t, simple+strings.Repeat("\r\n", maxBlank/2-100)+"x\r\n")); got == "" {
		t.Error("a long run was not signed")
	}
	m := vouched(t, simple+strings.Repeat("\r\n", maxBlank)+"x\r\n")
	m.ID = 2
	if got := sign(t, s, m); got != "" {
		t.Error("signed all the same")
	}
}

func TestBlankGuardCountsAcrossWrites(t *testing.T) {
	half := []byte(strings.Repeat(" ", maxBlank/2+1))
	for _, c := range []struct {
		name  string
		parts [][]byte
		fails bool
	}{
		{"in two writes", [][]byte{half, half}, true},
		{"end and beginning", [][]byte{append([]byte("x"), half...), append(slices.Clone(half), 'x')}, true},
		{"text between", [][]byte{half, []byte("x"), half}, false},
	} {
		g, failed := &blankGuard{}, false
		for _, p := range c.parts {
			_, err := g.Write(p)
			failed = failed || err != nil
		}
		if failed != c.fails {
			t.Errorf("%s: failed %v", c.name, failed)
		}
	}
}

func TestSignContentForAnAdministrator(t *testing.T) {
	b := newBench(t, "example.com")
	s := b.signer(t, both(), Rule{Domains: []string{"nokey.example"}})
	fields, names, err := s.SignContent(t.Context(), mail.MemoryBody([]byte(simple)))
	if err != nil || len(names) != 2 || !strings.HasPrefix(b.verify(t, string(fields)+simple)[0], "pass ") {
		t.Errorf("got %v, %v", names, err)
	}
	for message, want := range map[string]string{
		"From: a@nokey.example\r\n\r\n": "no active DKIM key for nokey.example",
		"From: a@other.example\r\n\r\n": "no rule",
		"Subject: x\r\n\r\n":            "no From field",
	} {
		if _, _, err := s.SignContent(t.Context(), mail.MemoryBody([]byte(message))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestEveryWrongOptionIsToldByPath(t *testing.T) {
	_, err := New(Options{Rules: []Rule{
		{Domains: []string{"example.com", "-"}, Algorithms: []string{"rsa-2048", "rsa", "rsa-2048"}, Headers: []string{"From", "Received", "a b"}, Oversign: []string{""}, Existing: "drop", Expire: -1},
		{}, {Domains: []string{"EXAMPLE.com"}},
	}})
	var got []string
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if f := (*FieldError)(nil); errors.As(e, &f) {
				got = append(got, strings.TrimPrefix(f.Path, "dkim."))
			}
		}
	}
	want := []string{"sign[0].domains[1]", "sign[0].algorithms[1]", "sign[0].algorithms[2]", "sign[0].headers[1]", "sign[0].headers[2]",
		"sign[0].oversign[0]", "sign[0].existing", "sign[0].expire", "sign[1].domains", "sign[2].domains[0]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func BenchmarkSign(b *testing.B) {
	message := plainHeader + "\r\n" + strings.Repeat("a line of sixty octets, as mail is written by most people..\r\n", 80)
	for _, algorithm := range []string{"rsa-2048", "ed25519"} {
		b.Run(algorithm, func(b *testing.B) {
			s := newBench(b, "example.com").signer(b, Rule{Domains: []string{"example.com"}, Algorithms: []string{algorithm}})
			m := vouched(b, message)
			b.SetBytes(int64(len(message)))
			for b.Loop() {
				m.ID++
				if _, names, err := s.Sign(b.Context(), m, "as-is", m.Open); err != nil || len(names) != 1 {
					b.Fatal(names, err)
				}
			}
		})
	}
}
