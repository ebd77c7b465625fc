package delivery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"gatepost/auth/sasl"
	"gatepost/mail"
)

// hop is a NextHop with its defaults, ready for use.
type hop struct {
	name   string // "mx" for hosts found by MX
	urls   []hopURL
	random bool
	tls    *tlsRule
	auth   Auth
	ehlo   string
	force  bool // eight_bit: force
	maxAge time.Duration
}

// hopURL is one entry of urls.
type hopURL struct {
	scheme string
	host   string // lower case, without brackets; the path of a socket
	port   uint16
}

const (
	schemeSMTP  = "smtp"
	schemeSMTPS = "smtps"
	schemeLMTP  = "lmtp"
	schemeMX    = "mx"
)

// labelMX is the name of the rules for hosts found by MX.
const labelMX = "mx"

func (o *Options) setDefaults() {
	setDefault(&o.EHLO, o.Hostname)
	setDefault(&o.TLS.Policy, TLSOpportunistic)
	setDefault(&o.Connections, DefaultConnections)
	setDefault(&o.Messages, DefaultMessagesPerConnection)
	setDefault(&o.Recipients, DefaultRecipientsPerMessage)
	setDefault(&o.MaxAge, DefaultMaxAge)
	setDefault(&o.IdleTime, DefaultIdleTime)
	setDefault(&o.ConnectTimeout, DefaultConnectTimeout)
	setDefault(&o.MXPort, 25)
	o.Timeouts = o.Timeouts.WithDefaults()
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Shuffle == nil {
		o.Shuffle = rand.Shuffle
	}
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// validate checks what does not belong to one next hop.
func (o *Options) validate() (problems []error) {
	if o.Hostname == "" || !isEHLOName(o.Hostname) {
		problems = append(problems, &FieldError{"hostname", "expected the name of this host"})
	}
	if !isEHLOName(o.EHLO) {
		problems = append(problems, &FieldError{"delivery.ehlo", "expected a host name or an address literal"})
	}
	for _, number := range []struct {
		path  string
		value int
	}{{"delivery.connections", o.Connections}, {"delivery.messages_per_connection", o.Messages}, {"delivery.recipients_per_message", o.Recipients}} {
		if number.value < 1 {
			problems = append(problems, &FieldError{number.path, "expected a number above 0"})
		}
	}
	for i, addr := range o.SourceAddresses {
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
			problems = append(problems, &FieldError{fmt.Sprintf("delivery.source_addresses[%d]", i), "expected an address of this host"})
		}
	}
	if o.Resolver == nil {
		problems = append(problems, errors.New("delivery needs a resolver"))
	}
	return problems
}

// isEHLOName takes what RFC 5321 section 4.1.1.1 allows behind EHLO.
func isEHLOName(s string) bool {
	if strings.HasPrefix(s, "[") {
		var d mail.Domain
		return d.UnmarshalText([]byte(s)) == nil
	}
	_, err := mail.ParseDomain(s)
	return err == nil && isASCII([]byte(s))
}

// compileHops makes the rules of every next hop.
func (o *Options) compileHops() (map[string]*hop, []error) {
	hops := map[string]*hop{}
	var problems []error
	for i, next := range o.NextHops {
		at := fmt.Sprintf("next_hops[%d]", i)
		switch {
		case next.Name == "" || next.Name == labelMX:
			problems = append(problems, &FieldError{at + ".name", `expected a name other than "mx"`})
		case hops[next.Name] != nil:
			problems = append(problems, &FieldError{at + ".name", fmt.Sprintf("%q is already taken", next.Name)})
		}
		h, errs := o.compileHop(next, at)
		problems = append(problems, errs...)
		hops[next.Name] = h
	}
	return hops, problems
}

func (o *Options) compileHop(next NextHop, at string) (*hop, []error) {
	h := &hop{name: next.Name, auth: next.Auth, ehlo: next.EHLO, maxAge: next.MaxAge,
		random: next.Select == SelectRandom, force: next.EightBit == EightBitForce}
	setDefault(&h.ehlo, o.EHLO)
	setDefault(&h.maxAge, o.MaxAge)
	rule, problems := compileTLS(next.TLS, o.TLS, at+".tls")
	h.tls = rule
	problems = append(problems, oneOf(at+".select", next.Select, SelectOrdered, SelectRandom)...)
	problems = append(problems, oneOf(at+".eight_bit", next.EightBit, EightBitStandard, EightBitForce)...)
	if !isEHLOName(h.ehlo) {
		problems = append(problems, &FieldError{at + ".ehlo", "expected a host name or an address literal"})
	}
	if len(next.URLs) == 0 {
		problems = append(problems, &FieldError{at + ".urls", "expected at least one url"})
	}
	for i, text := range next.URLs {
		u, err := parseHopURL(text)
		if err != nil {
			problems = append(problems, &FieldError{fmt.Sprintf("%s.urls[%d]", at, i), err.Error()})
		}
		if u.scheme == schemeSMTPS && next.TLS.Policy == TLSOff {
			problems = append(problems, &FieldError{at + ".tls.policy", "smtps is TLS: expected another policy than off"})
		}
		h.urls = append(h.urls, u)
	}
	return h, append(problems, checkAuth(next.Auth, rule, at+".auth")...)
}

// checkAuth refuses a password that would cross the wire in plaintext (RFC
// 4954 section 4).
func checkAuth(a Auth, rule *tlsRule, at string) []error {
	if a == (Auth{}) {
		return nil
	}
	problems := oneOf(at+".mechanism", a.Mechanism, sasl.Plain, sasl.Login)
	if a.Username == "" {
		problems = append(problems, &FieldError{at + ".username", "expected a name"})
	}
	if rule.policy == TLSOff {
		problems = append(problems, &FieldError{at, "AUTH is used inside TLS only: expected another tls.policy than off"})
	}
	return problems
}

func oneOf(at, value string, allowed ...string) []error {
	if value == "" {
		return nil
	}
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return []error{&FieldError{at, fmt.Sprintf("expected %s, not %q", strings.Join(allowed, " or "), value)}}
}

var errURL = errors.New("expected smtp://host:port, smtps://host:port, lmtp://host:port, lmtp:///socket or mx://domain")

// parseHopURL reads one of urls. The port of LMTP has no default (RFC 2033
// section 5 forbids 25).
func parseHopURL(text string) (hopURL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return hopURL{}, errURL
	}
	if u.Scheme == schemeLMTP && u.Host == "" && path.IsAbs(u.Path) {
		return hopURL{scheme: schemeLMTP, host: u.Path}, nil
	}
	if u.Path != "" || u.Hostname() == "" {
		return hopURL{}, errURL
	}
	h := hopURL{scheme: u.Scheme, host: strings.ToLower(u.Hostname())}
	if _, err := netip.ParseAddr(h.host); err != nil {
		domain, err := mail.ParseDomain(strings.TrimSuffix(h.host, "."))
		if err != nil {
			return hopURL{}, errURL
		}
		h.host = domain.String()
	}
	return h, h.setPort(u.Port())
}

func (h *hopURL) setPort(text string) error {
	fallback := map[string]uint16{schemeSMTP: 25, schemeSMTPS: 465, schemeLMTP: 0, schemeMX: 0}
	port, known := fallback[h.scheme]
	if !known || h.scheme == schemeMX && text != "" {
		return errURL
	}
	if text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return errURL
		}
		port = uint16(n)
	}
	if port == 0 && h.scheme != schemeMX {
		return errors.New("expected a port")
	}
	h.port = port
	return nil
}

// isSocket tells whether the host is the path of a local socket.
func (h hopURL) isSocket() bool { return path.IsAbs(h.host) }

func joinPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
