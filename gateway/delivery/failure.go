package delivery

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"gatepost/gateway/delivery/downgrade"
	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
)

// This file is all failure policy: what trouble means for the recipients that
// are not settled yet. Trouble that is not in a table is temporary.

// failure is trouble on the way of a job.
type failure struct {
	cause  cause
	stage  smtpc.Stage // how far the connection had come; empty before it
	reply  mail.Reply  // what the server said, for causeReply
	detail string      // a name that belongs to the text
	err    error
}

// cause is the kind of trouble.
type cause string

const (
	causeReply       cause = "reply" // the server said so: see replyRules
	causeDNS         cause = "dns"
	causeHopDNS      cause = "hop dns"
	causeNoDomain    cause = "no domain"
	causeNoHost      cause = "no host"
	causeNullMX      cause = "null mx"
	causeLoop        cause = "loop"
	causeOrigin      cause = "origin"
	causeUnknownHop  cause = "unknown hop"
	causeNoSource    cause = "no source address"
	causeConnect     cause = "connect"
	causeTLS         cause = "tls"
	causeTLSMissing  cause = "tls missing"
	causeAuthMissing cause = "auth missing"
	causeGarbage     cause = "garbage"
	causeLost        cause = "lost"           // before the final dot
	causeLostAtEnd   cause = "lost after dot" // nobody knows whether the message arrived
	causeInterrupted cause = "interrupted"    // by us: shutdown, lease
	causeSize        cause = "size"
	causeUTF8        cause = "smtputf8"
	causeEightBit    cause = "8bitmime"
	causeNewline     cause = "newline"
	causeSource      cause = "source"
	causeSign        cause = "sign"
	causeUnknown     cause = "unknown"
)

// verdict is what a failure means.
type verdict struct {
	reply mail.Reply // zero: the server's own words
	scope mail.Scope
	next  bool // try the next target in this attempt
	retry time.Duration
}

// Words of our own that package mail does not have.
var (
	replyRefusedSession = mail.Reply{Code: 450, Enhanced: mail.Enhanced{4, 3, 2}, Text: "Next hop takes no mail from us now"}
	replyOrigin         = mail.Reply{Code: 554, Enhanced: mail.Enhanced{5, 4, 6}, Text: "Next hop is the host that the message came from"}
	replyUnknownHop     = mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 3, 5}, Text: "Next hop is not configured"}
	replyNoSource       = mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 4, 4}, Text: "No source address of the next hop's address family"}
	replyAuthMissing    = mail.Reply{Code: 454, Enhanced: mail.Enhanced{4, 7, 0}, Text: "Next hop offers no AUTH mechanism that is configured"}
	replyInterrupted    = mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 3, 2}, Text: "Delivery was interrupted"}
	replyNewline        = mail.Reply{Code: 554, Enhanced: mail.Enhanced{5, 6, 0}, Text: "Message holds a bare CR or LF and cannot be sent"}
	replySign           = mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 7, 5}, Text: "Signing failed, will try again"}
	replyHopDNS         = mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 4, 3}, Text: "Name of the next hop does not resolve"}
)

// causes tells what trouble means in which the server had no say. What is
// permanent before a connection concerns the recipient's domain, not the
// health of a site: its scope is the recipient.
var causes = map[cause]verdict{
	causeDNS:         {reply: mail.ReplyDNSTrouble, scope: mail.ScopeSite},
	causeHopDNS:      {reply: replyHopDNS, scope: mail.ScopeSite},
	causeNoDomain:    {reply: mail.ReplyNoSuchDomain, scope: mail.ScopeRecipient},
	causeNoHost:      {reply: mail.ReplyNoMailHost, scope: mail.ScopeRecipient},
	causeNullMX:      {reply: mail.ReplyNullMX, scope: mail.ScopeRecipient},
	causeLoop:        {reply: mail.ReplyMailLoop, scope: mail.ScopeRecipient},
	causeOrigin:      {reply: replyOrigin, scope: mail.ScopeRecipient},
	causeUnknownHop:  {reply: replyUnknownHop, scope: mail.ScopeSite},
	causeNoSource:    {reply: replyNoSource, scope: mail.ScopeSite},
	causeConnect:     {reply: mail.ReplyConnectFailed, scope: mail.ScopeSite, next: true},
	causeTLS:         {reply: mail.ReplyTLSFailed, scope: mail.ScopeSite, next: true},
	causeTLSMissing:  {reply: mail.ReplyTLSNotOffered, scope: mail.ScopeSite, next: true},
	causeAuthMissing: {reply: replyAuthMissing, scope: mail.ScopeSite, next: true},
	causeGarbage:     {reply: mail.ReplyNextHopReply, scope: mail.ScopeSite, next: true},
	causeLost:        {reply: mail.ReplyConnectionLost, scope: mail.ScopeSite, next: true},
	// The message itself may be what makes the server fail: its recipients
	// count the attempt, the site does not (and no other host gets a duplicate).
	causeLostAtEnd:   {reply: mail.ReplyConnectionLost, scope: mail.ScopeMessage},
	causeInterrupted: {reply: replyInterrupted, scope: mail.ScopeSession, retry: time.Second},
	causeSize:        {reply: mail.ReplyNextHopSize, scope: mail.ScopeMessage},  // RFC 1870 section 6.2
	causeUTF8:        {reply: mail.ReplyNextHopUTF8, scope: mail.ScopeMessage},  // RFC 6531 section 3.5
	causeEightBit:    {reply: mail.ReplyNotConverted, scope: mail.ScopeMessage}, // RFC 6152 section 3
	causeNewline:     {reply: replyNewline, scope: mail.ScopeMessage},           // RFC 5321 section 2.3.8
	causeSource:      {reply: mail.ReplyInternal, scope: mail.ScopeMessage},     // our store, most likely
	causeSign:        {reply: replySign, scope: mail.ScopeMessage},              // never send it unsigned instead
	causeUnknown:     {reply: mail.ReplyInternal, scope: mail.ScopeMessage},
}

// replyRule is what a reply means at a stage.
type replyRule struct {
	stages   []smtpc.Stage // none: every stage
	from, to int           // codes
	class    []mail.Enhanced
	hopOnly  bool // only at a configured next hop
	verdict  verdict
}

var (
	stagesOfSession = []smtpc.Stage{smtpc.StageGreeting, smtpc.StageHello, smtpc.StageReset}
	stagesOfTLS     = []smtpc.Stage{smtpc.StageStartTLS, smtpc.StageTLS}
	stageMailOnly   = []smtpc.Stage{smtpc.StageMail}
	stageRcptOnly   = []smtpc.Stage{smtpc.StageRcpt}
	stagesToData    = []smtpc.Stage{smtpc.StageMail, smtpc.StageData}
	tooMany         = []mail.Enhanced{{}, {4, 5, 3}, {5, 5, 3}}
	systemStatus    = []mail.Enhanced{{4, 3, 0}, {4, 3, 1}, {4, 3, 2}}
)

// replyRules are read from the top; the first that fits holds.
var replyRules = []replyRule{
	// 421 ends the session (RFC 5321 section 3.8): before MAIL the whole site
	// is busy, later it may be this session only.
	{stages: stagesOfSession, from: 421, to: 421, verdict: verdict{scope: mail.ScopeSite, next: true}},
	{stages: []smtpc.Stage{smtpc.StageFinal}, from: 421, to: 421, verdict: verdict{scope: mail.ScopeMessage}},
	{from: 421, to: 421, verdict: verdict{scope: mail.ScopeSession, next: true}},
	// A host that never takes mail (RFC 7504 section 4). Other hosts may.
	{stages: []smtpc.Stage{smtpc.StageGreeting}, from: 521, to: 521, verdict: verdict{scope: mail.ScopeRecipient, next: true}},
	{stages: []smtpc.Stage{smtpc.StageGreeting}, from: 556, to: 556, verdict: verdict{scope: mail.ScopeRecipient, next: true}},
	// Any other refusal of the session is about us, not about the mail: block
	// lists and wrong set-ups are mended, so it is temporary.
	{stages: stagesOfSession, from: 400, to: 499, verdict: verdict{scope: mail.ScopeSite, next: true}},
	{stages: stagesOfSession, from: 500, to: 599, verdict: verdict{reply: replyRefusedSession, scope: mail.ScopeSite, next: true}},
	{stages: stagesOfTLS, from: 400, to: 599, verdict: verdict{reply: mail.ReplyTLSFailed, scope: mail.ScopeSite, next: true}},
	{stages: []smtpc.Stage{smtpc.StageAuth}, from: 400, to: 599, verdict: verdict{reply: mail.ReplyNextHopAuth, scope: mail.ScopeSite, next: true}},
	// A next hop of ours that wants AUTH or TLS is a gap in our configuration.
	{stages: stageMailOnly, from: 530, to: 538, hopOnly: true, verdict: verdict{reply: mail.ReplyNextHopAuth, scope: mail.ScopeSite, next: true}},
	// The system is full or closed (RFC 3463 section 3.4, RFC 5321 section 4.2.2).
	{stages: stagesToData, from: 400, to: 499, class: systemStatus, verdict: verdict{scope: mail.ScopeSite, next: true}},
	{stages: stageMailOnly, from: 452, to: 452, class: []mail.Enhanced{{}}, verdict: verdict{scope: mail.ScopeSite, next: true}},
	// Too many recipients: 552 means 452 there (RFC 5321 section 4.5.3.1.10).
	{stages: stageRcptOnly, from: 452, to: 452, class: tooMany, verdict: verdict{scope: mail.ScopeRecipient, retry: time.Minute}},
	{stages: stageRcptOnly, from: 552, to: 552, class: tooMany, verdict: verdict{reply: mail.ReplyTooManyRecipients, scope: mail.ScopeRecipient, retry: time.Minute}},
	{stages: stageRcptOnly, from: 400, to: 599, verdict: verdict{scope: mail.ScopeRecipient}},
	{from: 400, to: 599, verdict: verdict{scope: mail.ScopeMessage}},
}

// decide finds the verdict on a failure.
func (f *failure) decide(hopOnly bool) verdict {
	if f.cause != causeReply {
		if v, ok := causes[f.cause]; ok {
			return v
		}
		return causes[causeUnknown]
	}
	for i := range replyRules {
		if replyRules[i].fits(f, hopOnly) {
			return replyRules[i].verdict
		}
	}
	return causes[causeGarbage] // 2xx or 3xx where it makes no sense
}

func (r *replyRule) fits(f *failure, atHop bool) bool {
	if f.reply.Code < r.from || f.reply.Code > r.to || r.hopOnly && !atHop {
		return false
	}
	return contains(r.stages, f.stage) && contains(r.class, f.reply.Enhanced)
}

// contains takes an empty list for "any".
func contains[T comparable](list []T, wanted T) bool {
	for _, one := range list {
		if one == wanted {
			return true
		}
	}
	return len(list) == 0
}

// isTooMany tells whether the server refused a recipient only for there being
// enough of them in this transaction.
func isTooMany(reply mail.Reply) bool {
	return (reply.Code == 452 || reply.Code == 552) && contains(tooMany, reply.Enhanced)
}

// temporary tells whether another attempt may end better.
func (f *failure) temporary() bool { return f.status(nil).Outcome() == mail.Deferred }

// status is the failure as the queue and people see it; t is nil before there
// was a target.
func (f *failure) status(t *target) mail.Status {
	v := f.decide(t != nil && t.hop.name != labelMX)
	said := v.reply.IsZero()
	if said {
		v.reply = f.reply
	} else if why := f.why(); why != "" {
		v.reply.Text += ": " + why
	}
	s := v.reply.Status(v.scope)
	if s.Enhanced == (mail.Enhanced{}) { // RFC 3463 section 3.1: nothing more is known
		s.Enhanced[0] = uint16(s.Code / 100)
	}
	s.Said, s.RetryAfter = said, v.retry
	if t != nil {
		s.Remote = t.remote()
	}
	return s
}

// maxWhy bounds what we tell of an error of our own.
const maxWhy = 300

// why is the reason behind our own words: the server's reply that led to
// them, or the innermost error.
func (f *failure) why() string {
	text := f.detail
	switch {
	case f.private():
		return ""
	case f.reply.Code != 0:
		text = f.reply.String()
	case f.err != nil:
		text = innermost(f.err).Error()
	}
	return mail.SafeText(text, maxWhy)
}

// private tells whether the error is for our log only: it is about us.
func (f *failure) private() bool {
	switch f.cause {
	case causeSource, causeSign, causeUnknown, causeInterrupted:
		return true
	}
	return false
}

// innermost takes off what only we need to know, such as local addresses.
func innermost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return errTimeout
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	var c *smtpc.Error
	if errors.As(err, &c) {
		return c.Err
	}
	return err
}

var (
	errTimeout = errors.New("timed out")
	errClosed  = errors.New("the server closed it")
	// errLease reports a message that is not ours any more.
	errLease = errors.New("the message is not ours any more")
)

// classify makes a failure of the error of a connection.
func classify(ctx context.Context, err error) *failure {
	var c *smtpc.Error
	if !errors.As(err, &c) {
		return &failure{cause: causeUnknown, err: err}
	}
	f := &failure{stage: c.Stage, reply: c.Reply, err: c.Err}
	switch {
	case c.Err == nil:
		f.cause = causeReply
	case errors.Is(c.Err, errLease):
		f.cause = causeInterrupted
	case c.Stage == smtpc.StageFinal:
		f.cause = causeLostAtEnd
	case ctx.Err() != nil:
		f.cause = causeInterrupted
	case errors.Is(c.Err, smtpc.ErrNewline):
		f.cause = causeNewline
	case c.Stage == smtpc.StageSource:
		f.cause = causeSource
	case c.Stage == smtpc.StageTLS:
		f.cause = causeTLS
	case errors.Is(c.Err, smtpc.ErrMechanism):
		f.cause = causeAuthMissing
	case errors.Is(c.Err, smtpc.ErrReply):
		f.cause = causeGarbage
	default:
		f.cause = causeLost
	}
	return f
}

// classifyForm makes a failure of the error of preparing the message.
func classifyForm(ctx context.Context, err error, otherwise cause) *failure {
	var refused *downgrade.Error
	switch {
	case ctx.Err() != nil:
		return &failure{cause: causeInterrupted, err: ctx.Err()}
	case errors.As(err, &refused):
		return &failure{cause: causeEightBit, detail: refused.Reason}
	}
	return &failure{cause: otherwise, err: err}
}
