package policy

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
)

func TestContentOfRelaySessions(t *testing.T) {
	user := Session{Role: mail.RoleRelay, User: "crm"}
	for _, c := range []struct {
		name    string
		session Session
		from    string // header From lines
		want    Action
		vouched string
		text    string
	}{
		{"own domain", client("exchange"), "From: A <a@example.com>\r\n", Accept, "example.com", ""},
		{"own subdomain", client("exchange"), "From: a@x.example.net\r\n", Accept, "x.example.net", ""},
		{"foreign From, unsigned", client("exchange"), "From: a@elsewhere.example\r\n", Accept, "", ""},
		{"foreign From, refused", client("printers"), "From: a@elsewhere.example\r\n", Reject, "", "add it to send_as of relay client \"printers\""},
		{"user", user, "From: a@example.org\r\n", Accept, "example.org", ""},
		{"user as another", user, "From: a@example.com\r\n", Reject, "", "send_as"},
		{"no From", client("exchange"), "Subject: x\r\n", Reject, "", "no From field"},
		{"two From", client("exchange"), "From: a@example.com\r\nFrom: b@example.com\r\n", Reject, "", "more than one From field"},
		{"two addresses", client("exchange"), "From: a@example.com, b@elsewhere.example\r\n", Reject, "", "more than one address"},
		{"nobody", Session{Role: mail.RoleRelay}, "From: a@example.com\r\n", Reject, "", "Relaying denied"},
		{"our own notice", Session{Role: mail.RoleInternal}, "From: postmaster@example.com\r\n", Accept, "example.com", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, mode := range []string{ModeEnforce, ModeMonitor} { // relaying is no matter of learning
				o := options(t, &proofs{})
				o.Mode = mode
				_, v, vouched := engine(t, o).Content(t.Context(), c.session, mail.Envelope{}, header(t, c.from), mail.MemoryBody(nil))
				if v.Action != c.want || vouched.String() != c.vouched || !strings.Contains(v.Reply.Text, c.text) {
					t.Errorf("%s: got %+v, vouched %q", mode, v, vouched)
				}
			}
		})
	}
}

// judge runs one message of author.example through an engine.
func judge(t *testing.T, o Options) (Facts, Verdict) {
	t.Helper()
	env := mail.Envelope{From: address(t, "bounce@author.example")}
	h := header(t, "From: Author <a@author.example>\r\nMessage-ID: <1@author.example>\r\nSubject: hello\r\n")
	f, v, vouched := engine(t, o).Content(t.Context(), stranger(), env, h, mail.MemoryBody(nil))
	if !vouched.IsZero() {
		t.Errorf("mail of an mx session is vouched for: %s", vouched)
	}
	sameAgain(t, o, stranger(), f, v)
	return f, v
}

func spfResult(t testing.TB, value, d string) spf.Result {
	return spf.Result{Value: value, Domain: domain(t, d), Identity: "mailfrom"}
}

func dkimResult(t testing.TB, value, d string) dkim.Result {
	return dkim.Result{Value: value, Domain: domain(t, d), Selector: "s1", Algorithm: "rsa-sha256", B: "QUJDREVGR0g5"}
}

func policyOf(level string) dmarc.Result { return dmarc.Result{Policy: level, Pct: 100} }

func TestDMARCDisposition(t *testing.T) {
	fail := spfResult(t, "fail", "author.example")
	tested := dmarc.Result{Policy: "reject", Pct: 0, HasT: true, Testing: true}
	testedOff := dmarc.Result{Policy: "reject", Pct: 0, HasT: true}
	testedQuarantine := dmarc.Result{Policy: "quarantine", Pct: 100, HasT: true, Testing: true}
	for _, c := range []struct {
		name    string
		change  func(*Options, *proofs)
		want    Action
		rule    string
		applied string
	}{
		{"p=none", func(_ *Options, p *proofs) { p.dmarc = policyOf("none") }, Accept, "", "none"},
		{"p=quarantine", func(_ *Options, p *proofs) { p.dmarc = policyOf("quarantine") }, Quarantine, "dmarc", "quarantine"},
		{"p=reject", func(_ *Options, p *proofs) { p.dmarc = policyOf("reject") }, Reject, "dmarc", "reject"},
		{"SPF passes", func(_ *Options, p *proofs) {
			p.dmarc, p.spf = policyOf("reject"), spfResult(t, "pass", "author.example")
		}, Accept, "", ""},
		{"SPF passes for another", func(_ *Options, p *proofs) {
			p.dmarc, p.spf = policyOf("reject"), spfResult(t, "pass", "other.example")
		}, Reject, "dmarc", "reject"},
		{"DKIM passes", func(_ *Options, p *proofs) {
			p.dmarc, p.dkim = policyOf("reject"), []dkim.Result{dkimResult(t, "fail", "other.example"), dkimResult(t, "pass", "author.example")}
		}, Accept, "", ""},
		{"no record", func(_ *Options, p *proofs) { p.dmarc = dmarc.Result{Value: "none"} }, Accept, "", ""},
		{"switched off", func(o *Options, p *proofs) { p.dmarc, o.DMARC.Enabled = policyOf("reject"), false }, Accept, "", ""},
		{"reject does quarantine here", func(o *Options, p *proofs) { p.dmarc, o.DMARC.Reject = policyOf("reject"), "quarantine" }, Quarantine, "dmarc", "reject"},
		{"reject does tag here", func(o *Options, p *proofs) { p.dmarc, o.DMARC.Reject = policyOf("reject"), "tag" }, Tag, "dmarc", "reject"},
		{"quarantine does reject here", func(o *Options, p *proofs) { p.dmarc, o.DMARC.Quarantine = policyOf("quarantine"), "reject" }, Reject, "dmarc", "quarantine"},
		{"t=y lowers reject", func(_ *Options, p *proofs) { p.dmarc = tested }, Quarantine, "dmarc", "quarantine"},
		{"t=y lowers quarantine", func(_ *Options, p *proofs) { p.dmarc = testedQuarantine }, Accept, "", "none"},
		{"pct is ignored beside t=n", func(_ *Options, p *proofs) { p.dmarc = testedOff }, Reject, "dmarc", "reject"},
		{"pct=0 lowers reject", func(_ *Options, p *proofs) { p.dmarc = dmarc.Result{Policy: "reject"} }, Quarantine, "dmarc", "quarantine"},
		{"pct=0 lowers quarantine", func(_ *Options, p *proofs) { p.dmarc = dmarc.Result{Policy: "quarantine"} }, Accept, "", "none"},
		{"pct is not honoured", func(o *Options, p *proofs) { p.dmarc, o.DMARC.HonorPct = dmarc.Result{Policy: "reject"}, false }, Reject, "dmarc", "reject"},
		{"the local ramp lowers reject", func(o *Options, p *proofs) { p.dmarc, o.DMARC.EnforcePercent = policyOf("reject"), 0 }, Quarantine, "dmarc", "quarantine"},
		{"the local ramp comes on top of t=y", func(o *Options, p *proofs) { p.dmarc, o.DMARC.EnforcePercent = tested, 0 }, Accept, "", "none"},
		{"exempt client", func(o *Options, p *proofs) { p.dmarc, o.Exempt = policyOf("reject"), []string{"203.0.113.0/24"} }, Accept, "exempt", ""},
		{"SPF fail alone tags, DMARC rejects", func(o *Options, p *proofs) { p.dmarc, o.SPF.Fail = policyOf("reject"), "tag" }, Reject, "dmarc", "reject"},
		{"SPF fail alone tags", func(o *Options, p *proofs) { p.dmarc, o.SPF.Fail = policyOf("none"), "tag" }, Tag, "spf", "none"},
		{"the severer stays", func(o *Options, p *proofs) {
			p.dmarc, o.SPF.Fail, o.DMARC.Quarantine = policyOf("quarantine"), "quarantine", "tag"
		}, Quarantine, "spf", "quarantine"},
		{"SPF fail alone rejects", func(o *Options, p *proofs) { p.dmarc, o.SPF.Fail = policyOf("none"), "reject" }, Reject, "spf", "none"},
		{"SPF fail alone rejects before DMARC does", func(o *Options, p *proofs) { p.dmarc, o.SPF.Fail = policyOf("reject"), "reject" }, Reject, "spf", "reject"},
		{"SPF softfail alone", func(o *Options, p *proofs) {
			p.dmarc, p.spf, o.SPF.SoftFail = policyOf("none"), spfResult(t, "softfail", "author.example"), "quarantine"
		}, Quarantine, "spf", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &proofs{spf: fail}
			o := options(t, p)
			c.change(&o, p)
			f, v := judge(t, o)
			if v.Action != c.want || v.Rule != c.rule || f.Disposition.Applied != c.applied {
				t.Errorf("got %s by %q, applied %q; want %s by %q, %q\n%+v", v.Action, v.Rule, f.Disposition.Applied, c.want, c.rule, c.applied, f.Steps)
			}
			o.Mode = ModeMonitor
			_, m := judge(t, o)
			if would := m.Would; m.Action != Accept || c.want != Accept && (would != c.want || m.Rule != c.rule) || c.want == Accept && would != "" {
				t.Errorf("monitor: got %+v, want would %s by %q", m, c.want, c.rule)
			}
		})
	}
}

func TestRejectTellsDomainAndID(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: policyOf("reject")}
	_, v := judge(t, options(t, p))
	got := v.Reply.String()
	for _, want := range []string{"550 5.7.1 ", "DMARC policy reject for author.example", "(" + mail.ID(1).String() + ")"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if v.Domain != domain(t, "author.example") {
		t.Errorf("domain %q", v.Domain)
	}
}

func TestFromShapeOfStrangers(t *testing.T) {
	p := &proofs{spf: spfResult(t, "pass", "author.example"), dmarc: policyOf("reject")}
	two := header(t, "From: a@author.example\r\nFrom: ceo@example.com\r\n")
	o := options(t, p)
	_, v, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, two, mail.MemoryBody(nil))
	if v.Action != Reject || v.Rule != "from-shape" || !strings.HasPrefix(v.Reply.String(), "550 5.7.1") {
		t.Errorf("enforce: got %+v", v)
	}
	o.Mode = ModeMonitor
	f, v, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, two, mail.MemoryBody(nil))
	if v.Action != Accept || v.Would != Reject || v.Rule != "from-shape" || f.SPF.Value != "pass" {
		t.Errorf("monitor: got %+v, spf %q", v, f.SPF.Value)
	}
}

func TestHeaderLimitsActInMonitorModeToo(t *testing.T) {
	o := options(t, &proofs{})
	o.Mode = ModeMonitor
	h := header(t, "From: a@author.example\r\n"+strings.Repeat("X: y\r\n", maxHeaderFields))
	_, v, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, h, mail.MemoryBody(nil))
	if v.Action != Reject || v.Rule != "header-limits" {
		t.Errorf("got %+v", v)
	}
}

func TestUnreadableContentIsDeferred(t *testing.T) {
	for _, mode := range []string{ModeEnforce, ModeMonitor} {
		o := options(t, &proofs{dkimErr: errDown})
		o.Mode = mode
		_, v := judge(t, o)
		if v.Action != Defer || v.Reply.Code != 451 || strings.Contains(v.Reply.Text, "server down") {
			t.Errorf("%s: got %+v", mode, v)
		}
	}
}

func TestProofsRunAtTheSameTime(t *testing.T) {
	var all sync.WaitGroup
	all.Add(3) // each checker waits until all three have begun
	p := &proofs{wait: func(string) { all.Done(); all.Wait() }, dmarc: policyOf("none")}
	judge(t, options(t, p))
}

func TestStepsTellTheWholeWay(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: policyOf("reject")}
	f, _ := judge(t, options(t, p))
	var got []string
	for _, s := range f.Steps {
		got = append(got, s.Rule+"="+s.Result)
	}
	want := []string{"internal=next", "exempt=next", "header-limits=next", "from-shape=next", "send-as=next", "proofs=next", "arc=next",
		"temperror=next", "override=next", "spf=next", "spoofed=next", "dmarc=reject"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestExplainGoesOnAfterARefusal(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: policyOf("reject")}
	env := mail.Envelope{From: address(t, "a@author.example"), Recipients: []mail.Recipient{
		{Address: address(t, "a@elsewhere.example")}, {Address: address(t, "a@example.com")}}}
	x := engine(t, options(t, p)).Explain(t.Context(), stranger(), env, header(t, "From: a@author.example\r\n"), mail.MemoryBody(nil))
	if x.Recipients[0].Verdict.Action != Reject || x.Recipients[1].Verdict.Action != Accept || x.Content.Rule != "dmarc" {
		t.Errorf("got %+v", x)
	}
}

// policy.bad_from: quarantine holds mail of strangers without one author; what
// is worse still counts, and a relay client is refused whatever stands there.
func TestBadFromIsHeldOnMXOnly(t *testing.T) {
	for _, c := range []struct {
		name    string
		session Session
		from    string
		change  func(*Options, *proofs)
		want    Action
		rule    string
	}{
		{"two authors", stranger(), "From: a@author.example, b@author.example\r\n", nil, Quarantine, "from-shape"},
		{"nobody", stranger(), "Subject: x\r\n", nil, Quarantine, "from-shape"},
		{"SPF alone rejects", stranger(), "From: a@author.example, b@author.example\r\n", func(o *Options, p *proofs) {
			o.SPF.Fail, p.spf = "reject", spfResult(t, "fail", "author.example")
		}, Reject, "spf"},
		{"one author", stranger(), "From: a@author.example\r\n", nil, Accept, ""},
		{"relay client", client("exchange"), "From: a@example.com, b@example.com\r\n", nil, Reject, "from-shape"},
		{"user", Session{Role: mail.RoleRelay, User: "crm"}, "Subject: x\r\n", nil, Reject, "from-shape"},
	} {
		p := &proofs{spf: spfResult(t, "pass", "author.example"), dmarc: dmarc.Result{Value: "none"}}
		o := options(t, p)
		o.BadFrom = "quarantine"
		if c.change != nil {
			c.change(&o, p)
		}
		f, v, vouched := engine(t, o).Content(t.Context(), c.session, mail.Envelope{}, header(t, c.from), mail.MemoryBody(nil))
		if v.Action != c.want || v.Rule != c.rule || !vouched.IsZero() {
			t.Errorf("%s: %+v\n%+v", c.name, v, f.Steps)
		}
		sameAgain(t, o, c.session, f, v)
	}
	o := options(t, &proofs{})
	o.BadFrom = "tag"
	if _, err := New(o); err == nil {
		t.Error("tag is taken: nobody would be judged, and the mail delivered")
	}
}

// Of findings as severe as each other the first names the rule; only a final
// one takes its place.
func TestTheFirstOfEqualsStays(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: policyOf("quarantine")}
	o := options(t, p)
	o.SPF.Fail = "quarantine"
	if f, v := judge(t, o); v.Action != Quarantine || v.Rule != "spf" {
		t.Errorf("%+v\n%+v", v, f.Steps)
	}
}
