package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"gatepost/gateway/delivery/smtpc"
	"gatepost/mail"
)

func TestRepliesAndWhatTheyMean(t *testing.T) {
	atHop := &target{hop: &hop{name: "exchange"}, host: "ex", addr: netip.MustParseAddr("192.0.2.1"), address: "192.0.2.1:25"}
	atMX := &target{hop: &hop{name: labelMX}, host: "ex", addr: netip.MustParseAddr("192.0.2.1"), address: "192.0.2.1:25"}
	for _, test := range []struct {
		stage    smtpc.Stage
		code     int
		enhanced mail.Enhanced
		at       *target
		want     string
		scope    mail.Scope
		next     bool
	}{
		{smtpc.StageGreeting, 421, mail.Enhanced{4, 3, 2}, atMX, "421 4.3.2 said", mail.ScopeSite, true},
		{smtpc.StageGreeting, 450, mail.Enhanced{}, atMX, "450 4.0.0 said", mail.ScopeSite, true},
		{smtpc.StageGreeting, 554, mail.Enhanced{5, 7, 1}, atMX, "450 4.3.2 Next hop takes no mail from us now: 554 5.7.1 said", mail.ScopeSite, true},
		{smtpc.StageGreeting, 521, mail.Enhanced{}, atMX, "521 5.0.0 said", mail.ScopeRecipient, true},
		{smtpc.StageGreeting, 556, mail.Enhanced{5, 1, 10}, atMX, "556 5.1.10 said", mail.ScopeRecipient, true},
		{smtpc.StageHello, 550, mail.Enhanced{}, atMX, "450 4.3.2 Next hop takes no mail from us now: 550 said", mail.ScopeSite, true},
		{smtpc.StageHello, 450, mail.Enhanced{}, atMX, "450 4.0.0 said", mail.ScopeSite, true},
		{smtpc.StageStartTLS, 454, mail.Enhanced{}, atMX, "451 4.7.5 TLS with the next hop failed: 454 said", mail.ScopeSite, true},
		{smtpc.StageStartTLS, 502, mail.Enhanced{}, atMX, "451 4.7.5 TLS with the next hop failed: 502 said", mail.ScopeSite, true},
		{smtpc.StageAuth, 535, mail.Enhanced{5, 7, 8}, atHop, "454 4.7.0 Authentication at the next hop failed: 535 5.7.8 said", mail.ScopeSite, true},
		{smtpc.StageAuth, 454, mail.Enhanced{}, atHop, "454 4.7.0 Authentication at the next hop failed: 454 said", mail.ScopeSite, true},
		{smtpc.StageMail, 421, mail.Enhanced{}, atMX, "421 4.0.0 said", mail.ScopeSession, true},
		{smtpc.StageMail, 530, mail.Enhanced{5, 7, 0}, atHop, "454 4.7.0 Authentication at the next hop failed: 530 5.7.0 said", mail.ScopeSite, true},
		{smtpc.StageMail, 530, mail.Enhanced{5, 7, 0}, atMX, "530 5.7.0 said", mail.ScopeMessage, false},
		{smtpc.StageMail, 452, mail.Enhanced{}, atMX, "452 4.0.0 said", mail.ScopeSite, true},
		{smtpc.StageMail, 452, mail.Enhanced{4, 2, 2}, atMX, "452 4.2.2 said", mail.ScopeMessage, false},
		{smtpc.StageMail, 451, mail.Enhanced{4, 3, 2}, atMX, "451 4.3.2 said", mail.ScopeSite, true},
		{smtpc.StageMail, 451, mail.Enhanced{4, 7, 1}, atMX, "451 4.7.1 said", mail.ScopeMessage, false},
		{smtpc.StageMail, 550, mail.Enhanced{}, atMX, "550 5.0.0 said", mail.ScopeMessage, false},
		{smtpc.StageMail, 552, mail.Enhanced{5, 3, 4}, atMX, "552 5.3.4 said", mail.ScopeMessage, false},
		{smtpc.StageRcpt, 550, mail.Enhanced{5, 1, 1}, atMX, "550 5.1.1 said", mail.ScopeRecipient, false},
		{smtpc.StageRcpt, 450, mail.Enhanced{4, 2, 0}, atMX, "450 4.2.0 said", mail.ScopeRecipient, false},
		{smtpc.StageRcpt, 452, mail.Enhanced{}, atMX, "452 4.0.0 said", mail.ScopeRecipient, false},
		{smtpc.StageRcpt, 552, mail.Enhanced{}, atMX, "452 4.5.3 Too many recipients: 552 said", mail.ScopeRecipient, false},
		{smtpc.StageRcpt, 552, mail.Enhanced{5, 2, 2}, atMX, "552 5.2.2 said", mail.ScopeRecipient, false},
		{smtpc.StageRcpt, 421, mail.Enhanced{}, atMX, "421 4.0.0 said", mail.ScopeSession, true},
		{smtpc.StageData, 451, mail.Enhanced{4, 3, 0}, atMX, "451 4.3.0 said", mail.ScopeSite, true},
		{smtpc.StageData, 554, mail.Enhanced{}, atMX, "554 5.0.0 said", mail.ScopeMessage, false},
		{smtpc.StageData, 250, mail.Enhanced{}, atMX, "451 4.5.0 Next hop sent a reply that is not SMTP: 250 said", mail.ScopeSite, true},
		{smtpc.StageContent, 552, mail.Enhanced{5, 3, 4}, atMX, "552 5.3.4 said", mail.ScopeMessage, false},
		{smtpc.StageContent, 421, mail.Enhanced{}, atMX, "421 4.0.0 said", mail.ScopeSession, true},
		{smtpc.StageFinal, 421, mail.Enhanced{}, atMX, "421 4.0.0 said", mail.ScopeMessage, false},
		{smtpc.StageFinal, 451, mail.Enhanced{4, 3, 0}, atMX, "451 4.3.0 said", mail.ScopeMessage, false},
		{smtpc.StageFinal, 550, mail.Enhanced{5, 7, 1}, atMX, "550 5.7.1 said", mail.ScopeMessage, false},
		{smtpc.StageFinal, 354, mail.Enhanced{}, atMX, "451 4.5.0 Next hop sent a reply that is not SMTP: 354 said", mail.ScopeSite, true},
		{smtpc.StageReset, 421, mail.Enhanced{}, atMX, "421 4.0.0 said", mail.ScopeSite, true},
	} {
		f := &failure{cause: causeReply, stage: test.stage, reply: mail.Reply{Code: test.code, Enhanced: test.enhanced, Text: "said"}}
		s := f.status(test.at)
		if s.String() != test.want || s.Scope != test.scope || f.decide(test.at == atHop).next != test.next {
			t.Errorf("%s %d %s at %s: got %s, scope %s, next %v", test.stage, test.code, test.enhanced, test.at.hop.name, s, s.Scope, f.decide(test.at == atHop).next)
		}
		if s.Said != (s.Text == "said") || s.Remote != "ex[192.0.2.1]:25" {
			t.Errorf("%s %d: said %v, remote %q", test.stage, test.code, s.Said, s.Remote)
		}
	}
}

func TestErrorsAndWhatTheyMean(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	at := func(stage smtpc.Stage, err error) error { return &smtpc.Error{Stage: stage, Err: err} }
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error
		want cause
	}{
		"unknown":               {t.Context(), errors.New("what"), causeUnknown},
		"reset at MAIL":         {t.Context(), at(smtpc.StageMail, syscall.ECONNRESET), causeLost},
		"closed at the content": {t.Context(), at(smtpc.StageContent, io.EOF), causeLost},
		"closed after the dot":  {t.Context(), at(smtpc.StageFinal, io.EOF), causeLostAtEnd},
		"ended after the dot":   {ended, at(smtpc.StageFinal, context.Canceled), causeLostAtEnd},
		"ended before the dot":  {ended, at(smtpc.StageContent, context.Canceled), causeInterrupted},
		"garbage":               {t.Context(), at(smtpc.StageMail, fmt.Errorf("x: %w", smtpc.ErrReply)), causeGarbage},
		"garbage after the dot": {t.Context(), at(smtpc.StageFinal, smtpc.ErrReply), causeLostAtEnd},
		"our store":             {t.Context(), at(smtpc.StageSource, errors.New("disk")), causeSource},
		"bare newline":          {t.Context(), at(smtpc.StageSource, smtpc.ErrNewline), causeNewline},
		"lease":                 {t.Context(), at(smtpc.StageSource, errLease), causeInterrupted},
		"handshake":             {t.Context(), at(smtpc.StageTLS, io.EOF), causeTLS},
		"no mechanism":          {t.Context(), at(smtpc.StageAuth, smtpc.ErrMechanism), causeAuthMissing},
	} {
		if f := classify(test.ctx, test.err); f.cause != test.want {
			t.Errorf("%s: got %s", name, f.cause)
		}
	}
}

func TestEveryCauseHasAVerdict(t *testing.T) {
	permanent := map[cause]bool{causeNoDomain: true, causeNoHost: true, causeNullMX: true, causeLoop: true, causeOrigin: true,
		causeSize: true, causeUTF8: true, causeEightBit: true, causeNewline: true}
	for c, v := range causes {
		f := &failure{cause: c}
		if f.temporary() == permanent[c] {
			t.Errorf("%s: temporary is %v", c, f.temporary())
		}
		if v.reply.Enhanced[0] != uint16(v.reply.Code/100) || v.scope == "" || v.next && v.scope != mail.ScopeSite {
			t.Errorf("%s: %+v", c, v)
		}
	}
	if f := (&failure{cause: "new"}); !f.temporary() {
		t.Error("an unknown cause is permanent")
	}
}

func TestReasonsHideWhatIsOurs(t *testing.T) {
	refused := &net.OpError{Op: "dial", Addr: &net.TCPAddr{}, Source: &net.TCPAddr{}, Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}
	for name, test := range map[string]struct {
		f    failure
		want string
	}{
		"system call": {failure{cause: causeConnect, err: fmt.Errorf("x: %w", refused)}, "connection refused"},
		"time-out":    {failure{cause: causeLost, err: &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}}, "timed out"},
		"end":         {failure{cause: causeLost, err: fmt.Errorf("read reply: %w", io.EOF)}, "the server closed it"},
		"our store":   {failure{cause: causeSource, err: errors.New("/var/lib/secret")}, ""},
		"our signer":  {failure{cause: causeSign, err: errors.New("key")}, ""},
		"reply":       {failure{cause: causeTLS, reply: mail.Reply{Code: 454, Text: "no"}}, "454 no"},
		"unsafe name": {failure{cause: causeNoDomain, detail: "a\r\nb"}, "a  b"},
	} {
		if got := test.f.why(); got != test.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestTemporaryTroubleOutweighsPermanent(t *testing.T) {
	for _, order := range [][]string{{"S: 521 never\nW:", "S: 450 later\nW:"}, {"S: 450 later\nW:", "S: 521 never\nW:"}} {
		d := start(t, Options{}, serve(t, order[0]), serve(t, order[1]))
		want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "site 450 4.0.0 later")
	}
	d := start(t, Options{}, serve(t, "S: 521 never\nW:"), serve(t, "S: 521 never again\nW:"))
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "recipient 521 5.0.0 never*")
}
