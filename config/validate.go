package config

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatepost/mail"
)

// check notes what is wrong beyond the shape of the file.
type check struct {
	c      *Loaded
	errors Errors
}

func (k *check) fail(path, format string, args ...any) {
	k.errors = append(k.errors, k.c.At(path, format, args...))
}

// validate checks values against each other and against the file system.
func (c *Loaded) validate() Errors {
	k := &check{c: c}
	k.domain("hostname", c.Hostname)
	k.domain("authserv_id", c.AuthservID)
	k.address("postmaster", c.Postmaster)
	k.store()
	k.tls()
	k.dns()
	k.limits("limits", c.Limits)
	k.clients()
	k.users()
	k.listeners()
	k.nextHops()
	k.domains()
	k.routes()
	k.delivery()
	k.dkim()
	k.policy()
	k.reports()
	k.endpoints()
	k.unsupported()
	return k.errors
}

func (k *check) domain(path, name string) {
	if name == "" {
		return // a missing name has been reported
	}
	if _, err := mail.ParseDomain(name); err != nil {
		k.fail(path, "expected a domain name, found %q", name)
	}
}

func (k *check) address(path, a string) {
	if _, err := mail.ParseAddress(a, true); err != nil && a != "" {
		k.fail(path, "expected a mail address such as postmaster@example.com, found %q", a)
	}
}

// readable reports a file that cannot be opened.
func (k *check) readable(path, file string) {
	if file == "" {
		return
	}
	f, err := os.Open(file)
	if err != nil {
		k.fail(path, "cannot read the file: %v", err)
		return
	}
	f.Close()
}

func (k *check) hostPort(path, address string, needHost bool) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || needHost && host == "" {
		k.fail(path, "expected host:port, found %q", address)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && needHost {
		k.fail(path, "expected a port number from 1 to 65535, found %q", port)
	}
}

func (k *check) store() {
	s := k.c.Store
	u, err := url.Parse(string(s.URL))
	postgres := err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
	if string(s.URL) != "sqlite" && !postgres {
		k.fail("store.url", "expected sqlite or postgres://user:password@host:port/database")
	}
	if s.SealKey.IsZero() {
		if postgres {
			k.fail("store.seal_key", "missing; all nodes share it: 32 octets in base64, for example from 'openssl rand -base64 32'")
		}
		return
	}
	if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.SealKey.Reveal())); err != nil || len(b) != 32 {
		k.fail("store.seal_key", "expected 32 octets in base64, for example from 'openssl rand -base64 32'")
	}
}

func (k *check) tls() {
	for i, c := range k.c.TLS.Certificates {
		k.readable(fmt.Sprintf("tls.certificates[%d].cert", i), c.Cert)
		k.readable(fmt.Sprintf("tls.certificates[%d].key", i), c.Key)
	}
	k.readable("tls.client_ca", k.c.TLS.ClientCA)
}

func (k *check) dns() {
	for i, s := range k.c.DNS.Servers {
		k.hostPort(fmt.Sprintf("dns.servers[%d].address", i), s.Address, true)
	}
	k.positive("dns.timeout", int64(k.c.DNS.Timeout))
}

func (k *check) positive(path string, n int64) {
	if n <= 0 {
		k.fail(path, "must be more than 0")
	}
}

func (k *check) limits(path string, l Limits) {
	for key, n := range map[string]int64{
		"message_size": int64(l.MessageSize), "header_size": int64(l.HeaderSize),
		"recipients_per_message": int64(l.RecipientsPerMessage), "connections": int64(l.Connections),
		"connections_per_client": int64(l.ConnectionsPerClient), "ipv6_prefix": int64(l.IPv6Prefix),
		"errors_per_session": int64(l.ErrorsPerSession), "junk_commands": int64(l.JunkCommands), "auth_failures": int64(l.AuthFailures),
		"command_timeout": int64(l.CommandTimeout), "data_timeout": int64(l.DataTimeout),
		"session_timeout": int64(l.SessionTimeout), "received_hops": int64(l.ReceivedHops),
	} {
		k.positive(path+"."+key, n)
	}
	if l.IPv6Prefix > 128 {
		k.fail(path+".ipv6_prefix", "expected 1 to 128")
	}
	if l.RecipientsPerMessage < 100 {
		k.fail(path+".recipients_per_message", "at least 100 must be accepted (RFC 5321 section 4.5.3.1.8)")
	}
}

func (k *check) clients() {
	for i, r := range k.c.RelayClients {
		k.sendAs(fmt.Sprintf("relay_clients[%d].send_as", i), r.SendAs)
	}
}

func (k *check) users() {
	for i, u := range k.c.Users {
		path := fmt.Sprintf("users[%d]", i)
		k.sendAs(path+".send_as", u.SendAs)
		if u.PasswordHash.IsZero() && u.SCRAM.IsZero() && u.Certificate == nil {
			k.fail(path, "has neither password_hash nor certificate; 'gatepost user hash' makes a password_hash")
		}
		if !u.PasswordHash.IsZero() && !strings.HasPrefix(u.PasswordHash.Reveal(), "$argon2id$") {
			k.fail(path+".password_hash", "expected what 'gatepost user hash' prints ($argon2id$…)")
		}
	}
}

func (k *check) sendAs(path string, patterns []string) {
	for i, p := range patterns {
		at := fmt.Sprintf("%s[%d]", path, i)
		domain, isDomain := strings.CutPrefix(p, "@")
		if !isDomain {
			k.address(at, p)
			continue
		}
		if _, err := mail.ParseDomain(strings.TrimPrefix(domain, "*.")); err != nil {
			k.fail(at, "expected '@example.com', 'user@example.com' or '@*.example.com', found %q", p)
		}
	}
}

func (k *check) listeners() {
	names := names(k.c.RelayClients, func(r RelayClient) string { return r.Name })
	addresses := map[string]string{}
	for i, l := range k.c.Listeners {
		path := fmt.Sprintf("listeners[%d]", i)
		k.hostPort(path+".address", l.Address, false)
		if other, ok := addresses[l.Address]; ok && l.Address != "" {
			k.fail(path+".address", "%s is the address of listener %q already", l.Address, other)
		}
		addresses[l.Address] = l.Name
		for j, name := range l.RelayClients {
			k.reference(fmt.Sprintf("%s.relay_clients[%d]", path, j), "relay client", name, names)
		}
		if len(l.Auth.Mechanisms) > 0 && l.TLS.Mode == "off" {
			k.fail(path+".auth", "AUTH is offered inside TLS only, and tls.mode is off: passwords would cross the network in the clear")
		}
		if l.TLS.Mode != "off" && len(k.c.TLS.Certificates) == 0 && (l.TLS.Mode != "optional" || len(l.Auth.Mechanisms) > 0) {
			k.fail(path+".tls", "needs a certificate: tls.certificates is empty")
		}
		k.limits(path+".limits", l.Limits)
	}
	if len(k.c.Listeners) == 0 {
		k.fail("listeners", "expected at least one listener")
	}
}

func names[T any](list []T, name func(T) string) []string {
	var out []string
	for _, x := range list {
		out = append(out, name(x))
	}
	return out
}

// reference reports a name that nothing has.
func (k *check) reference(path, what, name string, known []string) {
	if name == "" || slices.Contains(known, name) {
		return
	}
	hint := "none is configured"
	if len(known) > 0 {
		hint = "there are " + strings.Join(known, ", ")
	}
	if near := nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	k.fail(path, "unknown %s %q; %s", what, name, hint)
}

func (k *check) hopNames() []string {
	return append(names(k.c.NextHops, func(h NextHop) string { return h.Name }), "mx")
}

func (k *check) nextHops() {
	for i, h := range k.c.NextHops {
		path := fmt.Sprintf("next_hops[%d]", i)
		if h.Name == "mx" {
			k.fail(path+".name", "mx is taken: it means the MX of the recipient's domain")
		}
		if len(h.URLs) == 0 {
			k.fail(path+".urls", "expected at least one such as smtp://mail.example.com:25")
		}
		for j, u := range h.URLs {
			k.hopURL(fmt.Sprintf("%s.urls[%d]", path, j), u)
		}
		k.deliveryTLS(path+".tls", h.TLS)
		if h.Auth.Mechanism != "" && (h.Auth.Username == "" || h.Auth.Password.IsZero()) {
			k.fail(path+".auth", "needs username and password")
		}
		if h.Auth.Mechanism != "" && h.TLS.Policy == "off" {
			k.fail(path+".auth", "AUTH is used inside TLS only, and tls.policy is off: the password would cross the network in the clear")
		}
	}
}

func (k *check) hopURL(path, raw string) {
	u, err := url.Parse(raw)
	if err == nil && u.Scheme == "lmtp" && u.Host == "" && len(u.Path) > 1 {
		return // a local socket
	}
	if strings.Contains(raw, "@") { // not repeated: a password may stand before the @
		k.fail(path, "a user or password does not belong here; use auth: {mechanism, username, password}")
		return
	}
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		k.fail(path, "expected smtp://host:port, smtps://host:port, lmtp://host:port, lmtp:///socket or mx://domain, found %q", raw)
		return
	}
	switch u.Scheme {
	case "smtp", "smtps", "lmtp":
		if port := u.Port(); port != "" {
			if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
				k.fail(path, "expected a port from 1 to 65535, found %q", port)
			}
		}
	case "mx":
		k.domain(path, u.Host)
	default:
		k.fail(path, "unknown scheme %q; expected smtp, smtps, lmtp or mx", u.Scheme)
	}
}

func (k *check) deliveryTLS(path string, t DeliveryTLS) {
	k.readable(path+".ca", t.CA)
	if t.ClientCert != nil {
		k.readable(path+".client_cert.cert", t.ClientCert.Cert)
		k.readable(path+".client_cert.key", t.ClientCert.Key)
	}
	if t.Policy == "dane" || t.Policy == "policy" {
		k.fail(path+".policy", "%q is not supported yet; require or verify are the strict choices today", t.Policy)
	}
}

func (k *check) domains() {
	for i, d := range k.c.Domains {
		path := fmt.Sprintf("domains[%d]", i)
		k.domain(path+".name", d.Name)
		k.reference(path+".next_hop", "next hop", d.NextHop, k.hopNames())
		if (d.Recipients.Accept == "") == (d.Recipients.File == "") {
			k.fail(path+".recipients", "expected either 'accept: all' or 'file: …'")
		}
		k.readable(path+".recipients.file", d.Recipients.File)
	}
}

func (k *check) routes() {
	listeners := names(k.c.Listeners, func(l Listener) string { return l.Name })
	for i, r := range k.c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		k.reference(path+".next_hop", "next hop", r.NextHop, k.hopNames())
		if len(r.Match.Recipients)+len(r.Match.Senders)+len(r.Match.Listeners) == 0 {
			k.fail(path+".match", "expected recipients, senders or listeners; for all mail: recipients: [\"*\"]")
		}
		k.patterns(path+".match.recipients", r.Match.Recipients)
		k.patterns(path+".match.senders", r.Match.Senders)
		for j, l := range r.Match.Listeners {
			k.reference(fmt.Sprintf("%s.match.listeners[%d]", path, j), "listener", l, listeners)
		}
	}
}

func (k *check) patterns(path string, list []string) {
	for i, p := range list {
		if _, err := mail.ParseDomain(strings.TrimPrefix(p, "*.")); err != nil && p != "*" {
			k.fail(fmt.Sprintf("%s[%d]", path, i), "expected example.com, *.example.com or *, found %q", p)
		}
	}
}

func (k *check) delivery() {
	d := k.c.Delivery
	if !strings.HasPrefix(d.EHLO, "[") { // an address literal is delivery's to check
		k.domain("delivery.ehlo", d.EHLO)
	}
	k.deliveryTLS("delivery.tls", d.TLS)
	if len(d.Retry) == 0 {
		k.fail("delivery.retry", "expected at least one duration")
	}
	for i, r := range d.Retry {
		k.positive(fmt.Sprintf("delivery.retry[%d]", i), int64(r))
	}
	k.positive("delivery.expire", int64(d.Expire))
	k.positive("delivery.connections", int64(d.Connections))
	k.positive("delivery.connections_per_destination", int64(d.ConnectionsPerDestination))
	k.positive("delivery.messages_per_connection", int64(d.MessagesPerConnection))
	k.positive("delivery.recipients_per_message", int64(d.RecipientsPerMessage))
}

func (k *check) dkim() {
	rules := map[string]int{}
	for i, s := range k.c.DKIM.Sign {
		path := fmt.Sprintf("dkim.sign[%d]", i)
		for j, d := range s.Domains {
			k.domain(fmt.Sprintf("%s.domains[%d]", path, j), d)
			if first, ok := rules[strings.ToLower(d)]; ok {
				k.fail(fmt.Sprintf("%s.domains[%d]", path, j), "%s is in dkim.sign[%d] already", d, first)
			}
			rules[strings.ToLower(d)] = i
		}
		k.fieldNames(path+".headers", s.Headers, false)
		k.fieldNames(path+".oversign", s.Oversign, false)
		if !slices.ContainsFunc(s.Headers, func(h string) bool { return strings.EqualFold(h, "From") }) {
			k.fail(path+".headers", "must contain From (RFC 6376 section 5.4)")
		}
	}
	for i, f := range k.c.DKIM.Keys {
		k.domain(fmt.Sprintf("dkim.keys[%d].domain", i), f.Domain)
		k.readable(fmt.Sprintf("dkim.keys[%d].file", i), f.File)
	}
	for i, s := range k.c.DKIM.CheckServers {
		k.hostPort(fmt.Sprintf("dkim.check_servers[%d]", i), s, true)
	}
}

// fieldName is ftext of RFC 5322 section 2.2, with * where patterns are meant.
var fieldName = regexp.MustCompile(`^[!-9;-~]+$`)

func (k *check) fieldNames(path string, list []string, glob bool) {
	for i, name := range list {
		if !fieldName.MatchString(name) || !glob && strings.Contains(name, "*") {
			k.fail(fmt.Sprintf("%s[%d]", path, i), "expected the name of a header field, found %q", name)
		}
	}
}

func (k *check) policy() {
	p := k.c.Policy
	if p.DMARC.EnforcePercent > 100 {
		k.fail("policy.dmarc.enforce_percent", "expected 0 to 100")
	}
	if p.DKIM.MinRSABits < 1024 {
		k.fail("policy.dkim.min_rsa_bits", "expected at least 1024 (RFC 8301 section 3.2)")
	}
	for i, d := range p.ARC.TrustedSealers {
		k.domain(fmt.Sprintf("policy.arc.trusted_sealers[%d]", i), d)
	}
	k.domain("policy.arc.seal.domain", p.ARC.Seal.Domain)
	k.positive("policy.dkim.max_signatures", int64(p.DKIM.MaxSignatures))
	k.fieldNames("policy.tag.header", []string{p.Tag.Header}, false)
	k.fieldNames("policy.strip_inbound", p.StripInbound, true)
	for i, u := range p.Upstreams {
		k.positive(fmt.Sprintf("policy.upstreams[%d].hops", i), int64(u.Hops))
	}
	for i, o := range p.Overrides {
		path := fmt.Sprintf("policy.overrides[%d].from", i)
		if strings.Contains(o.From, "*") {
			k.fail(path, "wildcards are refused: give one domain")
			continue
		}
		k.domain(path, o.From)
	}
	for i, a := range p.Quarantine.Notify {
		k.address(fmt.Sprintf("policy.quarantine.notify[%d]", i), a)
	}
}

func (k *check) endpoints() {
	for path, e := range map[string]string{"health.address": k.c.Health.Address, "metrics.address": k.c.Metrics.Address, "admin.address": k.c.Admin.Address} {
		if e != "" {
			k.hostPort(path, e, false)
		}
	}
	k.positive("shutdown_grace", int64(k.c.ShutdownGrace))
	k.positive("history.keep", int64(k.c.History.Keep))
}

// unsupported reports what would be misleading to accept: a function that is
// switched on and not there. What only adds a choice is in Warnings.
func (k *check) unsupported() {
	if k.c.Report.TLS.Enabled {
		k.fail("report.tls.enabled", "not supported yet; set it to false")
	}
	for i, l := range k.c.Listeners {
		if l.TLS.ClientCert == "require" {
			k.fail(fmt.Sprintf("listeners[%d].tls.client_cert", i), "require is not supported yet; use none")
		}
	}
}
