package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"gatepost/gateway/delivery/downgrade"
	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
)

// form is a message as it leaves: its bytes, and the signatures over them.
type form struct {
	name     string
	open     func(ctx context.Context) (io.ReadCloser, error) // without fields
	size     int64                                            // with fields
	fields   []byte                                           // DKIM-Signature fields, or an ARC set
	signedBy []string
}

// reader gives the final bytes.
func (f *form) reader(ctx context.Context) (io.ReadCloser, error) {
	r, err := f.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	if len(f.fields) == 0 {
		return r, nil
	}
	return &prefixed{Reader: io.MultiReader(bytes.NewReader(f.fields), r), Closer: r}, nil
}

type prefixed struct {
	io.Reader
	io.Closer
}

// prepare chooses the form of the message for what a server offers, and signs
// it. A form is made once per attempt.
func (a *attempt) prepare(ctx context.Context, h *hop, ext smtpc.Extensions) (*form, *failure) {
	m := a.job.Message
	if tooBig(m.Size(), ext) {
		return nil, tooBigFailure(m.Size(), ext)
	}
	if a.utf8 && !ext.SMTPUTF8 {
		return nil, &failure{cause: causeUTF8}
	}
	name := FormAsIs
	if m.Shape.EightBitBody && !ext.EightBitMIME && !ext.SMTPUTF8 {
		switch {
		case m.Origin.Role != mail.RoleMX:
			name = FormSevenBit
		case !h.force:
			return nil, &failure{cause: causeEightBit}
		}
	}
	f, trouble := a.form(ctx, name)
	if trouble != nil && trouble.cause == causeEightBit && h.force {
		f, trouble = a.form(ctx, FormAsIs)
	}
	if trouble == nil && tooBig(f.size, ext) {
		return nil, tooBigFailure(f.size, ext)
	}
	return f, trouble
}

func tooBig(size int64, ext smtpc.Extensions) bool { return ext.MaxSize > 0 && size > ext.MaxSize }

func tooBigFailure(size int64, ext smtpc.Extensions) *failure {
	return &failure{cause: causeSize, detail: fmt.Sprintf("%d octets, the limit is %d", size, ext.MaxSize)}
}

func (a *attempt) form(ctx context.Context, name string) (*form, *failure) {
	if f := a.forms[name]; f != nil {
		return f, nil
	}
	f := &form{name: name, open: a.job.Message.Open, size: a.job.Message.Size()}
	if name == FormSevenBit {
		if err := f.convert(ctx, a.job.Message); err != nil {
			return nil, classifyForm(ctx, err, causeSource)
		}
	}
	if err := a.sign(ctx, f); err != nil {
		return nil, classifyForm(ctx, err, causeSign)
	}
	f.size += int64(len(f.fields))
	a.forms[name] = f
	return f, nil
}

// convert looks through the message once to see what must be re-encoded, and
// once to measure the result.
func (f *form) convert(ctx context.Context, m *mail.Message) error {
	r, err := m.Open(ctx)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	plan, err := downgrade.Examine(r)
	r.Close()
	if err != nil {
		return fmt.Errorf("examine message for re-encoding: %w", err)
	}
	f.open = func(ctx context.Context) (io.ReadCloser, error) {
		r, err := m.Open(ctx)
		if err != nil {
			return nil, err
		}
		return &prefixed{Reader: plan.Reader(r), Closer: r}, nil
	}
	converted, err := f.open(ctx)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer converted.Close()
	if f.size, err = io.Copy(io.Discard, converted); err != nil {
		return fmt.Errorf("re-encode message: %w", err)
	}
	return nil
}

// sign asks for the signatures over the final form. Mail of strangers is
// never signed, whatever the signer thinks; it is sealed instead. Nothing else
// ever is.
func (a *attempt) sign(ctx context.Context, f *form) (err error) {
	signer := a.d.options.Signer
	if a.job.Message.Origin.Role == mail.RoleMX {
		signer = a.d.options.Sealer
	}
	if signer == nil {
		return nil
	}
	f.fields, f.signedBy, err = signer.Sign(ctx, a.job.Message, f.name, f.open)
	if err != nil {
		return fmt.Errorf("sign message: %w", err)
	}
	return nil
}

// isEightBit tells whether the message in this form must be announced as
// 8BITMIME.
func (a *attempt) isEightBit(f *form) bool {
	s := a.job.Message.Shape
	return f.name == FormAsIs && (s.EightBitBody || s.EightBitHeader || !isASCII(a.job.Message.Prefix))
}

// needsUTF8 tells whether the message as a whole asks for SMTPUTF8 (RFC 6531
// section 3.4): for its sender or its header. That the client said SMTPUTF8
// alone does not make it so.
func needsUTF8(m *mail.Message) bool {
	if !m.Envelope.From.IsASCII() {
		return true
	}
	return m.Envelope.UTF8 && (m.Shape.EightBitHeader || !isASCII(m.Prefix))
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
