package intake

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/gateway/intake/wire"
	"gatepost/mail"
	"gatepost/policy"
)

// session lives from EHLO to QUIT, or to STARTTLS. go-smtp calls it from one
// goroutine, except that Data may run beside Reset and Logout.
type session struct {
	*connection
	smtp   *smtp.Conn
	wire   *wire.Conn
	secure bool   // inside TLS
	tls    string // version and cipher
	cipher tlsClause

	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	tx       *transaction
	user     string
	extended bool // the client said EHLO
}

// transaction lives from MAIL to the end of the message; a reset drops it.
type transaction struct {
	id      mail.ID
	started time.Time
	who     policy.Session
	facts   Session
	env     mail.Envelope
	size    int64  // as SIZE announced it
	with    string // protocol of the Received field
	taken   int    // RCPT commands, repeated ones too: go-smtp keeps each
}

// NewSession begins a session for a client that has said EHLO or HELO.
func (s *service) NewSession(sc *smtp.Conn) (smtp.Session, error) {
	wc, ok := sc.Conn().(*wire.Conn)
	if !ok {
		return nil, smtpError(mail.ReplyLocalError)
	}
	c, ok := wc.Value().(*connection)
	if !ok {
		return nil, smtpError(mail.ReplyLocalError)
	}
	sess := &session{connection: c, smtp: sc, wire: wc}
	if state, ok := wc.TLS(); ok {
		sess.secure, sess.tls = true, tlsText(state)
		sess.cipher = newTLSClause(state)
	}
	sess.ctx, sess.cancel = context.WithCancel(c.ctx)
	before := c.snapshot()
	facts := c.learn(func(f *Session) { f.Helo, f.TLS = mail.SafeText(sc.Hostname(), 255), sess.tls })
	if sess.secure && before.TLS == "" {
		c.Observer.Handshake(facts, nil)
	}
	if err := sess.checkHelo(); err != nil {
		sess.cancel()
		return nil, err
	}
	return sess, nil
}

// checkHelo refuses a name that is neither a domain nor an address literal
// (RFC 5321 section 4.1.1.1). A relay client is believed: devices call
// themselves what they like.
func (s *session) checkHelo() error {
	if _, ok := heloDomain(s.smtp.Hostname()); ok || s.client != "" {
		return nil
	}
	reply := mail.ReplyArguments.WithText("HELO name is neither a domain nor an address literal")
	return s.refuse(Refusal{Stage: StageHello, Reply: reply})
}

// heloDomain reads the argument of HELO and EHLO.
func heloDomain(name string) (mail.Domain, bool) {
	var d mail.Domain
	if name == "" || len(name) > 255 || d.UnmarshalText([]byte(name)) != nil {
		return mail.Domain{}, false
	}
	return d, true
}

// Mail begins a transaction (RFC 5321 section 4.1.1.2).
func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	s.mu.Lock()
	busy, user := s.tx != nil, s.user
	s.mu.Unlock()
	if busy {
		return s.refuse(Refusal{Stage: StageMail, Reply: mail.ReplyBadSequence.WithText("MAIL was already said, say RSET first")})
	}
	if err := s.mayMail(user); err != nil {
		return err
	}
	tx := s.newTransaction(user, opts)
	sender, reply := parseMailbox(from, opts.UTF8, mail.ReplyBadSender)
	if !reply.IsZero() && from != "" {
		return s.refuse(tx.refusal(StageMail, reply))
	}
	tx.env.From = sender
	if s.Ready != nil {
		if err := s.Ready(s.ctx); err != nil {
			r := tx.refusal(StageMail, storeReply(err))
			r.Err = err
			return s.refuse(r)
		}
	}
	if v := s.Policy.Mail(s.ctx, tx.who, sender); v.Refused() {
		return s.refuse(tx.refused(StageMail, v))
	}
	s.lookUp()
	s.wire.SetTrace(tx.id.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx = tx
	return nil
}

// mayMail tells whether this session may send at all.
func (s *session) mayMail(user string) error {
	if s.listener.TLS.Mode == TLSRequired && !s.secure { // RFC 3207 section 4
		return s.refuse(Refusal{Stage: StageMail, Reply: mail.ReplyMustTLS})
	}
	if s.peer.anonymous {
		return s.refuse(Refusal{Stage: StageMail, Reply: mail.ReplyProxyOnly})
	}
	if err := s.checkHelo(); err != nil {
		return err
	}
	if s.role(user) != "" {
		return nil
	}
	if s.offersAuth() { // RFC 4954 section 6
		return s.refuse(Refusal{Stage: StageMail, Reply: mail.ReplyAuthRequired})
	}
	return s.refuse(Refusal{Stage: StageMail, Reply: mail.ReplyRelayDenied})
}

func (s *session) newTransaction(user string, opts *smtp.MailOptions) *transaction {
	name := s.smtp.Hostname()
	facts := s.learn(func(f *Session) {
		f.Helo, f.User, f.Role = mail.SafeText(name, 255), user, s.role(user)
	})
	tx := &transaction{id: s.IDs.Next(), started: s.Now(), facts: facts, size: opts.Size}
	tx.env = mail.Envelope{Return: string(opts.Return), EnvID: opts.EnvelopeID, Body: string(opts.Body), UTF8: opts.UTF8}
	tx.who = policy.Session{
		ID: tx.id, Listener: facts.Listener, Addr: facts.Addr, Helo: facts.Helo, TLS: s.secure,
		Role: facts.Role, Client: s.client, User: user,
	}
	tx.with = s.protocol(user != "", opts.UTF8)
	return tx
}

// Rcpt adds a recipient (RFC 5321 section 4.1.1.3).
func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	s.mu.Lock()
	tx := s.tx
	s.mu.Unlock()
	if tx == nil {
		return s.refuse(Refusal{Stage: StageRcpt, Reply: mail.ReplyBadSequence})
	}
	address, reply := parseMailbox(to, tx.env.UTF8, mail.ReplyBadMailbox)
	if reply.IsZero() && tx.taken >= s.listener.Limits.RecipientsPerMessage {
		reply = mail.ReplyTooManyRecipients
	}
	if !reply.IsZero() {
		r := tx.refusal(StageRcpt, reply)
		r.To = address
		return s.refuse(r)
	}
	if v := s.Policy.Recipient(s.ctx, tx.who, tx.env.From, address); v.Refused() {
		r := tx.refused(StageRcpt, v)
		r.To = address
		return s.refuse(r)
	}
	tx.add(recipientOf(address, opts))
	return nil
}

// add leaves out what is there already: one copy for one recipient.
func (tx *transaction) add(r mail.Recipient) {
	tx.taken++
	for _, old := range tx.env.Recipients {
		if old == r {
			return
		}
	}
	tx.env.Recipients = append(tx.env.Recipients, r)
}

// parseMailbox reads an address as go-smtp hands it over: without the quotes
// of a quoted local part, so that what it hid would speak. Only dot-strings
// are taken. The reply is zero where the address is good.
func parseMailbox(s string, allowUTF8 bool, bad mail.Reply) (mail.Address, mail.Reply) {
	a, err := mail.ParseAddress(s, allowUTF8)
	if err == nil && a.IsDotAtom() {
		return a, mail.Reply{}
	}
	if _, err := mail.ParseAddress(s, true); err == nil && !allowUTF8 {
		return mail.Address{}, mail.ReplyNeedsSMTPUTF8 // RFC 6531 section 3.5
	}
	return mail.Address{}, bad
}

// recipientOf keeps the DSN parameters (RFC 3461 section 4).
func recipientOf(a mail.Address, opts *smtp.RcptOptions) mail.Recipient {
	r := mail.Recipient{Address: a, Original: opts.OriginalRecipient}
	switch opts.OriginalRecipientType {
	case smtp.DSNAddressTypeRFC822:
		r.OriginalType = "rfc822"
	case smtp.DSNAddressTypeUTF8:
		r.OriginalType = "utf-8"
	}
	for _, n := range opts.Notify {
		switch n {
		case smtp.DSNNotifyNever:
			r.Notify |= mail.NotifyNever
		case smtp.DSNNotifySuccess:
			r.Notify |= mail.NotifySuccess
		case smtp.DSNNotifyFailure:
			r.Notify |= mail.NotifyFailure
		case smtp.DSNNotifyDelayed:
			r.Notify |= mail.NotifyDelay
		}
	}
	return r
}

// Reset drops the transaction.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx = nil
}

// Logout ends the session.
func (s *session) Logout() error {
	s.Reset()
	s.cancel()
	return nil
}

// take hands the transaction over to the message that comes.
func (s *session) take() *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := s.tx
	s.tx = nil
	return tx
}

// refuse answers the client and tells the observer.
func (s *session) refuse(r Refusal) error {
	s.connection.mu.Lock()
	s.reported = true
	s.connection.mu.Unlock()
	s.observe(r)
	return smtpError(r.Reply)
}

// observe tells the observer only.
func (s *session) observe(r Refusal) {
	r.At, r.Session = s.Now(), s.snapshot()
	s.Observer.Refused(r)
}

// refusal is a reply of ours about this transaction.
func (tx *transaction) refusal(stage Stage, reply mail.Reply) Refusal {
	return Refusal{ID: tx.id, Stage: stage, Envelope: tx.envelopeAt(stage), Reply: withID(reply, tx.id)}
}

// refused is a reply that policy chose; it holds the id already.
func (tx *transaction) refused(stage Stage, v policy.Verdict) Refusal {
	return Refusal{ID: tx.id, Stage: stage, Envelope: tx.envelopeAt(stage), Reply: v.Reply, Verdict: v}
}

// envelopeAt is what a refusal is about. At RCPT that is one recipient, not
// those that were taken before it: to report them with each one that is too
// many would let a stranger fill the log.
func (tx *transaction) envelopeAt(stage Stage) mail.Envelope {
	env := tx.env
	if stage == StageRcpt {
		env.Recipients = nil
	}
	return env
}

var errNoTransaction = errors.New("message without a transaction")
