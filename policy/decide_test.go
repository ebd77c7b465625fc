package policy

import (
	"encoding/json"
	"reflect"
	"testing"

	"gatepost/auth/dmarc"
	"gatepost/mail"
)

// sameAgain: the facts that are kept lead to the same verdict, by an engine
// that has nobody to ask.
func sameAgain(t *testing.T, o Options, s Session, f Facts, v Verdict) {
	t.Helper()
	o.Proofs = Proofs{}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var kept Facts
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	d := engine(t, o).Decide(s, kept)
	if !reflect.DeepEqual(d.Verdict, v) || !reflect.DeepEqual(d.Facts.Steps, f.Steps) || d.Facts.Disposition != f.Disposition {
		t.Errorf("judged again: %+v, was %+v\n%+v\n%+v", d.Verdict, v, d.Facts.Steps, f.Steps)
	}
}

func TestDecideByAnotherPolicy(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: dmarc.Result{Policy: "reject", Pct: 0}}
	facts, v := judge(t, options(t, p))
	if v.Action != Quarantine {
		t.Fatalf("got %+v", v)
	}
	for name, c := range map[string]struct {
		change func(*Options)
		want   Action
		would  Action
	}{
		"the same":             {func(*Options) {}, Quarantine, ""},
		"pct is not honoured":  {func(o *Options) { o.DMARC.HonorPct = false }, Reject, ""},
		"SPF fail rejects":     {func(o *Options) { o.SPF.Fail = "reject" }, Reject, ""},
		"DMARC is off":         {func(o *Options) { o.DMARC.Enabled = false }, Accept, ""},
		"the client is exempt": {func(o *Options) { o.Exempt = []string{"203.0.113.9"} }, Accept, ""},
		"monitor mode":         {func(o *Options) { o.Mode = ModeMonitor }, Accept, Quarantine},
	} {
		o := options(t, &proofs{})
		c.change(&o)
		o.Proofs = Proofs{}
		if d := engine(t, o).Decide(stranger(), facts); d.Verdict.Action != c.want || d.Verdict.Would != c.would || d.Undecided {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

// TestDecideKnowsWhatItDoesNotKnow: without the proofs nothing is decided that
// hangs on them.
func TestDecideKnowsWhatItDoesNotKnow(t *testing.T) {
	p := &proofs{spf: spfResult(t, "fail", "author.example"), dmarc: policyOf("reject")}
	off := options(t, p)
	off.DMARC.Enabled = false
	off.Proofs.DMARC = nil
	exempt := options(t, p)
	exempt.Exempt = []string{"203.0.113.9"}
	for name, o := range map[string]Options{"DMARC was off": off, "the client was exempt": exempt} {
		facts, _ := judge(t, o)
		if d := engine(t, options(t, &proofs{})).Decide(stranger(), facts); !d.Undecided {
			t.Errorf("%s: got %+v", name, d)
		}
		if d := engine(t, o).Decide(stranger(), facts); d.Undecided {
			t.Errorf("%s, by the same policy: got %+v", name, d)
		}
	}
	h := header(t, "From: a@author.example, b@author.example\r\n")
	for _, was := range []string{ModeEnforce, ModeMonitor} {
		for _, becomes := range []string{ModeEnforce, ModeMonitor} {
			o := options(t, p)
			o.Mode = was
			facts, _, _ := engine(t, o).Content(t.Context(), stranger(), mail.Envelope{}, h, mail.MemoryBody(nil))
			o.Mode = becomes
			d := engine(t, o).Decide(stranger(), facts)
			if d.Undecided || d.Verdict.Rule != "from-shape" {
				t.Errorf("two authors, %s to %s: %+v", was, becomes, d)
			}
		}
	}
}
