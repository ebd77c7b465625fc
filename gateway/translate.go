package gateway

import (
	"net/netip"
	"slices"
	"time"

	"gatepost/auth/arc"
	"gatepost/auth/keyring"
	"gatepost/auth/sasl"
	"gatepost/auth/signing"
	"gatepost/config"
	"gatepost/dnsx"
	"gatepost/gateway/delivery"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/policy/route"
	"gatepost/report/aggregate"
	"gatepost/report/outgoing"
)

// The functions here say the same thing in the words of the packages. They
// check nothing: each package checks its own Options.

func prefixStrings(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return out
}

// domainOf is zero for what is no domain; config has reported that.
func domainOf(s string) mail.Domain {
	d, _ := mail.ParseDomain(s)
	return d
}

// addressOf is null for what is no address; config has reported that.
func addressOf(s string) mail.Address {
	a, _ := mail.ParseAddress(s, true)
	return a
}

func durations(list []config.Duration) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, d := range list {
		out[i] = d.Std()
	}
	return out
}

func resolverOptions(c *config.Config) dnsx.Options {
	o := dnsx.Options{Timeout: c.DNS.Timeout.Std()}
	for _, s := range c.DNS.Servers {
		o.Servers = append(o.Servers, dnsx.Server{Address: s.Address, Validating: s.Validating})
	}
	return o
}

func checkResolverOptions(c *config.Config) dnsx.Options {
	o := resolverOptions(c)
	if len(c.DKIM.CheckServers) == 0 {
		return o
	}
	o.Servers = nil
	for _, s := range c.DKIM.CheckServers {
		o.Servers = append(o.Servers, dnsx.Server{Address: s})
	}
	return o
}

func passwordOptions(c *config.Config) sasl.Options {
	var o sasl.Options
	for _, u := range c.Users {
		o.Users = append(o.Users, sasl.User{Name: u.Name, PasswordHash: u.PasswordHash.Reveal()})
	}
	return o
}

func policyOptions(c *config.Config) policy.Options {
	p := c.Policy
	o := policy.Options{
		Mode:       p.Mode,
		Postmaster: addressOf(c.Postmaster),
		Inboxes:    inboxes(c),
		BadFrom:    p.BadFrom,
		SPF:        policy.SPF{Fail: p.SPF.Fail, SoftFail: p.SPF.Softfail},
		DMARC: policy.DMARC{
			Enabled: p.DMARC.Enabled, HonorPct: p.DMARC.HonorPct, EnforcePercent: p.DMARC.EnforcePercent,
			Reject: p.DMARC.Reject, Quarantine: p.DMARC.Quarantine, TempError: p.DMARC.Temperror,
		},
		TrustedSealers: p.ARC.TrustedSealers,
		Sealing:        p.ARC.Seal.Domain != "",
		Exempt:         prefixStrings(p.Exempt),
		TagHeader:      p.Tag.Header,
		Made: policy.Made{
			MinRSABits: p.DKIM.MinRSABits, MaxSignatures: p.DKIM.MaxSignatures, BodyLengthTag: p.DKIM.BodyLengthTag, Discovery: p.DMARC.Discovery,
		},
	}
	for _, u := range p.Upstreams {
		o.Upstreams = append(o.Upstreams, policy.UpstreamRule{Addresses: prefixStrings(u.Addresses), Hops: u.Hops})
	}
	for _, x := range p.Overrides {
		o.Overrides = append(o.Overrides, policy.Override{
			From: domainOf(x.From), Forwarder: policy.Forwarder{DKIM: x.Forwarder.DKIM, ARC: x.Forwarder.ARC, Client: x.Forwarder.Client},
			Action: x.Action, Until: x.Until.End(), Note: x.Note,
		})
	}
	for _, d := range c.Domains {
		o.Domains = append(o.Domains, policy.Domain{Name: domainOf(d.Name), AcceptAll: d.Recipients.Accept == "all", File: d.Recipients.File, Spoofed: d.Spoofed})
	}
	for _, r := range c.RelayClients {
		o.RelayClients = append(o.RelayClients, policy.RelayClient{Name: r.Name, Addresses: prefixStrings(r.Addresses), SendAs: r.SendAs, OtherFrom: r.OtherFrom})
	}
	for _, u := range c.Users {
		o.Users = append(o.Users, policy.User{Name: u.Name, SendAs: u.SendAs, OtherFrom: u.OtherFrom})
	}
	return o
}

// inboxes are the addresses to which reports are sent.
func inboxes(c *config.Config) []mail.Address {
	var out []mail.Address
	for _, a := range c.Report.Inbox {
		if address := addressOf(a); !address.IsNull() {
			out = append(out, address)
		}
	}
	return out
}

// reporters are the addresses that reports are sent from.
func reporters(c *config.Config) []mail.Address {
	var out []mail.Address
	for _, s := range []string{c.Report.DMARC.From, c.Report.Failure.From} {
		if a := addressOf(s); !a.IsNull() {
			out = append(out, a)
		}
	}
	return out
}

// reportSettings are what is said of DMARC reports to others. The sender is
// the postmaster where there is none yet, for the preview.
func reportSettings(c *config.Config) outgoing.Settings {
	d := c.Report.DMARC
	from := addressOf(d.From)
	if from.IsNull() {
		from = addressOf(c.Postmaster)
	}
	return outgoing.Settings{
		Enabled: d.Enabled, From: from, Org: d.Org, Submitter: domainOf(c.Hostname), Format: aggregate.Format(d.Format), Discovery: c.Policy.DMARC.Discovery,
		MaxReports: d.MaxReports, PerDestination: d.PerDestination, MaxRecords: d.MaxRecords, MaxSize: int64(d.MaxSize), Window: d.Window.Std(),
	}
}

func routeOptions(c *config.Config) route.Options {
	var o route.Options
	for _, h := range c.NextHops {
		o.NextHops = append(o.NextHops, h.Name)
	}
	for _, l := range c.Listeners {
		o.Listeners = append(o.Listeners, l.Name)
	}
	for _, d := range c.Domains {
		o.Domains = append(o.Domains, route.Domain{Name: domainOf(d.Name), NextHop: d.NextHop})
	}
	for _, r := range c.Routes {
		o.Routes = append(o.Routes, route.Route{Recipients: r.Match.Recipients, Senders: r.Match.Senders, Listeners: r.Match.Listeners, NextHop: r.NextHop})
	}
	return o
}

func certificateFiles(c *config.Config) []intake.CertificateFiles {
	var out []intake.CertificateFiles
	for _, f := range c.TLS.Certificates {
		out = append(out, intake.CertificateFiles{Cert: f.Cert, Key: f.Key})
	}
	return out
}

func intakeOptions(c *config.Config) intake.Options {
	o := intake.Options{
		Hostname: c.Hostname, AuthservID: c.AuthservID, Postmaster: addressOf(c.Postmaster),
		SpoolDir: c.DataDir,
		// Nobody outside writes the field that we write.
		StripInbound: append(slices.Clone(c.Policy.StripInbound), c.Policy.Tag.Header),
	}
	for _, l := range c.Listeners {
		o.Listeners = append(o.Listeners, listenerOptions(l, len(c.TLS.Certificates) > 0))
	}
	return o
}

func listenerOptions(l config.Listener, certificates bool) intake.Listener {
	mode := l.TLS.Mode
	if mode == "optional" && !certificates {
		mode = "off" // check warns that STARTTLS is not offered
	}
	out := intake.Listener{
		Name: l.Name, Address: l.Address, Role: l.Role, RelayClients: l.RelayClients,
		TLS:          intake.TLS{Mode: mode, MinVersion: l.TLS.MinVersion},
		BareNewline:  intake.BareNewline{Data: l.BareNewline.Data, BDAT: l.BareNewline.BDAT},
		NoChunking:   !l.Chunking,
		ProxyTrusted: prefixStrings(l.ProxyProtocol.Trusted),
		Limits: intake.Limits{
			MessageSize: int64(l.Limits.MessageSize), HeaderSize: int64(l.Limits.HeaderSize),
			RecipientsPerMessage: l.Limits.RecipientsPerMessage, Connections: l.Limits.Connections,
			ConnectionsPerClient: l.Limits.ConnectionsPerClient, IPv6Prefix: l.Limits.IPv6Prefix,
			ErrorsPerSession: l.Limits.ErrorsPerSession, JunkCommands: l.Limits.JunkCommands, AuthFailures: l.Limits.AuthFailures,
			CommandTimeout: l.Limits.CommandTimeout.Std(), DataTimeout: l.Limits.DataTimeout.Std(),
			SessionTimeout: l.Limits.SessionTimeout.Std(), ReceivedHops: l.Limits.ReceivedHops,
		},
	}
	for _, m := range l.Auth.Mechanisms {
		if m == sasl.Plain || m == sasl.Login { // check warns of the others
			out.Mechanisms = append(out.Mechanisms, m)
		}
	}
	return out
}

func deliveryTLS(t config.DeliveryTLS) delivery.TLS {
	out := delivery.TLS{Policy: t.Policy, Name: t.Name, CA: t.CA}
	if t.ClientCert != nil {
		out.ClientCert, out.ClientKey = t.ClientCert.Cert, t.ClientCert.Key
	}
	return out
}

func deliveryOptions(c *config.Config) delivery.Options {
	d := c.Delivery
	o := delivery.Options{
		Hostname: c.Hostname, EHLO: d.EHLO, TLS: deliveryTLS(d.TLS), Connections: d.Connections,
		Messages: d.MessagesPerConnection, Recipients: d.RecipientsPerMessage, SourceAddresses: d.SourceAddresses,
		Own: ownAddresses(c.Listeners),
	}
	for _, h := range c.NextHops {
		o.NextHops = append(o.NextHops, delivery.NextHop{
			Name: h.Name, URLs: h.URLs, Select: h.Select, TLS: deliveryTLS(h.TLS), EHLO: h.EHLO, EightBit: h.EightBit,
			Auth:   delivery.Auth{Mechanism: h.Auth.Mechanism, Username: h.Auth.Username, Password: h.Auth.Password},
			MaxAge: h.MaxAge.Std(),
		})
	}
	return o
}

// ownAddresses are the addresses of listeners on port 25, the port that MX
// records lead to; a listener without a host stands for all of this machine.
func ownAddresses(listeners []config.Listener) []netip.Addr {
	var out []netip.Addr
	for _, l := range listeners {
		ap, err := netip.ParseAddrPort(l.Address)
		switch {
		case err == nil && ap.Port() == 25 && !ap.Addr().IsUnspecified():
			out = append(out, ap.Addr())
		case l.Address == ":25" || err == nil && ap.Port() == 25:
			out = append(out, machineAddresses()...)
		}
	}
	return out
}

func signingOptions(c *config.Config) signing.Options {
	var o signing.Options
	for _, r := range c.DKIM.Sign {
		o.Rules = append(o.Rules, signing.Rule{
			Domains: r.Domains, Subdomains: r.Subdomains, Algorithms: r.Algorithms, Headers: r.Headers,
			Oversign: r.Oversign, Expire: r.Expire.Std(), Existing: r.Existing,
		})
	}
	return o
}

func sealerOptions(c *config.Config) arc.SealerOptions {
	s := c.Policy.ARC.Seal
	return arc.SealerOptions{Domain: s.Domain, Algorithm: s.Algorithm, Headers: s.Headers, Oversign: s.Oversign}
}

func keyFiles(c *config.Config) []keyring.File {
	var out []keyring.File
	for _, f := range c.DKIM.Keys {
		out = append(out, keyring.File{Domain: domainOf(f.Domain), Selector: f.Selector, Path: f.File})
	}
	return out
}

// windowOf is how many connections a destination gets.
func windowOf(c *config.Config) map[string]int {
	out := map[string]int{}
	for _, h := range c.NextHops {
		out["hop:"+h.Name] = h.Connections
	}
	return out
}
