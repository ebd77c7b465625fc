package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/mail"
)

// Made is the settings that shape the proofs themselves. Facts remember them:
// where another policy is tried on facts, it must know what would have been
// found out otherwise.
type Made struct {
	MinRSABits    int    `json:"bits,omitempty"` // policy.dkim.min_rsa_bits
	MaxSignatures int    `json:"sigs,omitempty"` // policy.dkim.max_signatures
	BodyLengthTag string `json:"l,omitempty"`    // policy.dkim.body_length_tag
	Discovery     string `json:"org,omitempty"`  // policy.dmarc.discovery
	Upstreams     string `json:"up,omitempty"`   // policy.upstreams in short; none where empty
}

// upstreamsInShort tells one list from another.
func upstreamsInShort(list []UpstreamRule) string {
	if len(list) == 0 {
		return ""
	}
	sum := sha256.Sum256(fmt.Append(nil, list))
	return hex.EncodeToString(sum[:4])
}

// Difference is a setting that is not what the proofs were made with.
type Difference struct{ Setting, Was, Is string }

// Differences lists the settings of this engine that are not those with which
// the proofs of f were made. Facts of older versions do not tell: known is false.
func (e *Engine) Differences(s Session, f Facts) (list []Difference, known bool) {
	if s.Role != mail.RoleMX || f.Made == e.made {
		return nil, true
	}
	if f.Made == (Made{}) {
		return nil, false
	}
	add := func(setting string, was, is any) {
		if was != is {
			list = append(list, Difference{setting, fmt.Sprint(was), fmt.Sprint(is)})
		}
	}
	was, is := f.Made, e.made
	add("policy.dkim.min_rsa_bits", was.MinRSABits, is.MinRSABits)
	add("policy.dkim.max_signatures", was.MaxSignatures, is.MaxSignatures)
	add("policy.dkim.body_length_tag", was.BodyLengthTag, is.BodyLengthTag)
	add("policy.dmarc.discovery", was.Discovery, is.Discovery)
	if was.Upstreams != is.Upstreams {
		list = append(list, Difference{"policy.upstreams", "another list", "this list"})
	}
	return list, true
}

// supposed is what the facts may be by the settings of this engine: f alone
// where those settings are the same. open means that nobody can tell.
//
// Of signatures that may or may not pass, all are supposed to pass or none:
// what lies between comes to an action between the two.
func (e *Engine) supposed(s Session, f Facts) (list []Facts, open bool) {
	differ, _ := e.Differences(s, f)
	if len(differ) == 0 {
		return []Facts{f}, false
	}
	if e.otherClient(s, f) {
		return []Facts{f}, e.wantsProofs(s, f) || len(e.exempt) > 0
	}
	was := f.Made
	was.Upstreams = e.made.Upstreams
	if !f.Proved || f.Unread != "" || was == e.made {
		return []Facts{f}, false
	}
	for _, signatures := range e.supposedDKIM(f) {
		g := f
		g.DKIM = signatures
		for _, g.DMARC = range e.supposedDMARCOf(f, g) {
			list = append(list, e.supposedChains(g)...)
		}
	}
	return list, len(f.troubled()) > 0 // Facts.Worlds are those of the settings of then
}

// forgetDMARC leaves the facts as they are where policy.dmarc is off.
func (f *Facts) forgetDMARC() {
	f.DMARC, f.Worlds = dmarc.Result{}, slices.Clone(f.Worlds)
	for i := range f.Worlds {
		f.Worlds[i].DMARC = dmarc.Result{}
	}
}

// otherClient tells whether another client may be judged, behind another list
// of upstreams. Where the old list was read for one hop only, its client is
// the first that the new list sees too.
func (e *Engine) otherClient(s Session, f Facts) bool {
	if f.Made.Upstreams == e.made.Upstreams {
		return false
	}
	for _, u := range e.upstreams {
		if containsAddr(u.addresses, s.Addr) {
			same := f.Upstream.Hops == 1 && f.Upstream.Addr.IsValid() && (u.hops == 1 || !containsAddr(u.addresses, f.Upstream.Addr))
			return !same
		}
	}
	return f.Upstream.By.IsValid()
}

// supposedDKIM is the signatures as they are by these settings, with those that
// may pass first; one list where nothing is open.
func (e *Engine) supposedDKIM(f Facts) [][]dkim.Result {
	best, worst := slices.Clone(f.DKIM), slices.Clone(f.DKIM)
	open := false
	for i := range f.DKIM {
		pass, other := e.signature(f, i)
		if pass != (f.DKIM[i].Value == dkim.Pass) || other != (f.DKIM[i].Value != dkim.Pass) {
			best[i].Value, worst[i].Value = dkim.Policy, dkim.Policy
		}
		if pass {
			best[i].Value = dkim.Pass
		}
		if pass && !other {
			worst[i].Value = dkim.Pass
		}
		open = open || pass && other
	}
	if !open {
		return [][]dkim.Result{best}
	}
	return [][]dkim.Result{best, worst}
}

// signature tells whether signature i may pass by these settings, and whether
// it may not. The verifier looks at the size of the key and at l= last, so that
// a pass is sound whatever they are; what it found worthless for one of them
// may yet be worthless for the other, or because From is not signed.
func (e *Engine) signature(f Facts, i int) (pass, other bool) {
	r, was, is := f.DKIM[i], f.Made, e.made
	rsa := strings.HasPrefix(strings.ToLower(r.Algorithm), "rsa")
	weak := rsa && r.KeyBits < is.MinRSABits
	unsafe := r.BodyLength >= 0 && is.BodyLengthTag != dkim.BodyLengthAccept
	place, taken := f.place(i)
	switch {
	case r.Value == dkim.Pass && (weak || unsafe || taken >= is.MaxSignatures):
		return false, true
	case r.Value == dkim.Pass:
		return true, place >= is.MaxSignatures && is.MaxSignatures < was.MaxSignatures
	case r.Value != dkim.Policy || weak && r.KeyBits > 0 || unsafe && r.KeyBits > 0:
		return false, true
	case r.KeyBits > 0:
		wasWeak := rsa && r.KeyBits < was.MinRSABits
		wasUnsafe := r.BodyLength >= 0 && was.BodyLengthTag != dkim.BodyLengthAccept
		return wasWeak || wasUnsafe, true
	}
	return place >= was.MaxSignatures && is.MaxSignatures > was.MaxSignatures, true
}

// place tells how many signatures come before signature i where there are too
// many, and how many of them surely take a place among those that are verified.
func (f *Facts) place(i int) (before, taken int) {
	domains := make([]mail.Domain, len(f.DKIM))
	for j, r := range f.DKIM {
		domains[j] = r.Domain
	}
	for before, j := range dkim.Order(domains, f.From.Domain()) {
		if j == i {
			return before, taken
		}
		if f.DKIM[j].KeyBits > 0 {
			taken++
		}
	}
	return len(domains), taken
}

// supposedDMARCOf is what DMARC may say of g, which is f with other signatures.
func (e *Engine) supposedDMARCOf(f, g Facts) []dmarc.Result {
	walks := func(discovery string) bool { return discovery != dmarc.PSL }
	if walks(f.Made.Discovery) != walks(e.made.Discovery) {
		return otherDiscovery(f, g)
	}
	r := f.DMARC
	if r.Value != dmarc.Pass && r.Value != dmarc.Fail {
		return []dmarc.Result{r}
	}
	lost, won := false, false // a pass
	for i := range f.DKIM {
		before, now := f.DKIM[i].Value == dkim.Pass, g.DKIM[i].Value == dkim.Pass
		lost, won = lost || before && !now, won || now && !before
	}
	switch {
	case r.SPFAligned, r.DKIMAligned && !lost, g.passesAsAuthor():
		return []dmarc.Result{valued(r, dmarc.Pass)}
	case !r.DKIMAligned && !won, !slices.ContainsFunc(g.DKIM, func(s dkim.Result) bool { return s.Value == dkim.Pass && mayAlign(r, s.Domain) }):
		return []dmarc.Result{valued(r, dmarc.Fail)}
	}
	return []dmarc.Result{valued(r, dmarc.Pass), valued(r, dmarc.Fail)}
}

// mayAlign tells whether a signature by d may be aligned: what is aligned lies
// within the organizational domain (RFC 9989 section 4.10.2).
func mayAlign(r dmarc.Result, d mail.Domain) bool {
	if d == r.From {
		return true
	}
	return (r.Record == nil || !r.Record.DKIMStrict) && (r.OrgDomain.IsZero() || d.Within(r.OrgDomain))
}

func valued(r dmarc.Result, value string) dmarc.Result {
	r.Value = value
	return r
}

// otherDiscovery is what DMARC may say where organizational domains are found
// the other way. A record at the author's own domain is found both ways.
func otherDiscovery(f, g Facts) []dmarc.Result {
	r := f.DMARC
	if f.Made.Discovery == dmarc.Compare && slices.EqualFunc(f.DKIM, g.DKIM, func(a, b dkim.Result) bool { return a.Value == b.Value }) {
		return compared(r)
	}
	if r.Value == "" {
		return []dmarc.Result{r}
	}
	policies := levels
	var out []dmarc.Result
	if own := r.PolicyDomain == r.From && r.Value != dmarc.TempError; own && r.Value == dmarc.PermError {
		return []dmarc.Result{r}
	} else if own {
		policies = []string{r.Policy}
	} else {
		out = append(out, valued(r, dmarc.None))
		r.Pct, r.HasT = 100, false // every policy is supposed, the milder ones too
	}
	if g.passesAtAll() {
		out = append(out, valued(r, dmarc.Pass))
	}
	for _, policy := range policies {
		if !g.passesAsAuthor() {
			r.Policy = policy
			out = append(out, valued(r, dmarc.Fail))
		}
	}
	return out
}

// compared is the answer by the list of public suffixes where both were asked.
// The record that it went by may have had another pct= and t=.
func compared(r dmarc.Result) []dmarc.Result {
	if r.PSL == nil {
		return []dmarc.Result{r}
	}
	same := r.PolicyDomain == r.PSL.PolicyDomain
	r.Value, r.Policy, r.PolicyDomain, r.OrgDomain = r.PSL.Value, r.PSL.Policy, r.PSL.PolicyDomain, r.PSL.OrgDomain
	if same {
		return []dmarc.Result{r}
	}
	full, milder := r, r
	full.Pct, full.HasT = 100, false
	milder.HasT, milder.Testing = true, true
	return []dmarc.Result{full, milder}
}

// supposedChains: the smallest key that counts holds for chains too, and facts
// do not hold the keys of all their signatures.
func (e *Engine) supposedChains(f Facts) []Facts {
	was, is := f.Made.MinRSABits, e.made.MinRSABits
	other := f
	switch {
	case f.ARC.Value == arc.Pass && is > was:
		other.ARC.Value = arc.Fail
	case f.ARC.Value == arc.Fail && is < was:
		other.ARC.Value, other.ARC.FromSigned = arc.Pass, true
		other.Sealed = slices.Repeat([]string{saidPass}, len(f.ARC.Sets))
	default:
		return []Facts{f}
	}
	return []Facts{f, other}
}

// passesAtAll tells whether SPF or DKIM passes for anybody.
func (f *Facts) passesAtAll() bool {
	return f.SPF.Value == "pass" || slices.ContainsFunc(f.DKIM, func(r dkim.Result) bool { return r.Value == dkim.Pass })
}
