package signing

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/auth/canon"
	"gatepost/auth/keyring"
	"gatepost/mail"

	"github.com/emersion/go-msgauth/dkim"
)

const (
	// maxHeader bounds the header that is held in memory.
	maxHeader = 4 << 20
	// maxNames keeps the h= tag on one line of at most 998 octets (RFC 5322
	// section 2.1.1), for the library does not fold it.
	maxNames = 900
	// maxBlank is the longest run of blank octets that is signed: the library
	// holds the line ends of a run in memory until it is over.
	maxBlank = 1 << 20
)

var (
	errBlank  = fmt.Errorf("more than %d octets of blank lines in a row", maxBlank)
	errHeader = fmt.Errorf("header of more than %d octets", maxHeader)
)

// signatures is what signing one form of one message made.
type signatures struct {
	fields []byte
	names  []string
	until  time.Time // when to sign afresh; zero: never
}

// sign reads the message once and makes all signatures.
func (s *Signer) sign(ctx context.Context, p plan, open Opener) (signatures, error) {
	r, err := open(ctx)
	if err != nil {
		return signatures{}, fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	in := bufio.NewReaderSize(r, 16<<10)
	raw, header, err := readHeader(in)
	if err != nil {
		return signatures{}, err
	}
	if p.rule.existing == Keep && hasSignature(header, p.domain) {
		return signatures{}, nil
	}
	return s.run(p, canon.Cover(header, p.rule.fields, maxNames), raw, in)
}

// readHeader reads up to and including the empty line. Where that is missing
// it is added, as every receiver takes it to be there.
func readHeader(in *bufio.Reader) ([]byte, mail.Header, error) {
	var raw []byte
	for {
		line, err := in.ReadSlice('\n')
		raw = append(raw, line...)
		switch {
		case err == nil && (string(line) == "\r\n" || string(line) == "\n") && endsLine(raw[:len(raw)-len(line)]):
			return parsed(raw)
		case errors.Is(err, io.EOF):
			if !bytes.HasSuffix(raw, []byte("\n")) && len(raw) > 0 {
				raw = append(raw, "\r\n"...)
			}
			return parsed(append(raw, "\r\n"...))
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, mail.Header{}, fmt.Errorf("read message: %w", err)
		case len(raw) > maxHeader:
			return nil, mail.Header{}, errHeader
		}
	}
}

// endsLine tells whether what comes next begins a line.
func endsLine(before []byte) bool { return len(before) == 0 || before[len(before)-1] == '\n' }

// parsed lists the fields; behind a line that is no field the rest is not
// looked at, and not signed.
func parsed(raw []byte) ([]byte, mail.Header, error) {
	h, err := mail.ParseHeader(raw)
	if err != nil && !errors.Is(err, mail.ErrHeader) {
		return nil, h, err
	}
	return raw, h, nil
}

func hasSignature(h mail.Header, d mail.Domain) bool {
	for _, f := range h.Fields {
		if signedBy(f, d) {
			return true
		}
	}
	return false
}

// run feeds header and body to one library signer per key.
func (s *Signer) run(p plan, names []string, header []byte, body *bufio.Reader) (made signatures, err error) {
	now := s.now()
	var expires time.Time
	if p.rule.expire > 0 {
		expires, made.until = now.Add(p.rule.expire), now.Add(p.rule.expire/4)
	}
	var (
		signers []*dkim.Signer
		writers = []io.Writer{&blankGuard{}}
	)
	defer func() {
		for _, one := range signers { // ends their goroutines whatever happened
			err = errors.Join(err, one.Close())
		}
		if err == nil {
			made.collect(p, signers)
		}
	}()
	for _, k := range p.keys {
		one, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain.String(), Selector: k.Selector, Signer: s.bounded(k), HeaderKeys: names, Expiration: expires,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return made, fmt.Errorf("key %s: %w", k.Name(), err)
		}
		signers, writers = append(signers, one), append(writers, one)
	}
	all := io.MultiWriter(writers...)
	if _, err = all.Write(header); err == nil {
		_, err = body.WriteTo(all)
	}
	if err != nil {
		return made, fmt.Errorf("read message: %w", err)
	}
	return made, nil
}

func (m *signatures) collect(p plan, signers []*dkim.Signer) {
	var all strings.Builder
	for i, one := range signers {
		all.WriteString(one.Signature())
		m.names = append(m.names, p.keys[i].Name())
	}
	m.fields = []byte(all.String())
}

// blankGuard fails on a run of blank octets that is too long.
type blankGuard struct{ run int }

func (g *blankGuard) Write(p []byte) (int, error) {
	last := bytes.LastIndexFunc(p, notBlank)
	first := len(p)
	if last >= 0 {
		first = bytes.IndexFunc(p, notBlank)
	}
	if g.run+first > maxBlank {
		return 0, errBlank
	}
	if g.run += first; last >= 0 {
		g.run = len(p) - last - 1
	}
	return len(p), nil
}

func notBlank(c rune) bool { return c != '\r' && c != '\n' && c != ' ' && c != '\t' }

// boundedKey makes at most as many RSA signatures at once as there are slots.
type boundedKey struct {
	crypto.Signer
	slots chan struct{}
}

func (s *Signer) bounded(k keyring.Key) crypto.Signer {
	if k.Algorithm == keyring.Ed25519 {
		return k.Signer()
	}
	return boundedKey{k.Signer(), s.slots}
}

func (b boundedKey) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	b.slots <- struct{}{}
	defer func() { <-b.slots }()
	return b.Signer.Sign(random, digest, o)
}
