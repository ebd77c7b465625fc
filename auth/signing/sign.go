package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gatepost/auth/keyring"
	"gatepost/mail"
)

// ErrNoKey reports that a rule wants a signature and no active key can make it.
var ErrNoKey = errors.New("no active DKIM key")

// Opener opens the message in the form that goes out.
type Opener = func(context.Context) (io.ReadCloser, error)

// plan is who signs a message: the rule, d=, and one key per signature.
type plan struct {
	rule   *rule
	domain mail.Domain
	keys   []keyring.Key
}

// Sign gives the DKIM-Signature fields of a message, each with CRLF, to stand
// before everything else, and the names of the keys that made them. Both are
// empty where the message is not vouched for, no rule names its domain, no key
// is active, or a signature is there and shall be kept. Form names the form
// that open reads: the same message, form and keys give the same fields.
func (s *Signer) Sign(ctx context.Context, m *mail.Message, form string, open Opener) ([]byte, []string, error) {
	p, ok := s.planFor(ctx, m.Origin)
	if !ok {
		return nil, nil, nil
	}
	key := cacheKey{m.ID, form, strings.Join(p.names(), " ")}
	made, err := s.made.Get(ctx, key, s.now(), func() (signatures, time.Time, error) {
		made, err := s.sign(ctx, p, open)
		return made, made.until, err
	})
	if errors.Is(err, errBlank) {
		s.logger.Warn("message is sent without a DKIM signature", "id", m.ID.String(), "reason", err.Error())
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("sign message %s: %w", m.ID, err)
	}
	return made.fields, made.names, nil
}

// SignContent signs what an administrator vouches for, by its header From.
func (s *Signer) SignContent(ctx context.Context, content mail.Body) ([]byte, []string, error) {
	h, err := mail.HeaderOf(ctx, content, maxHeader)
	if err != nil {
		return nil, nil, err
	}
	from, err := mail.HeaderFrom(h)
	if err != nil {
		return nil, nil, err
	}
	r, d, ok := s.ruleFor(from.Domain())
	if !ok {
		return nil, nil, fmt.Errorf("no rule of dkim.sign names %s", from.Domain())
	}
	p := plan{r, d, s.keysOf(ctx, r, d)}
	if len(p.keys) == 0 {
		return nil, nil, fmt.Errorf("%w for %s", ErrNoKey, d)
	}
	made, err := s.sign(ctx, p, content.Open)
	return made.fields, made.names, err
}

// Cuts gives the octet ranges of m.Content that must be left out, those of
// m.Cuts with them, before the message is opened and signed: with existing:
// replace, the signatures of our d= that came with it. The header is that of
// m.Content.
func (s *Signer) Cuts(ctx context.Context, m *mail.Message, h mail.Header) []mail.Span {
	p, ok := s.planFor(ctx, m.Origin)
	if !ok || p.rule.existing != Replace {
		return m.Cuts
	}
	cuts := slices.Clone(m.Cuts)
	for _, f := range h.Fields {
		if signedBy(f, p.domain) && !slices.Contains(cuts, f.Span()) {
			cuts = append(cuts, f.Span())
		}
	}
	slices.SortFunc(cuts, func(a, b mail.Span) int { return int(a.Offset - b.Offset) })
	return cuts
}

// Replaces tells whether Cuts may want octets left out of mail of d, so that
// its header has to be read.
func (s *Signer) Replaces(d mail.Domain) bool {
	r, _, ok := s.ruleFor(d)
	return ok && r.existing == Replace
}

// planFor finds rule and keys. Only vouched mail of a relay session and our
// own is signed.
func (s *Signer) planFor(ctx context.Context, o mail.Origin) (plan, bool) {
	if o.From.IsZero() || o.Role != mail.RoleRelay && o.Role != mail.RoleInternal {
		return plan{}, false
	}
	r, d, ok := s.ruleFor(o.From)
	if !ok {
		return plan{}, false
	}
	p := plan{r, d, s.keysOf(ctx, r, d)}
	if len(p.keys) == 0 {
		s.warn(d)
	}
	return p, len(p.keys) > 0
}

// ruleFor finds the rule that names d itself, else the nearest parent of d with
// subdomains set.
func (s *Signer) ruleFor(d mail.Domain) (*rule, mail.Domain, bool) {
	var (
		best   *rule
		signer mail.Domain
	)
	for i := range s.rules {
		r := &s.rules[i]
		for _, own := range r.domains {
			fits := own == d || r.subdomains && d.Within(own)
			if fits && len(own.String()) > len(signer.String()) {
				best, signer = r, own
			}
		}
	}
	return best, signer, best != nil
}

// keysOf gives the active keys of the rule's kinds, in its order.
func (s *Signer) keysOf(ctx context.Context, r *rule, d mail.Domain) []keyring.Key {
	var out []keyring.Key
	active := s.keys.Active(ctx, d)
	for _, a := range r.algorithms {
		for _, k := range active {
			if k.Algorithm == a {
				out = append(out, k)
			}
		}
	}
	return out
}

// warn says, once an hour, that mail leaves unsigned for want of a key.
func (s *Signer) warn(d mail.Domain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if last, told := s.warned[d]; told && now.Sub(last) < time.Hour {
		return
	}
	s.warned[d] = now
	s.logger.Warn("mail leaves without a DKIM signature: no key is active", "domain", d.String())
}

func (p plan) names() []string {
	names := make([]string, len(p.keys))
	for i, k := range p.keys {
		names[i] = k.Name()
	}
	return names
}

// signedBy tells whether f is a signature with this d= (RFC 6376 section 3.5).
func signedBy(f mail.Field, d mail.Domain) bool {
	if !f.Is("DKIM-Signature") {
		return false
	}
	for tag := range strings.SplitSeq(f.Value(), ";") {
		name, value, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(name) != "d" {
			continue
		}
		of, err := mail.ParseDomain(strings.Join(strings.Fields(value), ""))
		return err == nil && of == d
	}
	return false
}
