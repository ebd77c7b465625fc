package policy

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/arc/arctest"
	"gatepost/auth/canon"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/peertest"
	"gatepost/auth/spf"
	"gatepost/dnsx"
	"gatepost/dnsx/dnstest"
	"gatepost/mail"
)

// changing draws messages and policies whose proofs are made otherwise.
type changing struct {
	*mathrand.Rand
	keys     map[string]*rsa.PrivateKey // by selector
	resolver *dnsx.Resolver
}

func (g *changing) pick(of ...string) string { return of[g.IntN(len(of))] }

const changingZone = `
org.test. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.org.test. 60 TXT "v=DMARC1; p=reject"
sub.apart.org.test. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.apart.org.test. 60 TXT "v=DMARC1; p=quarantine; psd=n; pct=0"
low.single.test. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.low.single.test. 60 TXT "v=DMARC1; p=reject"
none.test. 60 TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.broken.test. 60 TXT "v=DMARC1; p=bogus"
_dmarc.strict.test. 60 TXT "v=DMARC1; p=reject; adkim=s; aspf=s; pct=50"
forwarder.test. 60 TXT "v=spf1 ip4:192.0.2.9 -all"
_dmarc.mute.test. 60 TXT "v=DMARC1; p=reject"
_dmarc.keyless.test. 60 TXT "v=DMARC1; p=quarantine; t=y"
9.2.0.192.in-addr.arpa. 60 PTR out.forwarder.test.
out.forwarder.test. 60 A 192.0.2.9
`

var changingDomains = []string{"org.test", "mail.org.test", "sub.apart.org.test", "apart.org.test", "low.single.test", "single.test", "none.test", "broken.test", "strict.test", "mail.strict.test", "forwarder.test", "mute.test", "keyless.test", "lost.test"}

func newChanging(t *testing.T) *changing {
	t.Helper()
	g := &changing{Rand: mathrand.New(mathrand.NewPCG(peertest.Seed(t), 7)), keys: map[string]*rsa.PrivateKey{}}
	var zone strings.Builder
	zone.WriteString(changingZone)
	for _, bits := range []int{1024, 1536, 2048} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		selector := fmt.Sprintf("r%d", bits)
		g.keys[selector] = key
		for _, name := range changingDomains {
			zone.WriteString(peertest.TXT(selector+"._domainkey."+name, "v=DKIM1; p="+base64.StdEncoding.EncodeToString(public)))
		}
	}
	zone.WriteString(peertest.TXT(arctest.Sealer{Domain: "forwarder.test"}.Name(), arctest.Sealer{Domain: "forwarder.test"}.Record()))
	server := dnstest.New(t, zone.String())
	for _, name := range []string{"mute.test", "_dmarc.lost.test", "r1024._domainkey.keyless.test", "r1536._domainkey.keyless.test", "r2048._domainkey.keyless.test", "7.113.0.203.in-addr.arpa"} {
		server.Fail(name, "ANY", dnstest.ServFail)
	}
	g.resolver = server.ResolverWith(t, dnsx.Options{TryTimeout: time.Minute})
	return g
}

// sign puts an RSA signature above a message, with l= perhaps.
func (g *changing) sign(t *testing.T, message string) string {
	t.Helper()
	if g.IntN(6) == 0 {
		return g.pick("DKIM-Signature: v=1; a=rsa-sha256\r\n", "DKIM-Signature: v=1; a=rsa-sha256; d=org.test; s=gone; h=From; bh="+strings.Repeat("A", 43)+"=; b=AAAA\r\n") + message
	}
	header, err := mail.ParseHeader([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	body := message[header.Size:]
	l, names := "", g.pick("from:subject", "from")
	if g.IntN(4) == 0 {
		n := g.IntN(len(body))
		l, body = fmt.Sprintf("l=%d; ", n), body[:n]
	}
	digest := sha256.Sum256([]byte(body))
	selector := g.pick("r1024", "r1536", "r2048")
	field := fmt.Sprintf("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=%s; s=%s; %sh=%s; bh=%s;\r\n b=", g.pick(changingDomains...), selector, l, names, base64.StdEncoding.EncodeToString(digest[:]))
	hasher := sha256.New()
	canon.NewIndex(header).WriteSigned(hasher, strings.Split(names, ":"), []byte(field), canon.Relaxed)
	value, err := rsa.SignPKCS1v15(nil, g.keys[selector], crypto.SHA256, hasher.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return field + base64.StdEncoding.EncodeToString(value) + "\r\n" + message
}

// message draws one and who brings it.
func (g *changing) message(t *testing.T) (Session, mail.Envelope, string) {
	t.Helper()
	text := "From: Joe <joe@" + g.pick(changingDomains...) + ">\r\nSubject: x\r\n\r\nHi, Ann.\r\n"
	if g.IntN(12) == 0 {
		text = "From: a@org.test, b@org.test\r\n" + text[strings.Index(text, "\r\n")+2:]
	}
	for range g.IntN(4) {
		text = g.sign(t, text)
	}
	if g.IntN(3) == 0 {
		s := arctest.Sealer{Domain: "forwarder.test", Results: "forwarder.test; dmarc=pass header.from=" + g.pick(changingDomains...)}
		sealed, err := s.Seal(text)
		if err != nil {
			t.Fatal(err)
		}
		text = sealed
	}
	for range g.IntN(3) {
		text = "Received: from client.test (unknown [" + g.pick("192.0.2.1", "198.51.100.1", "203.0.113.8") + "])\r\n by filter.test (Postfix) with ESMTP id 4X; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)\r\n" + text
	}
	s := stranger()
	s.Addr = netip.MustParseAddr(g.pick("192.0.2.1", "192.0.2.9", "198.51.100.1", "203.0.113.7", "203.0.113.8"))
	return s, mail.Envelope{From: address(t, "joe@"+g.pick(changingDomains...))}, text
}

// policy draws a policy.
func (g *changing) policy(t *testing.T) Options {
	t.Helper()
	o := options(t, &proofs{})
	o.Made = Made{MinRSABits: []int{1024, 1536, 2048}[g.IntN(3)], MaxSignatures: []int{1, 2, 10}[g.IntN(3)], BodyLengthTag: g.pick("unsafe", "accept"), Discovery: g.pick("treewalk", "psl", "compare")}
	switch g.IntN(6) {
	case 0, 1:
		o.Upstreams = []UpstreamRule{{Addresses: []string{"203.0.113.7"}, Hops: 1 + g.IntN(2)}}
	case 2:
		o.Upstreams = []UpstreamRule{{Addresses: []string{"203.0.113.7", "203.0.113.8"}, Hops: 1 + g.IntN(2)}}
	}
	if g.IntN(4) == 0 {
		o.Exempt = []string{"198.51.100.1"}
	}
	o.SPF.Fail = g.pick("", "", "reject", "tag")
	o.Domains[0].Name, o.Domains[0].Spoofed = domain(t, "org.test"), g.pick("none", "quarantine")
	if g.IntN(2) == 0 {
		o.TrustedSealers = []string{"forwarder.test"}
	}
	if g.IntN(4) == 0 {
		o.Mode = ModeMonitor
	}
	o.BadFrom, o.SPF.SoftFail = g.pick("", "quarantine"), g.pick("", "tag")
	o.DMARC = DMARC{Enabled: g.IntN(8) > 0, HonorPct: g.IntN(2) == 0, EnforcePercent: []int{0, 30, 100, 100}[g.IntN(4)], Reject: g.pick("", "quarantine", "tag"),
		Quarantine: g.pick("", "tag", "reject"), TempError: g.pick("", "accept")}
	for range g.IntN(3) {
		o.Overrides = append(o.Overrides, Override{From: domain(t, g.pick(changingDomains...)), Action: g.pick("accept", "tag", "quarantine"), Note: "x", Until: time.Now().Add(time.Hour),
			Forwarder: []Forwarder{{DKIM: g.pick(changingDomains...)}, {ARC: "forwarder.test"}, {Client: "forwarder.test"}}[g.IntN(3)]})
	}
	return o
}

// proving gives a policy its proofs.
func (g *changing) proving(o Options) Options {
	m := o.Made
	o.Proofs = Proofs{
		SPF:  spf.New(spf.Options{Resolver: g.resolver}),
		DKIM: dkim.NewVerifier(dkim.Options{Resolver: g.resolver, MinRSABits: m.MinRSABits, MaxSignatures: m.MaxSignatures, BodyLengthTag: m.BodyLengthTag}),
		ARC:  arc.NewVerifier(arc.Options{Resolver: g.resolver, MinRSABits: m.MinRSABits}), DMARC: dmarc.New(dmarc.Options{Resolver: g.resolver, Discovery: m.Discovery}),
		Reverse: g.resolver,
	}
	return o
}

// TestDecideIsWhatWouldHaveBeen: another policy, tried on facts, comes to what
// it would have come to had it judged the message, or says that it cannot tell.
func TestDecideIsWhatWouldHaveBeen(t *testing.T) {
	g := newChanging(t)
	same, changed, undecided := 0, 0, 0
	for i := range 4 * peertest.Cases(t) {
		s, env, text := g.message(t)
		content := mail.MemoryBody([]byte(text))
		h, err := mail.HeaderOf(t.Context(), content, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		was, is := g.policy(t), g.policy(t)
		if i%4 == 0 { // one setting alone
			made := []func(*Made){func(m *Made) { m.MinRSABits = is.Made.MinRSABits }, func(m *Made) { m.MaxSignatures = is.Made.MaxSignatures },
				func(m *Made) { m.BodyLengthTag = is.Made.BodyLengthTag }, func(m *Made) { m.Discovery = is.Made.Discovery }}
			only := was
			made[g.IntN(len(made))](&only.Made)
			is = only
		}
		facts, v, _ := engine(t, g.proving(was)).Content(t.Context(), s, env, h, content)
		_, want, _ := engine(t, g.proving(is)).Content(t.Context(), s, env, h, content)
		d := engine(t, is).Decide(s, keptFacts(t, facts))
		switch {
		case d.Undecided:
			undecided++
		case d.Verdict.Action != want.Action || d.Verdict.Would != want.Would:
			t.Errorf("%+v %+v to %+v %+v: %s %s on the facts, would have been %s %s\n%+v\n%s", was.Made, was.Upstreams, is.Made, is.Upstreams,
				d.Verdict.Action, d.Verdict.Would, want.Action, want.Would, facts, text)
		case want.Action != v.Action || want.Would != v.Would:
			changed++
		default:
			same++
		}
		if was.Made == is.Made && was.DMARC.Enabled == is.DMARC.Enabled && len(was.Upstreams)+len(is.Upstreams) == 0 && d.Undecided && facts.Proved {
			t.Errorf("undecided though the proofs would be the same: %+v\n%+v", facts, was.Made)
		}
	}
	t.Logf("%d the same, %d changed, %d undecided", same, changed, undecided)
	if changed < undecided/4 || undecided == 0 || same+changed < undecided {
		t.Errorf("%d the same, %d changed, %d undecided", same, changed, undecided)
	}
}

// keptFacts is facts as they come back from the trace.
func keptFacts(t *testing.T, f Facts) Facts {
	t.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var kept Facts
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

// TestSignatureByOtherSettings: what facts tell of a signature, and what they
// leave open.
func TestSignatureByOtherSettings(t *testing.T) {
	sound := dkim.Result{Value: dkim.Pass, Algorithm: "rsa-sha256", KeyBits: 1024, BodyLength: -1}
	with := func(change func(*dkim.Result)) dkim.Result { r := sound; change(&r); return r }
	made := func(bits, sigs int, l string) Made {
		return Made{MinRSABits: bits, MaxSignatures: sigs, BodyLengthTag: l, Discovery: "treewalk"}
	}
	plain := made(1024, 10, "unsafe")
	policyOf := func(r *dkim.Result) { r.Value = dkim.Policy }
	for name, c := range map[string]struct {
		was, is     Made
		above       []dkim.Result
		r           dkim.Result
		pass, other bool
	}{
		"the same":                              {plain, plain, nil, sound, true, false},
		"a key that is too short now":           {plain, made(2048, 10, "unsafe"), nil, sound, false, true},
		"a key that is long enough still":       {plain, made(2048, 10, "unsafe"), nil, with(func(r *dkim.Result) { r.KeyBits = 2048 }), true, false},
		"Ed25519":                               {plain, made(2048, 10, "unsafe"), nil, with(func(r *dkim.Result) { r.KeyBits, r.Algorithm = 256, "ed25519-sha256" }), true, false},
		"a key that is long enough now":         {made(2048, 10, "unsafe"), plain, nil, with(policyOf), true, true},
		"a key that is too short still":         {made(2048, 10, "unsafe"), made(1536, 10, "unsafe"), nil, with(policyOf), false, true},
		"a failure stays one":                   {made(2048, 10, "unsafe"), plain, nil, with(func(r *dkim.Result) { r.Value = dkim.Fail }), false, true},
		"l= that was accepted":                  {made(1024, 10, "accept"), plain, nil, with(func(r *dkim.Result) { r.BodyLength = 7 }), false, true},
		"l= that was not accepted":              {plain, made(1024, 10, "accept"), nil, with(func(r *dkim.Result) { r.Value, r.BodyLength = dkim.Policy, 7 }), true, true},
		"policy for another reason":             {plain, made(1024, 10, "accept"), nil, with(policyOf), false, true},
		"places taken":                          {plain, made(1024, 1, "unsafe"), []dkim.Result{sound}, sound, false, true},
		"places left":                           {plain, made(1024, 2, "unsafe"), []dkim.Result{sound}, sound, true, false},
		"places taken perhaps":                  {plain, made(1024, 1, "unsafe"), []dkim.Result{{Value: dkim.PermError}}, sound, true, true},
		"one too many then, looked at now":      {made(1024, 1, "unsafe"), plain, []dkim.Result{sound}, dkim.Result{Value: dkim.Policy, BodyLength: -1}, true, true},
		"not looked at for another reason then": {made(1024, 1, "unsafe"), plain, nil, dkim.Result{Value: dkim.Policy, BodyLength: -1}, false, true},
	} {
		e := &Engine{made: c.is}
		if pass, other := e.signature(Facts{Made: c.was, DKIM: append(c.above, c.r)}, len(c.above)); pass != c.pass || other != c.other {
			t.Errorf("%s: passes %v, does not %v, want %v and %v", name, pass, other, c.pass, c.other)
		}
	}
}

// Replay took the signatures for looked at from the top, while those of the
// author come first where there are too many: with fewer places it refused on
// paper what would have been accepted.
func TestTheAuthorsSignatureKeepsItsPlace(t *testing.T) {
	by := func(name string) dkim.Result {
		return dkim.Result{Value: dkim.Pass, Algorithm: "rsa-sha256", KeyBits: 2048, BodyLength: -1, Domain: domain(t, name)}
	}
	unseen := func(r dkim.Result) dkim.Result { r.Value, r.KeyBits = dkim.Policy, 0; return r }
	list, author, other := by("list.test"), by("author.test"), by("other.test")
	for name, c := range map[string]struct {
		was, is int
		found   []dkim.Result
		want    string // p: passes, n: does not, ?: either
	}{
		"one place for two":          {10, 1, []dkim.Result{list, author}, "np"},
		"two places for three":       {10, 2, []dkim.Result{list, other, author}, "pnp"},
		"below the author's domain":  {10, 1, []dkim.Result{list, by("mail.author.test")}, "np"},
		"above it":                   {10, 1, []dkim.Result{list, by("test")}, "np"},
		"places for all":             {1, 10, []dkim.Result{unseen(list), author}, "?p"},
		"more places, still too few": {1, 2, []dkim.Result{unseen(list), unseen(other), author}, "??p"},
		"fewer, and none left":       {2, 1, []dkim.Result{list, author, unseen(other)}, "npn"},
	} {
		f := Facts{From: address(t, "joe@author.test"), Made: Made{MinRSABits: 1024, MaxSignatures: c.was}, DKIM: c.found}
		e, got := &Engine{made: Made{MinRSABits: 1024, MaxSignatures: c.is}}, ""
		for i := range f.DKIM {
			pass, not := e.signature(f, i)
			got += map[[2]bool]string{{true, false}: "p", {false, true}: "n", {true, true}: "?"}[[2]bool{pass, not}]
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Replay with policy.dmarc off still went by the DMARC result of then: mail of
// ours that SPF proves was refused as spoofed on paper.
func TestDMARCThatIsOffIsForgotten(t *testing.T) {
	o := options(t, &proofs{})
	o.DMARC.Enabled, o.Domains[0].Spoofed = false, "reject"
	f := Facts{From: address(t, "joe@example.com"), Made: o.Made, Proved: true, SPF: spfResult(t, "pass", "mail.example.com"),
		DMARC: dmarc.Result{Value: dmarc.Fail, From: domain(t, "example.com"), Policy: "none"}}
	if d := engine(t, o).Decide(stranger(), f); d.Undecided || d.Verdict.Action != Accept {
		t.Errorf("%+v", d)
	}
	f.SPF, f.DMARC.Value = spfResult(t, "temperror", "mail.example.com"), dmarc.TempError
	f.Worlds = []World{{SPF: "pass", DMARC: f.DMARC}, {SPF: "fail", DMARC: f.DMARC}}
	if d := engine(t, o).Decide(stranger(), f); d.Verdict.Action != Defer || strings.Contains(d.Verdict.Reason, "dmarc policy") || f.Worlds[0].DMARC.Value != dmarc.TempError {
		t.Errorf("%+v, %+v", d.Verdict, f.Worlds)
	}
}

// What DNS may yet answer was asked by the settings of then: by others replay
// took a signature for worthless, and the worlds in which it counts for true.
func TestDNSTroubleByOtherSettingsIsUndecided(t *testing.T) {
	o := options(t, &proofs{})
	o.Made = Made{MinRSABits: 1024, MaxSignatures: 10, BodyLengthTag: "unsafe", Discovery: "treewalk"}
	passed := dmarc.Result{Value: dmarc.Pass, From: domain(t, "author.example"), Policy: "reject", Pct: 100, DKIMAligned: true}
	f := Facts{From: address(t, "joe@author.example"), Made: o.Made, Proved: true, SPF: spfResult(t, "temperror", "other.example"), DMARC: passed,
		DKIM:   []dkim.Result{{Value: dkim.Pass, Domain: passed.From, KeyBits: 2048, Algorithm: "rsa-sha256", BodyLength: 3}},
		Worlds: []World{{SPF: "pass", DMARC: passed}, {SPF: "softfail", DMARC: passed}, {SPF: "fail", DMARC: passed}}}
	for l, want := range map[string]bool{"accept": true, "unsafe": false} {
		f.Made.BodyLengthTag = l
		if d := engine(t, o).Decide(stranger(), f); d.Undecided != want {
			t.Errorf("l= was %s: %+v", l, d)
		}
	}
	f.Made.BodyLengthTag, f.Made.Upstreams = "unsafe", "0a1b2c3d" // which this client is none of
	if d := engine(t, o).Decide(stranger(), f); d.Undecided {
		t.Errorf("other upstreams: %+v", d)
	}
}

// TestComparedDiscoveryIsKnown: where both ways were asked, the other answer
// is among the facts.
func TestComparedDiscoveryIsKnown(t *testing.T) {
	e := &Engine{made: Made{Discovery: dmarc.PSL}}
	f := Facts{Made: Made{Discovery: dmarc.Compare}, Proved: true, DMARC: dmarc.Result{Value: dmarc.Fail, Policy: "none", Pct: 100, PolicyDomain: domain(t, "a.org.test")}}
	if list, open := e.supposed(stranger(), f); len(list) != 1 || open || list[0].DMARC.Policy != "none" {
		t.Errorf("no difference: %+v, open %v", list, open)
	}
	f.DMARC.PSL = &dmarc.Comparison{Value: dmarc.Pass, Policy: "reject", PolicyDomain: f.DMARC.PolicyDomain}
	if list, open := e.supposed(stranger(), f); len(list) != 1 || open || list[0].DMARC.Value != dmarc.Pass || list[0].DMARC.Policy != "reject" {
		t.Errorf("another answer: %+v, open %v", list, open)
	}
	f.Made.Discovery = dmarc.TreeWalk
	if list, _ := e.supposed(stranger(), f); len(list) < 2 {
		t.Errorf("only one way was asked: %+v", list)
	}
}

// TestOtherClient: which changes of policy.upstreams leave the judged client
// the same.
func TestOtherClient(t *testing.T) {
	near, inner, client := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8"), netip.MustParseAddr("192.0.2.1")
	one := []UpstreamRule{{Addresses: []string{"203.0.113.7"}}}
	for name, c := range map[string]struct {
		was  Upstream
		is   []UpstreamRule
		from netip.Addr
		want bool
	}{
		"still no upstream":                 {Upstream{}, one, client, false},
		"an upstream now":                   {Upstream{}, one, near, true},
		"no upstream any more":              {Upstream{By: near, Addr: client, Hops: 1}, nil, near, true},
		"another address beside it":         {Upstream{By: near, Addr: client, Hops: 1}, []UpstreamRule{{Addresses: []string{"203.0.113.7", "203.0.113.9"}}}, near, false},
		"more hops, but the client is none": {Upstream{By: near, Addr: client, Hops: 1}, []UpstreamRule{{Addresses: []string{"203.0.113.7"}, Hops: 2}}, near, false},
		"more hops, by way of the client":   {Upstream{By: near, Addr: inner, Hops: 1}, []UpstreamRule{{Addresses: []string{"203.0.113.0/24"}, Hops: 2}}, near, true},
		"one hop, and the client is one":    {Upstream{By: near, Addr: inner, Hops: 1}, []UpstreamRule{{Addresses: []string{"203.0.113.0/24"}, Hops: 1}}, near, false},
		"fewer hops":                        {Upstream{By: near, Addr: client, Hops: 2}, one, near, true},
		"nobody was found":                  {Upstream{By: near, Hops: 1, Reason: "unread"}, one, near, true},
	} {
		o := options(t, &proofs{})
		o.Upstreams = c.is
		s := stranger()
		s.Addr = c.from
		if got := engine(t, o).otherClient(s, Facts{Made: Made{Upstreams: "other"}, Upstream: c.was}); got != c.want {
			t.Errorf("%s: another client %v, want %v", name, got, c.want)
		}
	}
}

// TestChainByOtherSettings: a chain may hang on keys that facts do not hold.
func TestChainByOtherSettings(t *testing.T) {
	chain := func(value string) Facts {
		return Facts{Made: Made{MinRSABits: 1536}, ARC: arc.Result{Value: value, Sets: []arc.Set{{Instance: 1}}}}
	}
	for _, c := range []struct {
		value string
		bits  int
		want  []string
	}{
		{arc.Pass, 2048, []string{arc.Pass, arc.Fail}}, {arc.Pass, 1024, []string{arc.Pass}}, {arc.Fail, 1024, []string{arc.Fail, arc.Pass}},
		{arc.Fail, 2048, []string{arc.Fail}}, {arc.None, 2048, []string{arc.None}}, {arc.Pass, 1536, []string{arc.Pass}},
	} {
		e := &Engine{made: Made{MinRSABits: c.bits}}
		var got []string
		for _, f := range e.supposedChains(chain(c.value)) {
			got = append(got, f.ARC.Value)
			if f.ARC.Value == arc.Pass && c.value == arc.Fail && (f.said(0) != saidPass || !f.ARC.FromSigned) {
				t.Errorf("%s by %d bits: %+v says nothing", c.value, c.bits, f)
			}
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s by %d bits: %v, want %v", c.value, c.bits, got, c.want)
		}
	}
}
