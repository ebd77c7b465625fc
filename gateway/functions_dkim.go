package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"gatepost/admin"
	"gatepost/auth/dkim"
	"gatepost/auth/keyring"
	"gatepost/auth/signing"
	"gatepost/mail"
)

// KeyQuestion is what the dkim calls ask. Not every call reads every field.
type KeyQuestion struct {
	Domain    string `json:"domain,omitempty"`
	Selector  string `json:"selector,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Activate  bool   `json:"activate,omitempty"`
	PEM       []byte `json:"pem,omitempty"`
	Message   []byte `json:"message,omitempty"`
}

// KeyAnswer is a key with the line that publishes it.
type KeyAnswer struct {
	Key      keyring.Key `json:"key"`
	ZoneLine string      `json:"zone_line"`
	Warning  string      `json:"warning,omitempty"`
}

// keyAnswer tells of a key, and warns of one that no rule would use.
func (g *Gateway) keyAnswer(k keyring.Key) KeyAnswer {
	a := KeyAnswer{Key: k, ZoneLine: k.ZoneLine()}
	c := g.config.Load()
	if seal := c.Policy.ARC.Seal; domainOf(seal.Domain) == k.Domain && seal.Algorithm == string(k.Algorithm) {
		return a
	}
	for _, rule := range c.DKIM.Sign {
		if slices.Contains(rule.Algorithms, string(k.Algorithm)) && slices.ContainsFunc(rule.Domains, func(d string) bool { return domainOf(d) == k.Domain }) {
			return a
		}
	}
	a.Warning = fmt.Sprintf("no rule in dkim.sign names %s with algorithm %s: nothing will be signed with this key", k.Domain, k.Algorithm)
	return a
}

// SignAnswer is a message with our signatures in front.
type SignAnswer struct {
	Message []byte   `json:"message"`
	Signed  []string `json:"signed"`
}

func (g *Gateway) keyFunctions() map[string]admin.Function {
	return map[string]admin.Function{
		"dkim/create":   admin.Answer(g.keyCreate),
		"dkim/list":     admin.Answer(g.keyList),
		"dkim/import":   admin.Answer(g.keyImport),
		"dkim/export":   admin.Answer(g.keyExport),
		"dkim/dns":      admin.Answer(g.keyDNS),
		"dkim/check":    admin.Answer(g.keyCheck),
		"dkim/activate": admin.Answer(g.keyActivate),
		"dkim/retire":   admin.Answer(g.keyRetire),
		"dkim/remove":   admin.Answer(g.keyRemove),
		"dkim/sign":     admin.Answer(g.keySign),
		"dkim/verify":   admin.Answer(g.keyVerify),
	}
}

// domain reads the domain of a question; empty is all domains where allowed.
func (q KeyQuestion) domain(needed bool) (mail.Domain, error) {
	if q.Domain == "" && !needed {
		return mail.Domain{}, nil
	}
	d, err := mail.ParseDomain(q.Domain)
	if err != nil {
		return d, admin.Invalid("%q is not a domain name", q.Domain)
	}
	return d, nil
}

// keyProblem says what went wrong in words for the administrator.
func keyProblem(err error, q KeyQuestion) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNoKey):
		return admin.NotFound("there is no key %s/%s; 'gatepost dkim list' shows all", q.Domain, q.Selector)
	case errors.Is(err, keyring.ErrExists), errors.Is(err, keyring.ErrKey):
		return admin.Invalid("%v", err)
	}
	return err
}

func (g *Gateway) keyCreate(ctx context.Context, q KeyQuestion) (KeyAnswer, error) {
	d, err := q.domain(true)
	if err != nil {
		return KeyAnswer{}, err
	}
	k, err := g.ring.Create(ctx, d, keyring.Algorithm(q.Algorithm), q.Selector, q.Activate)
	if err != nil {
		return KeyAnswer{}, keyProblem(err, q)
	}
	g.logged("DKIM key created", "key", k.Name(), "state", string(k.State))
	return g.keyAnswer(k), nil
}

func (g *Gateway) keyImport(ctx context.Context, q KeyQuestion) (KeyAnswer, error) {
	d, err := q.domain(true)
	if err != nil {
		return KeyAnswer{}, err
	}
	k, err := g.ring.Import(ctx, d, q.Selector, q.PEM, q.Activate)
	if err != nil {
		return KeyAnswer{}, keyProblem(err, q)
	}
	g.logged("DKIM key imported", "key", k.Name(), "state", string(k.State))
	return g.keyAnswer(k), nil
}

func (g *Gateway) keyList(ctx context.Context, q KeyQuestion) ([]keyring.Key, error) {
	d, err := q.domain(false)
	if err != nil {
		return nil, err
	}
	return g.ring.List(ctx, d), nil
}

func (g *Gateway) keyExport(ctx context.Context, q KeyQuestion) ([]byte, error) {
	d, err := q.domain(true)
	if err != nil {
		return nil, err
	}
	pem, err := g.ring.Export(ctx, d, q.Selector)
	if err == nil {
		g.logged("DKIM private key exported", "key", q.Domain+"/"+q.Selector)
	}
	return pem, keyProblem(err, q)
}

func (g *Gateway) keyDNS(ctx context.Context, q KeyQuestion) ([]string, error) {
	d, err := q.domain(true)
	if err != nil {
		return nil, err
	}
	lines := g.ring.DNS(ctx, d)
	if len(lines) == 0 {
		return nil, admin.NotFound("there is no key for %s; 'gatepost dkim create %s' makes one", d, d)
	}
	return lines, nil
}

func (g *Gateway) keyCheck(ctx context.Context, q KeyQuestion) ([]keyring.Report, error) {
	d, err := q.domain(false)
	if err != nil {
		return nil, err
	}
	return g.checkKeys(ctx, d)
}

func (g *Gateway) keyActivate(ctx context.Context, q KeyQuestion) (KeyAnswer, error) {
	d, err := q.domain(true)
	if err != nil {
		return KeyAnswer{}, err
	}
	k, err := g.ring.Activate(ctx, d, q.Selector)
	if err != nil {
		return KeyAnswer{}, keyProblem(err, q)
	}
	g.logged("DKIM key activated", "key", k.Name())
	return g.keyAnswer(k), nil
}

func (g *Gateway) keyRetire(ctx context.Context, q KeyQuestion) (nothing, error) {
	return g.keyEnd(ctx, q, "retired", g.ring.Retire)
}

func (g *Gateway) keyRemove(ctx context.Context, q KeyQuestion) (nothing, error) {
	return g.keyEnd(ctx, q, "removed", g.ring.Remove)
}

func (g *Gateway) keyEnd(ctx context.Context, q KeyQuestion, how string, end func(context.Context, mail.Domain, string) error) (nothing, error) {
	d, err := q.domain(true)
	if err != nil {
		return nothing{}, err
	}
	if err := end(ctx, d, q.Selector); err != nil {
		return nothing{}, keyProblem(err, q)
	}
	g.logged("DKIM key "+how, "key", q.Domain+"/"+q.Selector)
	return nothing{}, nil
}

func (g *Gateway) keySign(ctx context.Context, q KeyQuestion) (SignAnswer, error) {
	p, done := g.live.take()
	defer done()
	fields, signed, err := p.signer.SignContent(ctx, mail.MemoryBody(q.Message))
	if errors.Is(err, signing.ErrNoKey) {
		return SignAnswer{}, admin.NotFound("no active key; 'gatepost dkim list' shows the keys and their states")
	}
	if err != nil {
		return SignAnswer{}, admin.Invalid("cannot sign: %v", err)
	}
	if len(signed) == 0 {
		return SignAnswer{}, admin.Invalid("nothing to sign with: no rule in dkim.sign names the domain of its From, or it has no active key")
	}
	return SignAnswer{append(bytes.Clone(fields), q.Message...), signed}, nil
}

func (g *Gateway) keyVerify(ctx context.Context, q KeyQuestion) ([]dkim.Result, error) {
	p, done := g.live.take()
	defer done()
	c := p.config.Policy.DKIM
	v := dkim.NewVerifier(dkim.Options{Resolver: p.resolver, Now: g.now, MinRSABits: c.MinRSABits, MaxSignatures: c.MaxSignatures, BodyLengthTag: c.BodyLengthTag})
	return v.Verify(ctx, mail.MemoryBody(q.Message))
}
