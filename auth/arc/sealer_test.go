package arc

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/auth/keyring"
	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
)

// sealerBench is a key ring with a key of each kind, their zone, and a Sealer
// whose log is kept.
type sealerBench struct {
	ring  *keyring.Ring
	zone  records
	log   bytes.Buffer
	at    time.Time
	opens int
}

func newSealerBench(t *testing.T) *sealerBench {
	t.Helper()
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{keyring.Schema()}})
	b := &sealerBench{zone: records{}, at: testTime}
	var err error
	if b.ring, err = keyring.New(t.Context(), keyring.Options{Store: s, SealKey: bytes.Repeat([]byte{7}, 32)}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *sealerBench) key(t *testing.T, name string, a keyring.Algorithm, selector string) {
	t.Helper()
	k, err := b.ring.Create(t.Context(), domain(t, name), a, selector, true)
	if err != nil {
		t.Fatal(err)
	}
	b.zone[k.RecordName()] = k.Record()
}

func (b *sealerBench) sealer(t *testing.T, o SealerOptions) *Sealer {
	t.Helper()
	if o.Domain == "" {
		o.Domain = "gate.test"
	}
	o.Keys, o.Now, o.Logger = b.ring, func() time.Time { return b.at }, slog.New(slog.NewTextHandler(&b.log, nil))
	o.Headers, o.Oversign = []string{"From", "To", "Subject"}, []string{"From"}
	s, err := NewSealer(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judged is a message of a stranger with what we wrote above it.
func judged(id mail.ID, content string) *mail.Message {
	return &mail.Message{ID: id, Content: mail.MemoryBody([]byte(content)), Origin: mail.Origin{Role: mail.RoleMX},
		Prefix: []byte("X-Tag: a\r\nAuthentication-Results: gate.test;\r\n spf=pass smtp.mailfrom=author.test\r\nReceived: from a by b; c\r\n")}
}

func (b *sealerBench) open(m *mail.Message) Opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		b.opens++
		return m.Open(ctx)
	}
}

func (b *sealerBench) seal(t *testing.T, s *Sealer, m *mail.Message, was Result) (sealed, name string) {
	t.Helper()
	fields, name, err := s.Seal(t.Context(), m, "as-is", was, b.open(m))
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + string(text), name
}

func TestSealerUsesTheKeyOfItsKind(t *testing.T) {
	b := newSealerBench(t)
	b.key(t, "gate.test", keyring.RSA2048, "r1")
	b.key(t, "gate.test", keyring.Ed25519, "e1")
	b.key(t, "other.test", keyring.RSA2048, "r9")
	for algorithm, want := range map[string]string{"": "gate.test/r1", "rsa-2048": "gate.test/r1", "ed25519": "gate.test/e1"} {
		sealed, name := b.seal(t, b.sealer(t, SealerOptions{Algorithm: algorithm}), judged(1, plain), Result{})
		r := verify(t, b.zone, sealed)
		if name != want || r.Value != Pass || r.Sets[0].Sealer.String() != "gate.test" || r.Sets[0].Findings[0].Name != "spf" {
			t.Errorf("%s: %s, %+v", algorithm, name, r)
		}
	}
}

// TestSetsAreKept: one message in one form is sealed once by one key, also
// when it cannot be sealed.
func TestSetsAreKept(t *testing.T) {
	b := newSealerBench(t)
	b.key(t, "gate.test", keyring.Ed25519, "e1")
	s := b.sealer(t, SealerOptions{Algorithm: "ed25519"})
	first, _ := b.seal(t, s, judged(1, plain), Result{})
	opened := b.opens
	b.at = b.at.Add(24 * time.Hour)
	if again, _ := b.seal(t, s, judged(1, plain), Result{}); again != first || b.opens != opened {
		t.Error("sealed twice")
	}
	if other, _ := b.seal(t, s, judged(2, plain), Result{}); other == first {
		t.Error("another message has its set")
	}
	other := strings.Replace(plain, "Text.", "Other text.", 1) // as if it were re-encoded
	m := judged(1, other)
	if fields, _, err := s.Seal(t.Context(), m, "7bit", Result{}, m.Open); err != nil || strings.HasPrefix(first, string(fields)) {
		t.Errorf("another form has its set: %v", err)
	}
	for range 2 {
		if text, name := b.seal(t, s, judged(3, plain), Result{Value: Fail, Temporary: true, Reason: "key x\nSERVFAIL"}); name != "" || strings.Contains(text, "ARC-") {
			t.Errorf("sealed by %s", name)
		}
	}
	if log := b.log.String(); strings.Count(log, "without an ARC seal") != 1 || !strings.Contains(log, "DNS gave no answer about its chain") {
		t.Error(log)
	}
	b.key(t, "gate.test", keyring.Ed25519, "e2")
	if text, name := b.seal(t, s, judged(1, plain), Result{}); name != "gate.test/e2" || text == first || verify(t, b.zone, text).Value != Pass {
		t.Errorf("sealed by %s", name)
	}
}

// TestNoKey: mail is handed on without a set, and once an hour the log says so.
func TestNoKey(t *testing.T) {
	b := newSealerBench(t)
	b.key(t, "gate.test", keyring.Ed25519, "e1") // of the other kind
	s := b.sealer(t, SealerOptions{})
	for id := range mail.ID(3) {
		if text, name := b.seal(t, s, judged(id, plain), Result{}); name != "" || strings.Contains(text, "ARC-") {
			t.Errorf("sealed by %s", name)
		}
	}
	if n := strings.Count(b.log.String(), "no key is active"); n != 1 {
		t.Errorf("told %d times", n)
	}
	b.at = b.at.Add(time.Hour)
	b.seal(t, s, judged(9, plain), Result{})
	if n := strings.Count(b.log.String(), "no key is active"); n != 2 {
		t.Errorf("told %d times", n)
	}
	b.key(t, "gate.test", keyring.RSA2048, "r1")
	if _, name := b.seal(t, s, judged(9, plain), Result{}); name != "gate.test/r1" {
		t.Errorf("sealed by %q once there is a key", name)
	}
}

// TestOnlyOwnResults: what a stranger claims in our name is not sealed; nor is
// mail of which we wrote nothing.
func TestOnlyOwnResults(t *testing.T) {
	b := newSealerBench(t)
	b.key(t, "gate.test", keyring.Ed25519, "e1")
	s := b.sealer(t, SealerOptions{Algorithm: "ed25519"})
	forged := "Authentication-Results: gate.test; dmarc=pass header.from=bank.test\r\n" + plain
	text, _ := b.seal(t, s, judged(1, forged), Result{})
	if set, _, _ := strings.Cut(text, "X-Tag:"); strings.Contains(set, "bank.test") || !strings.Contains(set, "smtp.mailfrom=author.test") {
		t.Errorf("sealed:\n%s", set)
	}
	m := judged(2, forged)
	m.Prefix = []byte("Received: from a by b; c\r\n")
	if text, name := b.seal(t, s, m, Result{}); name != "" || strings.Contains(text, "ARC-") {
		t.Errorf("sealed without results:\n%s", text)
	}
}

func TestSealerTellsReadErrors(t *testing.T) {
	b := newSealerBench(t)
	b.key(t, "gate.test", keyring.Ed25519, "e1")
	s := b.sealer(t, SealerOptions{Algorithm: "ed25519"})
	broken := errors.New("disk gone")
	for range 2 { // it is not kept
		fields, _, err := s.Seal(t.Context(), judged(1, plain), "as-is", Result{}, func(context.Context) (io.ReadCloser, error) { return nil, broken })
		if !errors.Is(err, broken) || fields != nil {
			t.Errorf("%q, %v", fields, err)
		}
	}
	if _, name := b.seal(t, s, judged(1, plain), Result{}); name == "" {
		t.Error("not sealed when the trouble was over")
	}
}

// TestKeyOfAFile: a mounted key seals like one of the ring, however long.
func TestKeyOfAFile(t *testing.T) {
	for _, scenario := range signSuite(t)[:1] {
		block, _ := pem.Decode([]byte(scenario.Key))
		if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, []byte(scenario.Key), 0o600); err != nil {
			t.Fatal(err)
		}
		b := newSealerBench(t)
		if err := b.ring.SetFiles(t.Context(), []keyring.File{{Domain: domain(t, "example.org"), Selector: "dummy", Path: path}}); err != nil {
			t.Fatal(err)
		}
		sealed, name := b.seal(t, b.sealer(t, SealerOptions{Domain: "Example.ORG"}), judged(1, plain), Result{})
		if r := verify(t, records(scenario.Records), sealed); name != "example.org/dummy" || r.Value != Pass {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestSealerOptionsAreChecked(t *testing.T) {
	_, err := NewSealer(SealerOptions{Domain: "no domain", Algorithm: "rsa", Headers: []string{"From", "ARC-Seal", "Authentication-Results", "Re ceived", "Received"},
		Oversign: []string{"From", "DKIM-Signature"}})
	for _, path := range []string{"domain", "algorithm", "headers[1]", "headers[2]", "headers[3]", "headers[4]", "oversign[1]"} {
		if !strings.Contains(err.Error(), "policy.arc.seal."+path+": ") {
			t.Errorf("%s is not named in %v", path, err)
		}
	}
	if strings.Contains(err.Error(), "[0]") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"", "test", "[192.0.2.1]"} {
		if _, err := NewSealer(SealerOptions{Domain: name}); err == nil {
			t.Errorf("%q passes for a domain", name)
		}
	}
}
