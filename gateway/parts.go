package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/sasl"
	"gatepost/auth/signing"
	"gatepost/auth/spf"
	"gatepost/config"
	"gatepost/dnsx"
	"gatepost/gateway/delivery"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/policy/route"
	"gatepost/report/forensic"
	"gatepost/report/outgoing"
)

// parts are made of one configuration and exchanged as a whole on reload.
type parts struct {
	config    *config.Loaded
	log       *slog.Logger
	resolver  *dnsx.Resolver
	policy    *policy.Engine
	routes    *route.Table
	windows   map[string]int
	inboxes   []mail.Address // report.inbox
	reports   reportReader
	counts    bool           // report.dmarc_aggregate.count
	reporters []mail.Address // that reports are sent from
	reporting outgoing.Settings
	failing   forensic.Settings
	passwords *sasl.Verifier
	signer    *signing.Signer
	deliverer *delivery.Deliverer
	onClose   func() // for tests; nil: nothing
}

// base is what parts stand on and what outlives a reload.
type base struct {
	log      *slog.Logger
	now      func() time.Time
	keys     signing.Keys
	observe  outbound
	names    names
	sealKey  []byte
	identity *mail.IDSource
	reports  reportReader
	version  string
}

func newPasswords(c *config.Config, now func() time.Time) (*sasl.Verifier, error) {
	o := passwordOptions(c)
	o.Now, o.Random = now, rand.Reader
	return sasl.NewVerifier(o)
}

// newParts makes everything that one configuration decides.
func newParts(c *config.Loaded, b base) (*parts, error) {
	p := &parts{config: c, log: b.log, windows: windowOf(&c.Config), inboxes: inboxes(&c.Config), reports: b.reports}
	p.counts, p.reporters = c.Report.DMARC.Count, reporters(&c.Config)
	p.failing = failureSettings(&c.Config, b.version)
	var err error
	dns := resolverOptions(&c.Config)
	dns.Observer, dns.Now = b.names, b.now
	if p.resolver, err = dnsx.New(dns); err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	p.reporting = reportSettings(&c.Config)
	p.reporting.DNS, p.reporting.Software = p.checker(), "Gatepost "+b.version
	if p.policy, err = policy.New(p.judge(b)); err != nil {
		return nil, p.discard(err)
	}
	if p.routes, err = route.New(routeOptions(&c.Config)); err != nil {
		return nil, p.discard(err)
	}
	if p.passwords, err = newPasswords(&c.Config, b.now); err != nil {
		return nil, p.discard(err)
	}
	sign := signingOptions(&c.Config)
	sign.Keys, sign.Now, sign.Logger = b.keys, b.now, b.log
	if p.signer, err = signing.New(sign); err != nil {
		return nil, p.discard(err)
	}
	way := deliveryOptions(&c.Config)
	way.Resolver, way.Signer, way.Observer, way.Logger, way.Now = p.resolver, p.signer, b.observe, b.log, b.now
	if way.Sealer, err = newSealer(&c.Config, b); err != nil {
		return nil, p.discard(err)
	}
	if p.deliverer, err = delivery.New(way); err != nil {
		return nil, p.discard(err)
	}
	return p, nil
}

func (p *parts) checker() *dmarc.Checker {
	return dmarc.New(dmarc.Options{Resolver: p.resolver, Discovery: p.config.Policy.DMARC.Discovery})
}

// judge is the policy's Options with its proofs.
func (p *parts) judge(b base) policy.Options {
	c := &p.config.Config
	o := policyOptions(c)
	o.Logger, o.Now, o.SampleKey = b.log, b.now, sampleKey(b.sealKey)
	o.Proofs = policy.Proofs{
		SPF: spf.New(spf.Options{Resolver: p.resolver, Receiver: c.Hostname, Now: b.now}),
		DKIM: dkim.NewVerifier(dkim.Options{
			Resolver: p.resolver, Now: b.now, MinRSABits: c.Policy.DKIM.MinRSABits,
			MaxSignatures: c.Policy.DKIM.MaxSignatures, BodyLengthTag: c.Policy.DKIM.BodyLengthTag,
		}),
		ARC:     arc.NewVerifier(arc.Options{Resolver: p.resolver, Now: b.now, MinRSABits: c.Policy.DKIM.MinRSABits}),
		DMARC:   p.checker(),
		Reverse: p.resolver,
	}
	if !c.Policy.DMARC.Enabled {
		o.Proofs.DMARC = nil
	}
	return o
}

// sampleKey draws pct alike on all nodes: they share the seal key.
func sampleKey(sealKey []byte) []byte {
	h := hmac.New(sha256.New, sealKey)
	io.WriteString(h, "gatepost dmarc pct")
	return h.Sum(nil)
}

func (p *parts) discard(err error) error {
	return errors.Join(err, p.close())
}

// close lets go of connections; running deliveries finish on theirs.
func (p *parts) close() error {
	if p.deliverer != nil {
		p.deliverer.Close()
	}
	if p.resolver != nil {
		p.resolver.Close()
	}
	if p.onClose != nil {
		p.onClose()
	}
	return nil
}

// route names the way of one recipient.
func (p *parts) route(m *mail.Message, to mail.Address) (dest string, window, recipients int) {
	if slices.ContainsFunc(p.inboxes, to.EqualFold) {
		return destReports, reportWindow, p.config.Delivery.RecipientsPerMessage
	}
	dest = p.routes.Route(m.Envelope.From, m.Origin.Listener, to)
	window, ok := p.windows[dest]
	if !ok {
		window = p.config.Delivery.ConnectionsPerDestination
	}
	return dest, window, p.config.Delivery.RecipientsPerMessage
}

// maxHeader bounds the header that is read again before signing; intake has
// let no larger one in.
const maxHeader = 16 << 20

// withoutReplaced leaves out the signatures that ours take the place of
// (existing: replace).
func (p *parts) withoutReplaced(ctx context.Context, m *mail.Message) (*mail.Message, error) {
	if m.Origin.From.IsZero() || !p.signer.Replaces(m.Origin.From) {
		return m, nil
	}
	h, err := mail.HeaderOf(ctx, m.Content, maxHeader)
	if err != nil {
		return nil, fmt.Errorf("read the header of %s: %w", m.ID, err)
	}
	changed := *m
	changed.Cuts = p.signer.Cuts(ctx, m, h)
	return &changed, nil
}

// ready is the bound of a cheap question to the store.
const readyWait = 2 * time.Second

func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}
