package intake

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"gatepost/auth/sasl"
	"gatepost/policy"
)

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.AuthservID == "" {
		o.AuthservID = o.Hostname
	}
	if o.SpoolMemory == 0 {
		o.SpoolMemory = 64 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observer == nil {
		o.Observer = silence{}
	}
	o.Listeners = slices.Clone(o.Listeners)
	for i := range o.Listeners {
		o.Listeners[i] = o.Listeners[i].withDefaults()
	}
	return o
}

func (l Listener) withDefaults() Listener {
	for _, d := range []struct {
		value *string
		def   string
	}{
		{&l.TLS.Mode, TLSOptional}, {&l.TLS.MinVersion, "1.2"}, {&l.TLS.ClientCert, CertNone},
		{&l.BareNewline.Data, NewlineReject}, {&l.BareNewline.BDAT, NewlineNormalize},
	} {
		if *d.value == "" {
			*d.value = d.def
		}
	}
	l.Limits = l.Limits.withDefaults()
	return l
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, v := range []struct {
		value *int64
		def   int64
	}{{&l.MessageSize, d.MessageSize}, {&l.HeaderSize, d.HeaderSize}} {
		if *v.value == 0 {
			*v.value = v.def
		}
	}
	for _, v := range []struct {
		value *int
		def   int
	}{
		{&l.RecipientsPerMessage, d.RecipientsPerMessage}, {&l.Connections, d.Connections},
		{&l.ConnectionsPerClient, d.ConnectionsPerClient}, {&l.IPv6Prefix, d.IPv6Prefix},
		{&l.ErrorsPerSession, d.ErrorsPerSession}, {&l.JunkCommands, d.JunkCommands}, {&l.AuthFailures, d.AuthFailures}, {&l.ReceivedHops, d.ReceivedHops},
	} {
		if *v.value == 0 {
			*v.value = v.def
		}
	}
	for _, v := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&l.CommandTimeout, d.CommandTimeout}, {&l.DataTimeout, d.DataTimeout}, {&l.SessionTimeout, d.SessionTimeout},
	} {
		if *v.value == 0 {
			*v.value = v.def
		}
	}
	return l
}

// validate finds everything that is wrong with options whose defaults are in.
func (o Options) validate() error {
	var errs []error
	if o.Hostname == "" {
		errs = append(errs, fieldError("hostname", "required"))
	}
	if len(o.Listeners) == 0 {
		errs = append(errs, fieldError("listeners", "at least one is required"))
	}
	for i, pattern := range o.StripInbound {
		if err := checkPattern(pattern); err != nil {
			errs = append(errs, fieldError(fmt.Sprintf("policy.strip_inbound[%d]", i), "%v", err))
		}
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, l := range o.Listeners {
		path := fmt.Sprintf("listeners[%d]", i)
		if names[l.Name] {
			errs = append(errs, fieldError(path+".name", "%q is there twice", l.Name))
		}
		if addresses[l.Address] {
			errs = append(errs, fieldError(path+".address", "%q is there twice", l.Address))
		}
		names[l.Name], addresses[l.Address] = true, true
		errs = append(errs, l.validate(path)...)
		errs = append(errs, o.validateServices(path, l)...)
	}
	return errors.Join(errs...)
}

// validateServices finds what a listener needs and nobody gave.
func (o Options) validateServices(path string, l Listener) []error {
	var errs []error
	if l.TLS.Mode != TLSOff && l.TLS.Mode != TLSOptional && o.Certificates.empty() {
		errs = append(errs, fieldError(path+".tls.mode", "%q needs a certificate in tls.certificates", l.TLS.Mode))
	}
	if l.TLS.ClientCert == CertRequire && o.ClientCA == nil {
		errs = append(errs, fieldError(path+".tls.client_cert", "\"require\" needs tls.client_ca"))
	}
	if len(l.Mechanisms) > 0 && (l.TLS.Mode == TLSOff || o.Certificates.empty()) {
		errs = append(errs, fieldError(path+".auth.mechanisms", "AUTH is offered inside TLS only, and this listener has none"))
	}
	return errs
}

func (l Listener) validate(path string) []error {
	var errs []error
	oneOf := func(key, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fieldError(path+"."+key, "%q: want %s", value, strings.Join(allowed, ", ")))
		}
	}
	if l.Name == "" {
		errs = append(errs, fieldError(path+".name", "required"))
	}
	if _, port, err := net.SplitHostPort(l.Address); err != nil || port == "" {
		errs = append(errs, fieldError(path+".address", "%q: want host:port or :port", l.Address))
	}
	oneOf("role", l.Role, RoleMX, RoleSmarthost)
	oneOf("tls.mode", l.TLS.Mode, TLSOff, TLSOptional, TLSRequired, TLSImplicit)
	oneOf("tls.min_version", l.TLS.MinVersion, "1.0", "1.1", "1.2", "1.3")
	oneOf("tls.client_cert", l.TLS.ClientCert, CertNone, CertRequest, CertRequire)
	oneOf("bare_newline.data", l.BareNewline.Data, NewlineReject, NewlineNormalize)
	oneOf("bare_newline.bdat", l.BareNewline.BDAT, NewlineReject, NewlineNormalize)
	for i, m := range l.Mechanisms {
		oneOf(fmt.Sprintf("auth.mechanisms[%d]", i), m, sasl.Mechanisms()...)
	}
	for i, s := range l.ProxyTrusted {
		if _, err := policy.ParsePrefix(s); err != nil {
			errs = append(errs, fieldError(fmt.Sprintf("%s.proxy_protocol.trusted[%d]", path, i), "%v", err))
		}
	}
	return append(errs, l.Limits.validate(path+".limits")...)
}

func (l Limits) validate(path string) []error {
	var errs []error
	for _, v := range []struct {
		key           string
		value, lowest int64
	}{
		{"message_size", l.MessageSize, 1 << 10},
		{"header_size", l.HeaderSize, 1 << 10},
		{"recipients_per_message", int64(l.RecipientsPerMessage), 1},
		{"connections", int64(l.Connections), 1},
		{"connections_per_client", int64(l.ConnectionsPerClient), 1},
		{"ipv6_prefix", int64(l.IPv6Prefix), 1},
		{"errors_per_session", int64(l.ErrorsPerSession), 1},
		{"junk_commands", int64(l.JunkCommands), 1},
		{"auth_failures", int64(l.AuthFailures), 1},
		{"received_hops", int64(l.ReceivedHops), 1},
		{"command_timeout", int64(l.CommandTimeout), int64(time.Millisecond)},
		{"data_timeout", int64(l.DataTimeout), int64(time.Millisecond)},
		{"session_timeout", int64(l.SessionTimeout), int64(time.Millisecond)},
	} {
		if v.value < v.lowest {
			errs = append(errs, fieldError(path+"."+v.key, "too small"))
		}
	}
	if l.IPv6Prefix > 128 {
		errs = append(errs, fieldError(path+".ipv6_prefix", "%d: want 1 to 128", l.IPv6Prefix))
	}
	return errs
}

// prefixes reads what validate has checked.
func prefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := policy.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}
