package signing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"gatepost/auth/canon"
	"gatepost/auth/keyring"
	"gatepost/auth/memo"
	"gatepost/mail"
)

// FieldError says which option is wrong, by its path in the configuration
// file: "dkim.sign[0].algorithms[1]".
type FieldError = keyring.FieldError

// defaultCached signatures are about two megabytes.
const defaultCached = 4096

// What to do about a signature of the same d= that is already there.
const (
	Keep    = "keep"    // do not sign again
	Replace = "replace" // leave it out and sign; see Signer.Cuts
	Add     = "add"     // sign beside it
)

// Options is what the configuration file says about signing.
type Options struct {
	Rules  []Rule // dkim.sign
	Keys   Keys
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger
	Cached int // signatures kept for further attempts; default 4096
}

// Rule is one entry of dkim.sign. Empty lists and strings mean the default.
type Rule struct {
	Domains    []string
	Subdomains bool
	Algorithms []string // rsa-2048 (default), ed25519
	Headers    []string
	Oversign   []string
	Expire     time.Duration // 0: no x=
	Existing   string        // keep (default), replace, add
}

// Keys is the part of *keyring.Ring that signs.
type Keys interface {
	Active(ctx context.Context, d mail.Domain) []keyring.Key
}

// Signer signs. It is safe for concurrent use.
type Signer struct {
	rules  []rule
	keys   Keys
	now    func() time.Time
	logger *slog.Logger
	slots  chan struct{} // one for each RSA signature that may be made at once
	made   *memo.Memo[cacheKey, signatures]

	mu     sync.Mutex
	warned map[mail.Domain]time.Time
}

// cacheKey names a signature; form and selectors stand in it because each
// makes it another one.
type cacheKey struct {
	id   mail.ID
	form string
	keys string
}

// rule is a parsed Rule.
type rule struct {
	domains    []mail.Domain
	subdomains bool
	algorithms []keyring.Algorithm
	fields     []canon.Covered
	expire     time.Duration
	existing   string
}

func defaultHeaders() []string {
	return []string{"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "Content-Type", "Content-Transfer-Encoding",
		"MIME-Version", "In-Reply-To", "References", "List-Unsubscribe", "List-Unsubscribe-Post"}
}

func defaultOversign() []string {
	return []string{"From", "To", "Cc", "Subject", "Date", "Reply-To"}
}

// New checks o. The error joins one *FieldError per wrong option.
func New(o Options) (*Signer, error) {
	s := &Signer{keys: o.Keys, now: o.Now, logger: o.Logger, slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		made: memo.New[cacheKey, signatures](cmp.Or(max(o.Cached, 0), defaultCached)), warned: map[mail.Domain]time.Time{}}
	if s.now == nil {
		s.now = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	p := &problems{seen: map[mail.Domain]int{}}
	for i, r := range o.Rules {
		s.rules = append(s.rules, p.rule(i, r))
	}
	return s, errors.Join(p.all...)
}

type problems struct {
	all  []error
	seen map[mail.Domain]int
}

func (p *problems) add(path, format string, args ...any) {
	p.all = append(p.all, &FieldError{Path: path, Msg: fmt.Sprintf(format, args...)})
}

func (p *problems) rule(i int, r Rule) rule {
	path := fmt.Sprintf("dkim.sign[%d]", i)
	out := rule{subdomains: r.Subdomains, expire: r.Expire, existing: r.Existing}
	out.domains = p.domains(path, i, r.Domains)
	for k, name := range orDefault(r.Algorithms, []string{string(keyring.RSA2048)}) {
		switch a := keyring.Algorithm(name); {
		case a != keyring.RSA2048 && a != keyring.Ed25519:
			p.add(fmt.Sprintf("%s.algorithms[%d]", path, k), "%q is neither %s nor %s", name, keyring.RSA2048, keyring.Ed25519)
		case slices.Contains(out.algorithms, a):
			p.add(fmt.Sprintf("%s.algorithms[%d]", path, k), "%s is listed twice", name)
		default:
			out.algorithms = append(out.algorithms, a)
		}
	}
	headers, oversign := orDefault(r.Headers, defaultHeaders()), orDefault(r.Oversign, defaultOversign())
	p.names(path+".headers", headers)
	p.names(path+".oversign", oversign)
	out.fields = canon.CoveredFields(headers, oversign)
	switch out.existing {
	case Keep, Replace, Add:
	case "":
		out.existing = Keep
	default:
		p.add(path+".existing", "%q is not one of %s, %s, %s", r.Existing, Keep, Replace, Add)
	}
	if r.Expire < 0 {
		p.add(path+".expire", "a signature cannot expire before it is made")
	}
	return out
}

func (p *problems) domains(path string, i int, list []string) []mail.Domain {
	if len(list) == 0 {
		p.add(path+".domains", "a rule needs at least one domain")
	}
	var out []mail.Domain
	for k, name := range list {
		d, err := mail.ParseDomain(name)
		at := fmt.Sprintf("%s.domains[%d]", path, k)
		if err != nil {
			p.add(at, "%v", err)
			continue
		}
		if earlier, twice := p.seen[d]; twice {
			p.add(at, "%s has a rule already: dkim.sign[%d]", d, earlier)
		}
		p.seen[d] = i
		out = append(out, d)
	}
	return out
}

// names refuses what is no field name, and fields that every host on the way
// changes (RFC 6376 section 5.4.1).
func (p *problems) names(path string, list []string) {
	for i, name := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		bad := func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' || c == ';' }
		switch strings.ToLower(name) {
		case "received", "return-path", "authentication-results", "dkim-signature", "bcc":
			p.add(at, "%s changes on the way and must not be signed", name)
		default:
			if name == "" || strings.ContainsFunc(name, bad) {
				p.add(at, "%q is not a header field name", name)
			}
		}
	}
}

func orDefault(list, fallback []string) []string {
	if len(list) == 0 {
		return fallback
	}
	return list
}
