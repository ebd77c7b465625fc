package arc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gatepost/auth/authres"
	"gatepost/auth/canon"
	"gatepost/auth/dkim"
	"gatepost/mail"
)

// ErrUnsealed reports a message that gets no set, and why.
var ErrUnsealed = errors.New("not sealed")

func unsealed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrUnsealed}, args...)...)
}

// maxNames bounds h= in octets; it is folded.
const maxNames = 900

// Opener opens a message in the form that goes out.
type Opener = func(context.Context) (io.ReadCloser, error)

// Seal is what a forwarder signs its sets with.
type Seal struct {
	Domain   mail.Domain
	Selector string
	Key      crypto.Signer   // RSA or Ed25519
	Fields   []canon.Covered // of h=
	Time     time.Time       // t=
}

// Set makes the next set of a message in its final form, to stand before
// everything else (RFC 8617 section 5.1): was is the chain as it came in,
// results what stands behind the name of our Authentication-Results field. The
// body is read once. An error that is not ErrUnsealed is about reading the
// message, or the key.
func (s Seal) Set(ctx context.Context, open Opener, was Result, results string) ([]byte, error) {
	m := &sealing{Seal: s, open: open}
	var err error
	if m.header, err = mail.HeaderOf(ctx, m, maxHeader); errors.Is(err, mail.ErrHeader) || errors.Is(err, mail.ErrHeaderTooLong) {
		return nil, unsealed("%v", err)
	} else if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	if len(m.header.Fields)+3 > maxFields {
		return nil, unsealed("its header has %d fields", len(m.header.Fields))
	}
	if err := m.place(was); err != nil {
		return nil, err
	}
	fields, err := m.write(ctx, results)
	if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	return fields, nil
}

// sealing is one message that gets a set.
type sealing struct {
	Seal
	open     Opener
	header   mail.Header
	sets     []set // that the seal covers beside its own
	instance int
	cv       string
}

// Open implements mail.Body for its header.
func (m *sealing) Open(ctx context.Context) (io.ReadCloser, error) { return m.open(ctx) }

// Size implements mail.Body; nobody asks.
func (m *sealing) Size() int64 { return 0 }

// place finds which set it is, and what it says of those before (RFC 8617
// section 5.1). Nothing is added to a chain that somebody has ended with
// cv=fail, nor to one whose fields are not those that were judged.
func (m *sealing) place(was Result) error {
	fields := fieldsOf(m.header)
	newest, ended := newestOf(fields)
	switch {
	case was.Temporary:
		return unsealed("DNS gave no answer about its chain: %s", was.Reason)
	case was.Value == Fail && ended:
		return unsealed("its chain ended with cv=fail in set %d", newest)
	case was.Value == Fail && len(fields) == 0:
		return unsealed("its chain is not the one that was judged")
	case was.Value == Fail:
		m.cv = Fail
	case was.Value == Pass:
		m.cv = Pass
		var f *fault
		if m.sets, f = readChain(fields); f != nil || len(m.sets) != len(was.Sets) {
			return unsealed("its chain is not the one that was judged")
		}
	case len(fields) > 0:
		return unsealed("it has a chain that was not judged")
	default:
		m.cv = None
	}
	if m.instance = newest + 1; m.instance > MaxSets {
		return unsealed("its chain has %d sets already", newest)
	}
	return nil
}

// newestOf is the highest instance that can be read in a chain that may be
// broken in any way, and whether a seal of it says cv=fail.
func newestOf(fields []mail.Field) (newest int, ended bool) {
	for _, f := range fields {
		_, value, _ := strings.Cut(string(f.Raw), ":")
		instance, cv := "", ""
		if f.Is(fieldResults) {
			instance, _, _ = authres.ReadInstance(value)
		} else if tags, err := dkim.ParseTags(value); err == nil {
			instance, cv = tags["i"], tags["cv"]
		}
		n, ok := parseInstance(instance)
		if !ok || n < newest {
			continue
		}
		ended = cv == Fail && f.Is(fieldSeal) || n == newest && ended
		newest = n
	}
	return newest, ended
}

// write makes the fields: the results, then the message signature, then the
// seal over both and over the sets before. A chain that fails cannot be covered
// in a way that others would find again: its seal covers its own set only (RFC
// 8617 section 5.1.2).
func (m *sealing) write(ctx context.Context, results string) ([]byte, error) {
	aar, err := m.resultsField(results)
	if err != nil {
		return nil, err
	}
	bodyHash, err := m.hashBody(ctx)
	if err != nil {
		return nil, err
	}
	names := canon.Cover(m.header, m.Fields, maxNames)
	ams := func(b string) string { return m.messageField(names, bodyHash, b) }
	h := hashOfSignatures.New()
	canon.NewIndex(m.header).WriteSigned(h, lower(names), []byte(ams("")), canon.Relaxed)
	b, err := m.sign(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	own := set{results: &mail.Field{Raw: []byte(aar)}, message: &mail.Field{Raw: []byte(ams(b))}, seal: &mail.Field{Raw: []byte(m.sealField(""))}}
	digests, _ := sealDigests(append(m.sets, own))
	if b, err = m.sign(digests[len(digests)-1]); err != nil {
		return nil, err
	}
	return []byte(m.sealField(b) + string(own.message.Raw) + aar), nil
}

// resultsField copies the results. Octets that have no place in a header field
// do not come through, whoever wrote them.
func (m *sealing) resultsField(results string) (string, error) {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, results)
	f := newFolder(fieldResults)
	f.word(fmt.Sprintf("i=%d;", m.instance))
	for word := range strings.FieldsSeq(plain) {
		if len(word) > maxWord {
			return "", unsealed("a word of %d octets in its results", len(word))
		}
		f.word(word)
	}
	return f.String(), nil
}

// messageField is the message signature (RFC 8617 section 4.1.2). Tags stand
// in the order of the alphabet.
func (m *sealing) messageField(names []string, bodyHash, b string) string {
	f := newFolder(fieldMessage)
	f.word("a=" + m.algorithm() + ";")
	f.signature(b)
	f.word("bh=" + bodyHash + ";")
	f.word("c=relaxed/relaxed;")
	f.word("d=" + m.Domain.String() + ";")
	f.names(names)
	f.word(fmt.Sprintf("i=%d;", m.instance))
	f.word("s=" + m.Selector + ";")
	f.word("t=" + strconv.FormatInt(m.Time.Unix(), 10))
	return f.String()
}

// sealField is the seal (RFC 8617 section 4.1.3).
func (m *sealing) sealField(b string) string {
	f := newFolder(fieldSeal)
	f.word("a=" + m.algorithm() + ";")
	f.signature(b)
	f.word("cv=" + m.cv + ";")
	f.word("d=" + m.Domain.String() + ";")
	f.word(fmt.Sprintf("i=%d;", m.instance))
	f.word("s=" + m.Selector + ";")
	f.word("t=" + strconv.FormatInt(m.Time.Unix(), 10))
	return f.String()
}

// hashBody gives bh=.
func (m *sealing) hashBody(ctx context.Context) (string, error) {
	r, err := m.open(ctx)
	if err != nil {
		return "", fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, m.header.Size); err != nil {
		return "", fmt.Errorf("read message header: %w", err)
	}
	h := hashOfSignatures.New()
	body := canon.NewBody(canon.Relaxed, h)
	if _, err := io.Copy(body, struct{ io.Reader }{r}); err != nil {
		return "", fmt.Errorf("read message body: %w", err)
	}
	_ = body.Close() // hashes do not fail
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), nil
}

func (m *sealing) isEd25519() bool {
	_, ok := m.Key.Public().(ed25519.PublicKey)
	return ok
}

func (m *sealing) algorithm() string {
	if m.isEd25519() {
		return "ed25519-sha256"
	}
	return "rsa-sha256"
}

// sign gives b=; Ed25519 signs the digest as its message (RFC 8463 section 3).
// Neither kind needs randomness.
func (m *sealing) sign(digest []byte) (string, error) {
	kind := crypto.Hash(0)
	if !m.isEd25519() {
		kind = hashOfSignatures
	}
	b, err := m.Key.Sign(nil, digest, kind)
	if err != nil {
		return "", fmt.Errorf("key %s/%s: %w", m.Domain, m.Selector, err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}
