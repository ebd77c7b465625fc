package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"gatepost/auth/arc"
	"gatepost/config"
	"gatepost/gateway/delivery"
	"gatepost/gateway/intake"
	"gatepost/mail"
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
	return sealer{s}, nil
}

// sealer seals mail of strangers by the record that was kept with it.
type sealer struct{ arc *arc.Sealer }

// Sign implements delivery.Signer. What was not judged is not sealed: there
// are no results to tell of, nor is it known whether its chain holds.
func (s sealer) Sign(ctx context.Context, m *mail.Message, form string, open func(context.Context) (io.ReadCloser, error)) ([]byte, []string, error) {
	var was intake.Record
	if err := json.Unmarshal(m.Facts, &was); err != nil {
		return nil, nil, fmt.Errorf("read the record of message %s: %w", m.ID, err)
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
