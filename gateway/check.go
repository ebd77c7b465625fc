package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"gatepost/auth/keyring"
	"gatepost/auth/sasl"
	"gatepost/auth/signing"
	"gatepost/config"
	"gatepost/dnsx"
	"gatepost/gateway/delivery"
	"gatepost/gateway/intake"
	"gatepost/policy"
	"gatepost/policy/route"
	"gatepost/queue"
)

// CheckFile reads a configuration and asks every package about its part. It
// returns what is wrong, all at once, and what is dangerous.
func CheckFile(ctx context.Context, file string) (*config.Loaded, config.Errors, config.Errors, error) {
	c, err := config.Load(file)
	var wrong config.Errors
	if err != nil && !asErrors(err, &wrong) {
		return nil, nil, nil, err
	}
	if c == nil {
		return nil, wrong, nil, nil
	}
	wrong = merge(wrong, partErrors(c))
	wrong = merge(wrong, openRelays(c))
	var warnings config.Errors
	if len(wrong) == 0 {
		warnings = append(c.Warnings(), nameWarnings(ctx, c)...)
		warnings = append(warnings, certificateWarnings(c, time.Now())...)
		warnings = append(warnings, c.ExpiredOverrides(time.Now())...)
	}
	return c, wrong, warnings, nil
}

func asErrors(err error, target *config.Errors) bool {
	es, ok := err.(config.Errors)
	*target = es
	return ok
}

// merge adds the errors about keys that have none yet, in the order of lines.
func merge(have, more config.Errors) config.Errors {
	for _, e := range more {
		if !slices.ContainsFunc(have, func(h config.Error) bool { return h.Path == e.Path }) {
			have = append(have, e)
		}
	}
	slices.SortStableFunc(have, func(a, b config.Error) int { return a.Line - b.Line })
	return have
}

// partErrors asks the packages that check their own Options.
func partErrors(c *config.Loaded) config.Errors {
	resolver, err := dnsx.New(resolverOptions(&c.Config))
	if err != nil {
		return config.Errors{c.At("dns.servers", "%v", err)}
	}
	defer resolver.Close()
	errs := partChecks(&c.Config, resolver)
	var out config.Errors
	for _, err := range errs {
		for _, f := range fieldErrors(err) {
			out = append(out, c.At(f.path, "%s", f.msg))
		}
	}
	return out
}

// partChecks makes every part once, only to see whether it can be made.
func partChecks(c *config.Config, resolver *dnsx.Resolver) []error {
	quiet := slog.New(slog.DiscardHandler)
	_, policyErr := policy.New(policyOptions(c))
	_, routeErr := route.New(routeOptions(c))
	certificates, certificatesErr := intake.LoadCertificates(certificateFiles(c), quiet)
	door := intakeOptions(c)
	door.Certificates = certificates
	_, intakeErr := intake.New(door)
	if certificatesErr != nil {
		intakeErr = nil // it would complain that there are none
	}
	_, passwordErr := newPasswords(c, time.Now)
	way := deliveryOptions(c)
	way.Resolver = resolver
	deliverer, deliveryErr := delivery.New(way)
	if deliverer != nil {
		deliverer.Close()
	}
	_, signErr := signing.New(signingOptions(c))
	_, sealErr := newSealer(c, base{})
	return []error{
		policyErr, routeErr, certificatesErr, intakeErr, passwordErr, deliveryErr, signErr, sealErr,
		keyring.CheckFiles(keyFiles(c)), queueOptions(c).Check(),
	}
}

type fieldError struct{ path, msg string }

// fieldErrors finds the errors of options inside err, however they are joined.
func fieldErrors(err error) []fieldError {
	switch e := err.(type) {
	case nil:
		return nil
	case *route.FieldError:
		return []fieldError{{e.Path, e.Msg}}
	case *delivery.FieldError:
		return []fieldError{{e.Path, e.Msg}}
	case *intake.FieldError:
		return []fieldError{{e.Path, e.Msg}}
	case *keyring.FieldError:
		return []fieldError{{e.Path, e.Msg}}
	case *sasl.FieldError:
		return []fieldError{{e.Path, e.Msg}}
	case *queue.FieldError:
		return []fieldError{{e.Path, e.Msg}}
	case interface{ Unwrap() []error }:
		var out []fieldError
		for _, inner := range e.Unwrap() {
			out = append(out, fieldErrors(inner)...)
		}
		return out
	case interface{ Unwrap() error }:
		if inner := fieldErrors(e.Unwrap()); inner != nil {
			return inner
		}
	}
	return []fieldError{{"", err.Error()}}
}

// openRelays reports listeners whose relay clients together are everyone, and
// those that let everyone say in a PROXY header which client he is.
func openRelays(c *config.Loaded) config.Errors {
	addresses := map[string][]netip.Prefix{}
	for _, r := range c.RelayClients {
		addresses[r.Name] = r.Addresses
	}
	var out config.Errors
	for i, l := range c.Listeners {
		if policy.RelaysForEveryone(l.ProxyProtocol.Trusted) {
			out = append(out, c.At(fmt.Sprintf("listeners[%d].proxy_protocol.trusted", i),
				"these addresses together are the whole internet: anyone could claim to be any client; list the balancers"))
		}
		var all []netip.Prefix
		for _, name := range l.RelayClients {
			all = append(all, addresses[name]...)
		}
		if policy.RelaysForEveryone(all) {
			out = append(out, c.At(fmt.Sprintf("listeners[%d].relay_clients", i),
				"the addresses of these clients together are the whole internet: this would be an open relay"))
		}
	}
	return out
}

// nameLookUp bounds the wait for the forward DNS of the host name.
const nameLookUp = 3 * time.Second

// nameWarnings warns of a hostname that does not lead anywhere: many servers
// refuse mail from a client whose EHLO name has no address.
func nameWarnings(ctx context.Context, c *config.Loaded) config.Errors {
	r, err := dnsx.New(resolverOptions(&c.Config))
	if err != nil {
		return config.Errors{c.At("dns", "%v", err)}
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, nameLookUp)
	defer cancel()
	_, err = r.Addrs(ctx, c.Hostname)
	switch {
	case err == nil:
		return nil
	case dnsx.IsNotFound(err):
		return config.Errors{c.At("hostname", "%s has no A or AAAA record; servers that we deliver to may refuse our EHLO", c.Hostname)}
	}
	return config.Errors{c.At("hostname", "could not look up whether %s has an address: %s", c.Hostname, dnsx.Brief(err))}
}

// certificateSoon is how long before its end a certificate is warned of.
const certificateSoon = 14 * 24 * time.Hour

// certificateWarnings warns of certificates that have ended or soon will.
func certificateWarnings(c *config.Loaded, now time.Time) config.Errors {
	certificates, err := intake.LoadCertificates(certificateFiles(&c.Config), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil // reported as an error
	}
	var out config.Errors
	for i, leaf := range certificates.Leaves() {
		if leaf.NotAfter.Before(now.Add(certificateSoon)) {
			out = append(out, c.At(fmt.Sprintf("tls.certificates[%d].cert", i), "the certificate ends on %s", leaf.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	return out
}
