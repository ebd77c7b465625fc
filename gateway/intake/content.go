package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gatepost/mail"
	"gatepost/policy"
	"gatepost/store"
)

// Data takes the message of the transaction: spools it, looks at it, has it
// judged, stamps it and hands it to the queue. The answer is 250 only behind
// the queue's word (RFC 5321 section 4.2.5).
func (s *session) Data(r io.Reader) error {
	if !s.messages.enter() {
		return smtpError(mail.ReplyShuttingDown)
	}
	defer s.messages.leave()
	tx := s.take()
	if tx == nil {
		return s.drained(r, Refusal{Stage: StageContent, Reply: mail.ReplyBadSequence, Err: errNoTransaction})
	}
	body := newSpool(s.space, tx.size)
	body.room = s.room
	defer body.Close()
	if _, err := body.ReadFrom(r); err != nil {
		return s.broken(r, tx, err)
	}
	m := &message{transaction: tx, body: body}
	if refusal := s.receive(m); refusal != nil {
		refusal.Size = body.Size()
		return s.refuse(*refusal)
	}
	reply := mail.ReplyOK
	return smtpError(reply.WithText(reply.Text + ": queued as " + tx.id.String()))
}

// room tells that a message on its way must not make the disk fuller. Other
// trouble of the store may be over when the message has come in.
func (s *session) room() error {
	if s.Ready == nil {
		return nil
	}
	if err := s.Ready(s.ctx); errors.Is(err, store.ErrFull) {
		return err
	}
	return nil
}

// broken answers where the message did not come in whole.
func (s *session) broken(r io.Reader, tx *transaction, err error) error {
	if ours := (*spoolError)(nil); errors.As(err, &ours) {
		refusal := tx.refusal(StageStore, storeReply(err))
		refusal.Err = err
		return s.drained(r, refusal)
	}
	if reply := s.wire.Refused(); !reply.IsZero() {
		s.observe(tx.refusal(StageContent, reply))
	}
	return unheard()
}

// drained reads what is left of the message before it refuses it.
func (s *session) drained(r io.Reader, refusal Refusal) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return unheard()
	}
	return s.refuse(refusal)
}

// unheard is the result of a message that was broken off: the wire has
// answered it, or the client is gone.
func unheard() error { return smtpError(mail.ReplyLocalError) }

// message is a transaction whose content has come in.
type message struct {
	*transaction
	body    *spool
	header  mail.Header
	facts   policy.Facts
	verdict policy.Verdict
	vouched mail.Domain
	iprev   policy.IPRev
}

// receive does all that lies between the last octet and the reply. It returns
// nil when the message is durable.
func (s *session) receive(m *message) *Refusal {
	if refusal := s.examine(m); refusal != nil {
		return refusal
	}
	m.iprev = s.reverse(s.ctx, m.who.Role)
	m.who.IPRev = m.iprev
	m.transaction.facts.PTR = m.iprev.Name
	m.facts, m.verdict, m.vouched = s.Policy.Content(s.ctx, m.who, m.env, m.header, m.body)
	if m.verdict.Refused() {
		r := m.refused(StageContent, m.verdict)
		r.Facts, r.Header = m.facts, m.header
		return &r
	}
	if err := s.ctx.Err(); err != nil { // we are going down: what was found may be half of it
		return m.failed(mail.ReplyShuttingDown, err)
	}
	return s.hand(m)
}

// examine reads the header and checks what needs no policy.
func (s *session) examine(m *message) *Refusal {
	limits := s.listener.Limits
	refuse := func(reply mail.Reply) *Refusal {
		r := m.refusal(StageContent, reply)
		return &r
	}
	if m.body.Shape().HeaderSize > limits.HeaderSize {
		return refuse(mail.ReplyHeaderTooBig)
	}
	header, err := m.body.Header(s.ctx, limits.HeaderSize)
	switch {
	case errors.Is(err, mail.ErrHeader):
		return refuse(mail.ReplyMalformedHeader)
	case err != nil:
		return m.failed(mail.ReplyLocalError, err)
	}
	m.header = header
	hops := 0
	for _, f := range header.Fields {
		if f.Is("Received") {
			hops++
		}
	}
	if hops > limits.ReceivedHops { // RFC 5321 section 6.3
		return refuse(mail.ReplyLoop)
	}
	return nil
}

// hand gives the message to the queue. The client going away does not stop
// that: a commit on its way is finished.
func (s *session) hand(m *message) *Refusal {
	out, err := s.build(m)
	if err != nil {
		return m.failed(mail.ReplyLocalError, err)
	}
	hold := ""
	if m.verdict.Action == policy.Quarantine {
		hold = holdReason(m.verdict)
	}
	if err := s.Acceptor.Accept(s.accepting, out, hold); err != nil {
		r := m.failed(storeReply(err), err)
		r.Verdict, r.Facts = m.verdict, m.facts
		return r
	}
	s.Observer.Accepted(Acceptance{Message: out, Session: m.transaction.facts, Verdict: m.verdict, Facts: m.facts,
		Header: m.header, Hold: hold, Took: s.Now().Sub(m.started)})
	return nil
}

// build makes what the queue keeps.
func (s *session) build(m *message) (*mail.Message, error) {
	record, err := json.Marshal(Record{m.transaction.facts, m.facts, m.verdict})
	if err != nil {
		return nil, fmt.Errorf("encode the record of message %s: %w", m.id, err)
	}
	out := &mail.Message{
		ID: m.id, Received: s.Now(), Envelope: m.env, Origin: s.origin(m),
		Content: m.body, Shape: m.body.Shape(), Facts: record,
	}
	out.Prefix = s.prefix(m, out.Received)
	if m.who.Role == mail.RoleMX {
		out.Cuts = s.cuts(m.header)
	}
	return out, nil
}

func (s *session) origin(m *message) mail.Origin {
	f := m.transaction.facts
	return mail.Origin{
		Listener: f.Listener, Role: f.Role, Addr: f.Addr, Helo: f.Helo, Client: f.Client, User: f.User, TLS: f.TLS,
		From:      m.vouched,
		Confirmed: f.Role == mail.RoleRelay || m.facts.Confirms(m.env.From),
	}
}

func holdReason(v policy.Verdict) string {
	if v.Reason == "" {
		return v.Rule
	}
	return v.Rule + ": " + v.Reason
}

// failed is a refusal for trouble of ours.
func (m *message) failed(reply mail.Reply, err error) *Refusal {
	r := m.refusal(StageStore, reply)
	r.Err = err
	return &r
}
