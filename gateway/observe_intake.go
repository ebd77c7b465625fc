package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"gatepost/auth/sasl"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/store"
	"gatepost/telemetry"
	"gatepost/trace"
)

// door hears what intake does: a line in the mail log, metrics, and the trace
// of what was refused.
type door struct {
	log     *slog.Logger
	metrics *telemetry.Metrics
	trace   *trace.Log
	counter *counter
	failing *failing
}

// SessionStarted implements intake.Observer.
func (d *door) SessionStarted(s intake.Session) {
	d.metrics.Sessions.WithLabelValues(s.Listener).Inc()
	d.metrics.SessionsTotal.WithLabelValues(s.Listener).Inc()
	d.log.Debug("session begins", telemetry.KeySession, s.ID.String(), telemetry.KeyListener, s.Listener, telemetry.KeyClient, s.Addr.String())
}

// SessionEnded implements intake.Observer.
func (d *door) SessionEnded(s intake.Session, took time.Duration, err error) {
	d.metrics.Sessions.WithLabelValues(s.Listener).Dec()
	attrs := []any{telemetry.KeySession, s.ID.String(), telemetry.KeyClient, s.Addr.String(), "took", took.Round(time.Millisecond).String()}
	if err != nil {
		attrs = append(attrs, telemetry.KeyError, err.Error())
	}
	d.log.Debug("session ends", attrs...)
}

// Handshake implements intake.Observer.
func (d *door) Handshake(s intake.Session, err error) {
	if err != nil {
		d.metrics.TLS.WithLabelValues("in", "failed").Inc()
		d.log.Info("TLS handshake failed", telemetry.KeySession, s.ID.String(), telemetry.KeyListener, s.Listener,
			telemetry.KeyClient, s.Addr.String(), telemetry.KeyError, mail.SafeText(err.Error(), 200))
		return
	}
	d.metrics.TLS.WithLabelValues("in", tlsVersion(s.TLS)).Inc()
}

// Authenticated implements intake.Observer.
func (d *door) Authenticated(s intake.Session, mechanism, user string, err error) {
	result := "ok"
	switch {
	case errors.Is(err, sasl.ErrCredentials):
		result = "denied"
	case err != nil:
		result = "failed"
	}
	d.metrics.Logins.WithLabelValues(s.Listener, result).Inc()
	attrs := []any{telemetry.KeySession, s.ID.String(), telemetry.KeyListener, s.Listener, telemetry.KeyClient, s.Addr.String(),
		"mechanism", mechanism, "user", mail.SafeText(user, 100)}
	if err != nil {
		d.log.Warn("login denied", append(attrs, telemetry.KeyError, err.Error())...)
		return
	}
	d.log.Info("login", attrs...)
}

// Refused implements intake.Observer.
func (d *door) Refused(r intake.Refusal) {
	s := r.Session
	d.metrics.Refused.WithLabelValues(s.Listener, string(r.Stage), r.Verdict.Rule).Inc()
	if r.Stage == intake.StageContent {
		d.judged(r.ID, r.Verdict, r.Facts)
		d.counter.add(r.At, &s, &r.Envelope, &r.Facts, &r.Verdict)
		d.failing.refused(&r)
	}
	attrs := []any{telemetry.KeySession, s.ID.String(), telemetry.KeyListener, s.Listener, telemetry.KeyClient, s.Addr.String(),
		"stage", string(r.Stage)}
	if !r.Reply.IsZero() {
		attrs = append(attrs, telemetry.KeyStatus, r.Reply.String())
	}
	if r.ID != 0 {
		attrs = append(attrs, telemetry.KeyID, r.ID.String(), telemetry.KeyFrom, r.Envelope.From.String(), telemetry.KeyTo, refusedTo(r))
	}
	if r.Verdict.Rule != "" {
		attrs = append(attrs, "rule", r.Verdict.Rule, "reason", r.Verdict.Reason)
	}
	level := slog.LevelInfo
	if r.Err != nil {
		attrs = append(attrs, telemetry.KeyError, r.Err.Error())
	}
	if r.Stage == intake.StageStore {
		level = slog.LevelError
	}
	d.log.Log(context.Background(), level, "refused", attrs...)
	if r.ID != 0 && !errors.Is(r.Err, store.ErrUnknown) { // the queue may have it: then its own trace tells
		d.trace.Refused(r.ID, refusalRecord(r))
	}
}

func refusedTo(r intake.Refusal) []string {
	if !r.To.IsNull() {
		return []string{r.To.String()}
	}
	return recipientStrings(r.Envelope)
}

func recipientStrings(e mail.Envelope) []string {
	out := make([]string, len(e.Recipients))
	for i, r := range e.Recipients {
		out[i] = r.Address.String()
	}
	return out
}

func refusalRecord(r intake.Refusal) trace.Refusal {
	s := r.Session
	facts, err := json.Marshal(intake.Record{Session: s, Facts: r.Facts, Verdict: r.Verdict})
	if err != nil {
		facts = nil // the record is for people; the refusal itself counts more
	}
	return trace.Refusal{
		At: r.At, Stage: string(r.Stage), From: r.Envelope.From.String(), To: refusedTo(r),
		Origin: mail.Origin{Listener: s.Listener, Role: s.Role, Addr: s.Addr, Helo: s.Helo, Client: s.Client, User: s.User, TLS: s.TLS},
		Status: mail.Status{Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Text: r.Reply.Text},
		Rule:   r.Verdict.Rule, Reason: r.Verdict.Reason, Facts: facts,
	}
}

// Accepted implements intake.Observer.
func (d *door) Accepted(a intake.Acceptance) {
	m, s := a.Message, a.Session
	d.metrics.Accepted.WithLabelValues(s.Listener, string(m.Origin.Role)).Inc()
	d.metrics.AcceptedOctets.Add(float64(m.Content.Size()))
	if m.Origin.Role == mail.RoleMX {
		d.judged(m.ID, a.Verdict, a.Facts)
		d.counter.add(m.Received, &s, &m.Envelope, &a.Facts, &a.Verdict)
		d.failing.accepted(&a)
	}
	attrs := []any{telemetry.KeyID, m.ID.String(), telemetry.KeySession, s.ID.String(), telemetry.KeyListener, s.Listener,
		telemetry.KeyClient, s.Addr.String(), telemetry.KeyFrom, m.Envelope.From.String(), telemetry.KeyTo, recipientStrings(m.Envelope),
		"size", m.Content.Size(), "took", a.Took.Round(time.Millisecond).String()}
	if s.TLS != "" {
		attrs = append(attrs, "tls", s.TLS)
	}
	if s.User != "" {
		attrs = append(attrs, "user", s.User)
	}
	if s.Client != "" {
		attrs = append(attrs, "relay_client", s.Client)
	}
	if a.Verdict.Action != policy.Accept || a.Verdict.Would != "" {
		attrs = append(attrs, "verdict", string(a.Verdict.Action), "would", string(a.Verdict.Would), "rule", a.Verdict.Rule, "reason", a.Verdict.Reason)
	}
	if a.Hold != "" {
		attrs = append(attrs, "hold", a.Hold)
	}
	d.log.Info("accepted", attrs...)
}

// judged counts proofs and verdict of a message of the mx role.
func (d *door) judged(id mail.ID, v policy.Verdict, f policy.Facts) {
	count := func(method, result string) {
		if result != "" {
			d.metrics.Proofs.WithLabelValues(method, result).Inc()
		}
	}
	count("spf", f.SPF.Value)
	count("arc", f.ARC.Value)
	count("dmarc", f.DMARC.Value)
	count("iprev", f.IPRev.Value)
	for _, k := range f.DKIM {
		count("dkim", k.Value)
	}
	if other := f.DMARC.PSL; other != nil {
		d.metrics.Discovery.WithLabelValues(f.DMARC.Value, other.Value).Inc()
		d.log.Info("DMARC discovery differs", telemetry.KeyID, id.String(), "domain", f.DMARC.From.String(),
			"treewalk", f.DMARC.Value, "treewalk_policy", f.DMARC.Policy, "treewalk_record", f.DMARC.PolicyDomain.String(),
			"psl", other.Value, "psl_policy", other.Policy, "psl_record", other.PolicyDomain.String())
	}
	mode, action := "enforce", v.Action
	if v.Would != "" {
		mode, action = "monitor", v.Would
	}
	d.metrics.Verdicts.WithLabelValues(string(action), mode).Inc()
}

// tlsVersion is the version in "TLSv1.3 TLS_AES_…" or "TLS 1.3", a bounded label.
func tlsVersion(s string) string {
	version, _, _ := strings.Cut(strings.Replace(s, "TLS ", "TLSv", 1), " ")
	return version
}
