package delivery

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/gateway/delivery/smtpc"
	"gatepost/gateway/delivery/smtptest"
	"gatepost/mail"
)

func TestEachRecipientHasItsResult(t *testing.T) {
	s := serve(t, hello+`
		C: MAIL FROM:<a@a.example>
		C: RCPT TO:<b@b.example>
		C: RCPT TO:<c@b.example>
		C: RCPT TO:<d@b.example>
		C: DATA
		S: 250 Ok
		S: 550-5.1.1 no such
		S: 550 5.1.1 user
		S: 250 Ok
		S: 450 4.2.0 greylisted
		S: 354 go
		D:
		S: 250 2.0.0 queued as X`+quit)
	d := start(t, Options{}, s)
	results := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example", "c@b.example", "d@b.example"))
	want(t, results[0], "recipient 550 5.1.1 no such user")
	want(t, results[1], "250 2.0.0 queued as X")
	want(t, results[2], "recipient 450 4.2.0 greylisted")
	for i, r := range results {
		if !r.Said || !strings.HasPrefix(r.Remote, "127.0.0.1[127.0.0.1]:") {
			t.Errorf("result %d: said %v, remote %q", i, r.Said, r.Remote)
		}
	}
	if got := s.Messages(); len(got) != 1 || got[0] != small+".\r\n" {
		t.Errorf("the server got %q", got)
	}
}

func TestConnectionIsKept(t *testing.T) {
	s := serve(t, hello+transfer+transfer+transfer+quit)
	d := start(t, Options{}, s)
	for range 3 {
		want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "250 2.0.0 queued as X")
	}
}

func TestConnectionCarriesSoManyMessages(t *testing.T) {
	s := serve(t, hello+transfer+transfer+quit, hello+transfer+quit)
	d := start(t, Options{Messages: 2}, s)
	for range 3 {
		want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "250 2.0.0 queued as X")
	}
}

func TestOldConnectionIsNotUsed(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		hop     NextHop
	}{
		"idle too long":  {Options{IdleTime: 10 * time.Second}, NextHop{}},
		"age of the hop": {Options{IdleTime: time.Hour}, NextHop{MaxAge: 10 * time.Second}},
		"general age":    {Options{IdleTime: time.Hour, MaxAge: 10 * time.Second}, NextHop{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, hello+transfer+transfer+quit, hello+transfer+quit)
			c := &clock{time.Unix(1000, 0)}
			test.options.Now, test.options.NextHops = c.now, []NextHop{test.hop}
			d := start(t, test.options, s)
			for _, step := range []time.Duration{0, 9 * time.Second, 11 * time.Second} {
				c.at = c.at.Add(step)
				want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "250 2.0.0 queued as X")
			}
		})
	}
}

func TestDeadKeptConnectionIsNoAttempt(t *testing.T) {
	for name, end := range map[string]string{
		"closed":                "X:",
		"421 while idle":        "S: 421 4.4.2 idle too long\nX:",
		"421 to MAIL":           "C: MAIL*\nC: RCPT*\nC: DATA\nS: 421 4.4.2 idle too long\nX:",
		"closed without answer": "C: MAIL*\nX:",
		"reply to nothing":      "S: 500 line too long, closing\nW:",
		"enough of us":          "C: MAIL*\nC: RCPT*\nC: DATA\nS: 450 4.7.0 too many in this session\nS: 503 no\nS: 503 no\nW:",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, hello+transfer+end, hello+transfer+quit)
			d := start(t, Options{}, s)
			for range 2 {
				want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "250 2.0.0 queued as X")
			}
		})
	}
}

func TestDropBeforeTheDotGoesToTheNextTarget(t *testing.T) {
	for name, first := range map[string]string{
		"greeting dropped":   "X:",
		"greeting garbage":   "S: hm\nW:",
		"greeting refused":   "S: 554 5.7.1 blocked\nW:",
		"greeting 421":       "S: 421 busy\nX:",
		"EHLO dropped":       "S: 220 x\nC: EHLO*\nX:",
		"MAIL dropped":       hello + "C: MAIL*\nX:",
		"MAIL 421":           hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 421 4.7.0 slow down\nX:",
		"MAIL: system full":  hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 452 4.3.1 full\nS: 503 no\nS: 503 no\nW:",
		"DATA dropped":       hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nX:",
		"DATA: not in order": hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 250 what\nW:",
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := serve(t, first), serve(t, hello+transfer+quit)
			d := start(t, Options{}, bad, good)
			want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "250 2.0.0 queued as X")
		})
	}
}

func TestNobodyListens(t *testing.T) {
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"smtp://" + closedPort(t), "smtp://" + closedPort(t)}}}})
	r := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0]
	want(t, r, "site 421 4.4.1 Connection to the next hop failed: connection refused")
	if r.Said || r.Remote == "" {
		t.Errorf("said %v, remote %q", r.Said, r.Remote)
	}
}

func TestRefusalsAreFinalForTheAttempt(t *testing.T) {
	for name, test := range map[string]struct{ script, want string }{
		"MAIL 5xx":   {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 550 5.7.1 not you\nS: 503 no\nS: 503 no", "message 550 5.7.1 not you"},
		"MAIL 4xx":   {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 451 4.7.1 greylisted\nS: 503 no\nS: 503 no", "message 451 4.7.1 greylisted"},
		"RCPT 5xx":   {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 550 no\nS: 503 no", "recipient 550 5.0.0 no"},
		"DATA 5xx":   {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 554 5.6.0 no", "message 554 5.6.0 no"},
		"final 5xx":  {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nS: 550 5.7.1 spam", "message 550 5.7.1 spam"},
		"final 4xx":  {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nS: 451 4.3.0 oops", "message 451 4.3.0 oops"},
		"final text": {"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nS: 250", "250 2.0.0 "},
	} {
		t.Run(name, func(t *testing.T) {
			other := serve(t) // must see nobody
			d := start(t, Options{}, serve(t, hello+test.script+quit), other)
			want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], test.want)
		})
	}
}

func TestDropAfterTheDotIsNotRepeated(t *testing.T) {
	s := serve(t, hello+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nX:")
	other := serve(t) // must see nobody
	seen := &observer{}
	d := start(t, Options{Observer: seen}, s, other)
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "message 421 4.4.2 Connection to the next hop was lost: the server closed it")
	if seen.lost != 1 {
		t.Errorf("%d connections lost after the dot", seen.lost)
	}
}

type observer struct {
	results      []string
	reused, lost int
}

func (o *observer) Connected(_, result, _ string, _ time.Duration) {
	o.results = append(o.results, result)
}
func (o *observer) Reused(string)       { o.reused++ }
func (o *observer) LostAfterDot(string) { o.lost++ }

func TestRecipientsAreSplit(t *testing.T) {
	batch := func(names ...string) string {
		script := "C: MAIL*\n"
		for _, n := range names {
			script += "C: RCPT TO:<" + n + "@b.example>\n"
		}
		return script + "C: DATA\nS: 250 Ok\n" + strings.Repeat("S: 250 Ok\n", len(names)) + "S: 354 go\nD:\nS: 250 queued " + names[0] + "\n"
	}
	s := serve(t, hello+batch("a", "b")+batch("c", "d")+quit, hello+batch("e")+quit)
	d := start(t, Options{Recipients: 2, Messages: 2}, s)
	results := d.Deliver(t.Context(), job(t, message(t, small), "a@b.example", "b@b.example", "c@b.example", "d@b.example", "e@b.example"))
	for i, expected := range []string{"a", "a", "c", "c", "e"} {
		want(t, results[i], "250 2.0.0 queued "+expected)
	}
}

func TestLossAfterTheDotConcernsOneTransaction(t *testing.T) {
	s := serve(t, hello+"C: MAIL*\nC: RCPT TO:<a@b.example>\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nD:\nX:", hello+transfer+quit)
	d := start(t, Options{Recipients: 1}, s)
	results := d.Deliver(t.Context(), job(t, message(t, small), "a@b.example", "b@b.example"))
	want(t, results[0], "message 421 4.4.2 *")
	want(t, results[1], "250 2.0.0 queued as X")
}

func TestAttemptIsTimed(t *testing.T) {
	at := time.Unix(1000, 0)
	d := start(t, Options{IdleTime: time.Hour, Now: func() time.Time {
		at = at.Add(time.Second)
		return at
	}, NextHops: []NextHop{{URLs: []string{"smtp://" + closedPort(t)}}}})
	if r := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0]; r.Took < time.Second {
		t.Errorf("the attempt took %s", r.Took)
	}
}

func TestTooManyRecipientsGoIntoTheNextTransaction(t *testing.T) {
	for _, reply := range []string{"452 4.5.3 too many recipients", "552 too many recipients"} {
		s := serve(t, hello+`
			C: MAIL*
			C: RCPT TO:<b@b.example>
			C: RCPT TO:<c@b.example>
			C: DATA
			S: 250 Ok
			S: 250 Ok
			S: `+reply+`
			S: 354 go
			D:
			S: 250 first
			C: MAIL*
			C: RCPT TO:<c@b.example>
			C: DATA
			S: 250 Ok
			S: 250 Ok
			S: 354 go
			D:
			S: 250 second`+quit)
		d := start(t, Options{}, s)
		results := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example", "c@b.example"))
		want(t, results[0], "250 2.0.0 first")
		want(t, results[1], "250 2.0.0 second")
	}
}

func TestFirstRecipientTooManyIsDeferred(t *testing.T) {
	s := serve(t, hello+"C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 552 too many\nS: 503 no"+quit)
	d := start(t, Options{}, s)
	r := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0]
	want(t, r, "recipient 452 4.5.3 Too many recipients: 552 too many")
	if r.RetryAfter != time.Minute {
		t.Errorf("retry after %s", r.RetryAfter)
	}
}

func TestSessionEndsBetweenRecipients(t *testing.T) {
	s := serve(t, hello+"C: MAIL*\nC: RCPT*\nC: RCPT*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 550 5.1.1 no\nS: 250 Ok\nS: 421 4.7.0 enough\nX:")
	d := start(t, Options{}, s)
	results := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example", "c@b.example", "d@b.example"))
	want(t, results[0], "recipient 550 5.1.1 no")
	want(t, results[1], "session 421 4.7.0 enough")
	want(t, results[2], "session 421 4.7.0 enough")
}

func TestLMTPOverSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	smtptest.New(t, path, nil, `
		S: 220 test
		C: LHLO gw.example
		S: 250-test
		S: 250 PIPELINING
		C: MAIL*
		C: RCPT TO:<b@b.example>
		C: RCPT TO:<c@b.example>
		C: DATA
		S: 250 Ok
		S: 250 Ok
		S: 250 Ok
		S: 354 go
		D:
		S: 250 2.1.5 stored
		S: 452 4.2.2 over quota`+quit)
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"lmtp://" + path}}}})
	results := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example", "c@b.example"))
	want(t, results[0], "250 2.1.5 stored")
	want(t, results[1], "message 452 4.2.2 over quota")
	if results[0].Remote != path || !results[0].LackedDSN {
		t.Errorf("remote %q, lacked DSN %v", results[0].Remote, results[0].LackedDSN)
	}
}

func TestLMTPDropBetweenReplies(t *testing.T) {
	s := serve(t, "S: 220 test\nC: LHLO*\nS: 250 test\nC: MAIL*\nS: 250 Ok\nC: RCPT*\nS: 250 Ok\nC: RCPT*\nS: 250 Ok\nC: DATA\nS: 354 go\nD:\nS: 250 stored\nX:")
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"lmtp://" + s.Addr()}}}})
	results := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example", "c@b.example"))
	want(t, results[0], "250 2.0.0 stored")
	want(t, results[1], "message 421 4.4.2 Connection to the next hop was lost*")
}

func TestProbeOpensAConnection(t *testing.T) {
	s := serve(t, hello+transfer+quit, hello+transfer+quit)
	d := start(t, Options{}, s)
	d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))
	probe := job(t, message(t, small), "b@b.example")
	probe.Probe = true
	want(t, d.Deliver(t.Context(), probe)[0], "250 2.0.0 queued as X")
}

func TestLostLeaseStopsDelivery(t *testing.T) {
	for asked := 1; asked <= 2; asked++ {
		script := hello + "W:"
		if asked == 2 {
			script = hello + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nW:"
		}
		s := serve(t, script)
		d := start(t, Options{}, s)
		j := job(t, message(t, small), "b@b.example")
		n := 0
		j.Lease = func(context.Context) error {
			if n++; n == asked {
				return errors.New("node expired")
			}
			return nil
		}
		want(t, d.Deliver(t.Context(), j)[0], "session 451 4.3.2 Delivery was interrupted")
		if len(s.Messages()) != 0 {
			t.Error("the message was sent")
		}
	}
}

func TestInterruptedDelivery(t *testing.T) {
	s := serve(t, "W:")
	d := start(t, Options{}, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-s.Waiting(); cancel() }()
	r := d.Deliver(ctx, job(t, message(t, small), "b@b.example"))[0]
	want(t, r, "session 451 4.3.2 Delivery was interrupted")
	if r.RetryAfter == 0 {
		t.Error("no hint to try again soon")
	}
}

func TestTimeoutIsTheSitesTrouble(t *testing.T) {
	s := serve(t, "W:")
	d := start(t, Options{Timeouts: smtpc.Timeouts{Greeting: 20 * time.Millisecond}}, s)
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], "site 421 4.4.2 Connection to the next hop was lost: timed out")
}

func TestDSNParametersArePassedOn(t *testing.T) {
	s := serve(t, hello+`
		C: MAIL FROM:<a@a.example> RET=HDRS ENVID=QQ1
		C: RCPT TO:<b@b.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;B@b.example
		C: DATA
		S: 250 Ok
		S: 250 Ok
		S: 354 go
		D:
		S: 250 Ok`+quit, `
		S: 220 test
		C: EHLO*
		S: 250 test
		C: MAIL FROM:<a@a.example>
		S: 250 Ok
		C: RCPT TO:<b@b.example>
		S: 250 Ok
		C: DATA
		S: 354 go
		D:
		S: 250 Ok`+quit)
	d := start(t, Options{Messages: 1}, s)
	m := message(t, small)
	m.Envelope.Return, m.Envelope.EnvID = "HDRS", "QQ1"
	j := job(t, m)
	j.Recipients = []mail.Recipient{{Address: address(t, "b@b.example"), Notify: mail.NotifySuccess | mail.NotifyFailure, OriginalType: "rfc822", Original: "B@b.example"}}
	for _, lacked := range []bool{false, true} {
		if r := d.Deliver(t.Context(), j)[0]; r.Code != 250 || r.LackedDSN != lacked {
			t.Errorf("got %+v, want lacked DSN %v", r, lacked)
		}
	}
}
