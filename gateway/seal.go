package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"

	"gatepost/admin"
	"gatepost/auth/arc"
	"gatepost/auth/keyring"
	"gatepost/config"
	"gatepost/gateway/delivery"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/telemetry"
)

// sealMark stands before the name of a key in mail.Status.Signed where it made
// an ARC set and not a DKIM signature.
const sealMark = "arc:"

// newSealer is nil where policy.arc.seal names no domain.
func newSealer(c *config.Config, b base) (delivery.Signer, error) {
	if c.Policy.ARC.Seal.Domain == "" {
		return nil, nil
	}
	o := sealerOptions(c)
	o.Keys, o.Now, o.Logger = b.keys, b.now, b.log
	s, err := arc.NewSealer(o)
	if err != nil {
		return nil, err
	}
	return sealer{s, b.log}, nil
}

// sealer seals mail of strangers by the record that was kept with it.
type sealer struct {
	arc *arc.Sealer
	log *slog.Logger
}

// Sign implements delivery.Signer. What was not judged is not sealed: there
// are no results to tell of, nor is it known whether its chain holds. It is no
// reason to keep mail back.
func (s sealer) Sign(ctx context.Context, m *mail.Message, form string, open func(context.Context) (io.ReadCloser, error)) ([]byte, []string, error) {
	var was intake.Record
	if err := json.Unmarshal(m.Facts, &was); err != nil {
		s.log.Warn("message is handed on without an ARC seal: its record cannot be read", telemetry.KeyID, m.ID.String(), telemetry.KeyError, err.Error())
		return nil, nil, nil
	}
	if !was.Facts.Proved || was.Facts.Unread != "" {
		return nil, nil, nil
	}
	fields, name, err := s.arc.Seal(ctx, m, form, was.Facts.ARC, open)
	if len(fields) == 0 {
		return nil, nil, err
	}
	return fields, []string{sealMark + name}, nil
}

// SealWarnings warns where policy.arc.seal has no key. Only a gateway that runs
// can be asked: a check opens no store.
func SealWarnings(ctx context.Context, c *config.Loaded) config.Errors {
	want := c.Policy.ARC.Seal
	isKey := func(f config.KeyFile) bool { return domainOf(f.Domain) == domainOf(want.Domain) }
	if want.Domain == "" || slices.ContainsFunc(c.DKIM.Keys, isKey) {
		return nil
	}
	keys, err := activeKeys(ctx, c)
	isActive := func(k keyring.Key) bool { return k.State == keyring.Active && string(k.Algorithm) == want.Algorithm }
	switch {
	case errors.Is(err, admin.ErrNotRunning):
		return config.Errors{c.At("policy.arc.seal.domain", "while the gateway does not run it cannot be seen here whether %s has an active %s key; without one nothing is sealed. See 'gatepost dkim list %s'", want.Domain, want.Algorithm, want.Domain)}
	case err != nil:
		return config.Errors{c.At("policy.arc.seal.domain", "the keys of %s could not be asked for: %v", want.Domain, err)}
	case !slices.ContainsFunc(keys, isActive):
		return config.Errors{c.At("policy.arc.seal.domain", "%s has no active %s key, so that nothing is sealed; make one: gatepost dkim create %s --algorithm %s", want.Domain, want.Algorithm, want.Domain, want.Algorithm)}
	}
	return nil
}

// activeKeys asks the running gateway.
func activeKeys(ctx context.Context, c *config.Loaded) ([]keyring.Key, error) {
	client, err := admin.Dial(Socket(c.DataDir))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var keys []keyring.Key
	err = client.Ask(ctx, "dkim/list", KeyQuestion{Domain: c.Policy.ARC.Seal.Domain}, &keys)
	return keys, err
}
