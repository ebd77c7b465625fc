package policy

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
)

func TestConfirms(t *testing.T) {
	from := address(t, "bounce@author.example")
	helo := spfResult(t, "pass", "author.example")
	helo.Identity = "helo"
	for _, c := range []struct {
		name  string
		facts Facts
		from  mail.Address
		want  bool
	}{
		{"nothing", Facts{}, from, false},
		{"SPF passes", Facts{SPF: spfResult(t, "pass", "author.example")}, from, true},
		{"SPF fails", Facts{SPF: spfResult(t, "softfail", "author.example")}, from, false},
		{"SPF passes for HELO only", Facts{SPF: helo}, from, false},
		{"SPF passes for another", Facts{SPF: spfResult(t, "pass", "other.example")}, from, false},
		{"DKIM passes", Facts{DKIM: []dkim.Result{dkimResult(t, "fail", "x.example"), dkimResult(t, "pass", "author.example")}}, from, true},
		{"DKIM of the parent passes", Facts{DKIM: []dkim.Result{dkimResult(t, "pass", "author.example")}}, address(t, "b@bounce.author.example"), true},
		{"DKIM of a child is no proof", Facts{DKIM: []dkim.Result{dkimResult(t, "pass", "child.author.example")}}, from, false},
		{"DKIM fails", Facts{DKIM: []dkim.Result{dkimResult(t, "fail", "author.example")}}, from, false},
		{"DMARC passes for the same domain", Facts{From: address(t, "a@author.example"), DMARC: dmarc.Result{Value: "pass"}}, from, true},
		{"DMARC passes for another", Facts{From: address(t, "a@x.example"), DMARC: dmarc.Result{Value: "pass"}}, from, false},
		{"the null sender never", Facts{SPF: spf.Result{Value: "pass", Identity: "mailfrom"}, DMARC: dmarc.Result{Value: "pass"}}, mail.Address{}, false},
	} {
		if got := c.facts.Confirms(c.from); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestAuthenticationResults(t *testing.T) {
	p := &proofs{
		spf:   spf.Result{Value: "softfail", Domain: domain(t, "author.example"), Identity: "mailfrom"},
		dkim:  []dkim.Result{dkimResult(t, "pass", "list.example"), {Value: "permerror", Reason: `bad"; dkim=pass`}},
		dmarc: dmarc.Result{Policy: "reject", Pct: 0},
		names: []string{"out.author.example"},
	}
	f, _ := judge(t, options(t, p))
	got := strings.Join(strings.Fields(string(f.AuthenticationResults("mx.example.com"))), " ")
	for _, want := range []string{
		"Authentication-Results: mx.example.com;",
		"iprev=pass policy.iprev=203.0.113.9",
		"spf=softfail smtp.mailfrom=author.example",
		"dkim=pass header.d=list.example header.s=s1 header.a=rsa-sha256 header.b=QUJDREVG",
		"dmarc=fail",
		"header.from=author.example policy.dmarc=quarantine",
		"policy reject, sampled_out",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if strings.Count(got, "dkim=pass") != 1 && !strings.Contains(got, `reason="`) {
		t.Errorf("a reason broke out:\n%s", got)
	}
	none := strings.Join(strings.Fields(string(Facts{}.AuthenticationResults("mx.example.com"))), " ")
	if none != "Authentication-Results: mx.example.com; none" {
		t.Errorf("got %q", none)
	}
}

func TestHELOIsNamedAsSuch(t *testing.T) {
	f := Facts{SPF: spf.Result{Value: "pass", Domain: domain(t, "out.example"), Identity: "helo"}}
	got := string(f.AuthenticationResults("mx.example.com"))
	if !strings.Contains(got, "smtp.helo=out.example") || !strings.Contains(got, "dkim=none") {
		t.Errorf("got %s", got)
	}
}

func TestIPRev(t *testing.T) {
	addr := netip.MustParseAddr("203.0.113.9")
	for _, c := range []struct {
		p    proofs
		want string
	}{
		{proofs{names: []string{"a.example"}}, "pass"},
		{proofs{}, "permerror"},
		{proofs{iprev: errDown}, "temperror"},
	} {
		if got := engine(t, options(t, &c.p)).Reverse(t.Context(), addr); got.Value != c.want {
			t.Errorf("got %+v, want %s", got, c.want)
		}
	}
}

func TestIPRevOfTheSessionIsTaken(t *testing.T) {
	s := stranger()
	s.IPRev = IPRev{Value: "fail"}
	p := &proofs{names: []string{"a.example"}}
	f, _, _ := engine(t, options(t, p)).Content(t.Context(), s, mail.Envelope{}, header(t, "From: a@author.example\r\n"), mail.MemoryBody(nil))
	if f.IPRev != s.IPRev {
		t.Errorf("asked again: %+v", f.IPRev)
	}
}

func TestFactsSurviveJSON(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dkim: []dkim.Result{dkimResult(t, "fail", "author.example")},
		dmarc: policyOf("reject"), names: []string{"out.author.example"}}
	f, v := judge(t, options(t, p))
	for _, one := range []any{&f, &v} {
		text, err := json.Marshal(one)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(one).Elem())
		if err := json.Unmarshal(text, back.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one, back.Interface()) {
			t.Errorf("changed on the way: %s", text)
		}
	}
}

func TestTagField(t *testing.T) {
	e := engine(t, options(t, &proofs{}))
	for _, c := range []struct {
		v    Verdict
		want string
	}{
		{Verdict{Action: Accept}, ""},
		{Verdict{Action: Reject, Rule: "dmarc"}, ""},
		{Verdict{Action: Tag, Rule: "spf", Domain: domain(t, "a.example"), Reason: "SPF \"fail\"\r\nX: y ü"},
			"X-Gatepost-Verdict: tag; rule=spf; domain=a.example;\r\n\treason=\"SPF 'fail'  X: y ?\"\r\n"},
		{Verdict{Action: Quarantine, Rule: "dmarc"}, "X-Gatepost-Verdict: quarantine; rule=dmarc\r\n"},
		{Verdict{Action: Accept, Would: Reject, Rule: "dmarc"}, "X-Gatepost-Verdict: monitor; would=reject; rule=dmarc\r\n"},
	} {
		if got := string(e.TagField(c.v)); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestEveryWrongOptionIsToldByPath(t *testing.T) {
	_, err := New(Options{
		Mode:      "learn",
		Domains:   []Domain{{Name: domain(t, "a.example")}, {AcceptAll: true}, {Name: domain(t, "b.example"), File: "/nowhere"}, {Name: domain(t, "b.example"), AcceptAll: true}},
		Exempt:    []string{"10.0.0.1", "10.0.0.1/8"},
		TagHeader: "X Verdict",
		RelayClients: []RelayClient{
			{Name: "a", Addresses: []string{"10.0.0.1", "x"}, SendAs: []string{"@a.example", "a.example"}},
			{Name: "a"}, {Addresses: []string{"fe80::1%eth0"}, OtherFrom: "sign"},
		},
		Users: []User{{Name: "u"}, {SendAs: []string{"@*"}}},
		SPF:   SPF{Fail: "drop", SoftFail: "defer"},
		DMARC: DMARC{EnforcePercent: 101, Reject: "none", Quarantine: "x", TempError: "reject"},
	})
	got := map[string]bool{}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v", err)
	}
	for _, e := range joined.Unwrap() {
		if f := (*FieldError)(nil); errors.As(e, &f) {
			got[f.Path] = true
		}
	}
	want := strings.Fields(`policy.mode policy.exempt[1] policy.tag.header policy.spf.fail policy.spf.softfail
		policy.dmarc.enforce_percent policy.dmarc.reject policy.dmarc.quarantine policy.dmarc.temperror
		relay_clients[0].addresses[1] relay_clients[0].send_as[1] relay_clients[1].name
		relay_clients[2].name relay_clients[2].addresses[0] relay_clients[2].other_from relay_clients[2].send_as
		users[0].send_as users[1].name users[1].send_as[0]
		domains[0].recipients domains[1].name domains[2].recipients.file domains[3].name`)
	for _, path := range want {
		if !got[path] {
			t.Errorf("nothing about %s", path)
		}
		delete(got, path)
	}
	if len(got) > 0 {
		t.Errorf("too much: %v", got)
	}
}

// TestTagTakesNoFieldThatMailNeeds: strangers' fields of the name are removed,
// so "From" there would have taken every author away.
func TestTagTakesNoFieldThatMailNeeds(t *testing.T) {
	for name, good := range map[string]bool{"": true, "X-Spam": true, "x-spam": true, "From": false, "Authentication-Results": false, "X-": false, "X": false, "X- a": false} {
		o := options(t, &proofs{})
		o.TagHeader = name
		var wrong *FieldError
		if _, err := New(o); (err == nil) != good || err != nil && (!errors.As(err, &wrong) || wrong.Path != "policy.tag.header") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
