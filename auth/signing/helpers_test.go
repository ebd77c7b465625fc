package signing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"gatepost/auth/dkim"
	"gatepost/auth/keyring"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"

	msgauth "github.com/emersion/go-msgauth/dkim"
)

// bench is a key ring with keys of both kinds for some domains, their zone,
// and both verifiers.
type bench struct {
	ring  *keyring.Ring
	zone  map[string]string
	dns   *dnstest.Server
	clock *clock
}

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newBench(t testing.TB, domains ...string) *bench {
	t.Helper()
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{keyring.Schema()}})
	ring, err := keyring.New(t.Context(), keyring.Options{Store: s, SealKey: bytes.Repeat([]byte{7}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ring: ring, zone: map[string]string{}, clock: &clock{time.Now()}}
	var lines []string
	for _, name := range domains {
		for _, a := range []keyring.Algorithm{keyring.RSA2048, keyring.Ed25519} {
			k, err := ring.Create(t.Context(), domain(t, name), a, string(a[:1])+"1", true)
			if err != nil {
				t.Fatal(err)
			}
			b.zone[k.RecordName()] = k.Record()
			lines = append(lines, k.ZoneLine())
		}
	}
	b.dns = dnstest.New(t, strings.Join(lines, "\n")+"\n")
	return b
}

func (b *bench) signer(t testing.TB, rules ...Rule) *Signer {
	t.Helper()
	s, err := New(Options{Rules: rules, Keys: b.ring, Now: b.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// both signs with RSA and Ed25519.
func both() Rule {
	return Rule{Domains: []string{"example.com"}, Algorithms: []string{"rsa-2048", "ed25519"}, Expire: 7 * 24 * time.Hour}
}

// vouched is a message of a relay session.
func vouched(t testing.TB, content string) *mail.Message {
	return &mail.Message{ID: 1, Content: mail.MemoryBody([]byte(content)),
		Origin: mail.Origin{Role: mail.RoleRelay, From: domain(t, "example.com")}}
}

func sign(t testing.TB, s *Signer, m *mail.Message) string {
	t.Helper()
	fields, names, err := s.Sign(t.Context(), m, "as-is", m.Open)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(fields), "DKIM-Signature:"); got != len(names) {
		t.Fatalf("%d fields for keys %v", got, names)
	}
	return string(fields)
}

// verify asks our own verifier: "pass d s a" of each signature.
func (b *bench) verify(t testing.TB, message string) []string {
	t.Helper()
	results, err := dkim.NewVerifier(dkim.Options{Resolver: b.dns.Resolver(t)}).Verify(t.Context(), mail.MemoryBody([]byte(message)))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range results {
		out = append(out, r.Value+" "+r.Domain.String()+" "+r.Selector+" "+r.Algorithm)
	}
	return out
}

// verifyOther asks the library's verifier, which wants an empty line.
func (b *bench) verifyOther(t testing.TB, message string) (passed, failed int) {
	t.Helper()
	if !strings.Contains(message, "\r\n\r\n") {
		message += "\r\n"
	}
	results, err := msgauth.VerifyWithOptions(strings.NewReader(message), &msgauth.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if text, ok := b.zone[strings.TrimSuffix(name, ".")]; ok {
			return []string{text}, nil
		}
		return nil, errors.New("no such record")
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			failed++
			t.Logf("%s: %v", r.Domain, r.Err)
		} else {
			passed++
		}
	}
	return passed, failed
}

// opener counts how often a message is read.
type opener struct {
	text  string
	count int
	err   error
	block chan struct{}
}

func (o *opener) open(context.Context) (io.ReadCloser, error) {
	o.count++
	if o.block != nil {
		<-o.block
	}
	return io.NopCloser(strings.NewReader(o.text)), o.err
}
