package integration

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// signAs signs a message as a foreign domain and publishes its key.
func (s *site) signAs(t *testing.T, domain, message string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.addZone(fmt.Sprintf("k1._domainkey.%s. 60 TXT \"v=DKIM1; k=ed25519; p=%s\"\n", domain, base64.StdEncoding.EncodeToString(public)))
	var signed bytes.Buffer
	err = dkim.Sign(&signed, strings.NewReader(message), &dkim.SignOptions{Domain: domain, Selector: "k1", Signer: private,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed})
	if err != nil {
		t.Fatal(err)
	}
	return signed.String()
}

// TestInboundVerdicts: what the domain of the author asks for happens.
func TestInboundVerdicts(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	signed := s.signAs(t, "reject.test", letter("a@reject.test", "bob@example.test", "signed", "text"))
	spoiled := strings.Replace(s.signAs(t, "broken.reject.test", letter("a@broken.reject.test", "bob@example.test", "spoiled", "text")), "text", "TEXT", 1)
	for _, c := range []struct {
		name, local, from, author string
		raw                       string
		code                      int
		held                      bool
		results                   []string // in Authentication-Results
	}{
		{name: "aligned SPF", local: fromWorld, from: "a@good.test", author: "a@good.test", code: 250,
			results: []string{"iprev=pass", "spf=pass smtp.mailfrom=good.test", "dkim=none", "dmarc=pass header.from=good.test"}},
		{name: "signed", local: fromStranger, from: "a@reject.test", raw: signed, code: 250,
			results: []string{"spf=fail", "dkim=pass header.d=reject.test header.s=k1 header.a=ed25519-sha256 header.b=", "dmarc=pass"}},
		{name: "spoiled", local: fromStranger, from: "a@broken.reject.test", raw: spoiled, code: 250,
			results: []string{"dkim=fail", "dmarc=fail", "header.from=broken.reject.test policy.dmarc=none"}},
		{name: "p=none", local: fromStranger, from: "a@none.test", author: "a@none.test", code: 250,
			results: []string{"spf=fail smtp.mailfrom=none.test", "dmarc=fail", "header.from=none.test policy.dmarc=none"}},
		{name: "no record", local: fromStranger, from: "a@plain.test", author: "a@plain.test", code: 250, results: []string{"spf=none", "dmarc=none"}},
		{name: "null sender", local: fromWorld, from: "", author: "postmaster@client.good.test", code: 250,
			results: []string{"spf=pass smtp.helo=client.good.test", "dmarc=pass"}},
		{name: "p=reject", local: fromStranger, from: "a@reject.test", author: "a@reject.test", code: 550},
		{name: "p=reject by another's SPF", local: fromWorld, from: "a@good.test", author: "a@reject.test", code: 550},
		{name: "p=quarantine", local: fromStranger, from: "a@quar.test", author: "a@quar.test", code: 250, held: true},
		{name: "unsampled reject", local: fromStranger, from: "a@reject0.test", author: "a@reject0.test", code: 250, held: true},
		{name: "unsampled quarantine", local: fromStranger, from: "a@quar0.test", author: "a@quar0.test", code: 250,
			results: []string{"dmarc=fail", "sampled_out", "policy.dmarc=none"}},
		{name: "t=y voids pct", local: fromStranger, from: "a@testing.test", author: "a@testing.test", code: 250, held: true},
	} {
		data := c.raw
		if data == "" {
			data = letter(c.author, "bob@example.test", c.name, "text")
		}
		reply := send(t, c.local, s.mx, c.code, c.from, "bob@example.test", data)
		switch {
		case c.code == 550:
			s.checkRefusal(t, reply, "reject.test")
		case c.held:
			s.checkHeld(t, queuedID(t, reply))
		default:
			m := s.inside.wait(t, "Subject: "+c.name+"\r\n")
			contains(t, unfolded(m.Data), append(c.results, "Authentication-Results: example.test;")...)
			lacks(t, unfolded(m.Data), "X-Gatepost-Verdict", "d=example.test")
		}
	}
}

// checkRefusal: the client learns code, domain and id; the trace knows the id.
func (s *site) checkRefusal(t *testing.T, reply, domain string) {
	t.Helper()
	contains(t, reply, "550 5.7.1", "DMARC", domain)
	words := strings.Fields(reply)
	id := strings.Trim(words[len(words)-1], "()[].")
	s.traced(id, "refused", "rule       dmarc", domain, "550 5.7.1", "spf  ")
}

// heldEntry is a line of `gatepost quarantine list --json`.
type heldEntry struct {
	ID         string `json:"id"`
	Recipients []struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
	} `json:"recipients"`
}

func (s *site) heldList(t *testing.T) map[string]heldEntry {
	t.Helper()
	var list []heldEntry
	out := s.mustRun("quarantine", "list", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	byID := map[string]heldEntry{}
	for _, e := range list {
		byID[e.ID] = e
	}
	return byID
}

func (s *site) checkHeld(t *testing.T, id string) {
	t.Helper()
	e, ok := s.heldList(t)[id]
	if !ok || len(e.Recipients) != 1 || e.Recipients[0].State != "held" || !strings.Contains(e.Recipients[0].Reason, "dmarc") {
		t.Errorf("%s is not held for dmarc: %+v", id, e)
	}
}

// TestQuarantine: held, told of, shown, released and deleted.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) { vars["policy"] = "quarantine: {notify: [security@example.test]}" })
	s.keys()
	first := queuedID(t, send(t, fromStranger, s.mx, 250, "a@quar.test", "bob@example.test", letter("a@quar.test", "bob@example.test", "first", "text of the first")))
	second := queuedID(t, send(t, fromStranger, s.mx, 250, "a@quar.test", "bob@example.test", letter("a@quar.test", "bob@example.test", "second", "text")))
	notice := s.inside.wait(t, "held on mx.example.test")
	contains(t, string(notice.Data), first, "gatepost quarantine release", "d=example.test", "Auto-Submitted: auto-generated")
	if notice.From != "" || len(notice.To) != 1 || notice.To[0] != "security@example.test" {
		t.Errorf("the notice came from <%s> to %v", notice.From, notice.To)
	}
	contains(t, s.mustRun("quarantine", "show", first), "text of the first", "X-Gatepost-Verdict: quarantine; rule=dmarc; domain=quar.test", "Authentication-Results: example.test;")
	if n := len(s.inside.all()); n != 1 {
		t.Errorf("%d messages arrived while held", n)
	}
	contains(t, s.mustRun("quarantine", "release", first), "1 message(s)")
	contains(t, string(s.inside.wait(t, "text of the first").Data), "X-Gatepost-Verdict: quarantine", "dmarc=fail")
	contains(t, s.mustRun("quarantine", "delete", second), "1 message(s)")
	s.traced(second, "deleted", "by root")
	s.traced(first, "released", "delivered")
	if left := s.heldList(t); len(left) != 0 {
		t.Errorf("still held: %v", left)
	}
	if out, err := s.run("quarantine", "release", second); err == nil {
		t.Errorf("a deleted message was released: %s", out)
	}
	s.settled()
	checkAccount(t, s.gate)
	if n := len(s.inside.arrivals("Subject: second")); n != 0 {
		t.Errorf("the deleted message arrived %d times", n)
	}
}

// TestMonitorMode: nothing is refused or held, and everything is said.
func TestMonitorMode(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) { vars["policy"] = "mode: monitor, spf: {fail: quarantine}" })
	reply := send(t, fromStranger, s.mx, 250, "a@reject.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "monitored", "text"))
	m := s.inside.wait(t, "Subject: monitored")
	contains(t, unfolded(m.Data), "X-Gatepost-Verdict: monitor; would=reject; rule=dmarc; domain=reject.test", "dmarc=fail", "policy reject, monitor")
	s.traced(queuedID(t, reply), "enforced it would be reject", "reject.test")
	s.logged(`"would":"reject"`)
	// It learns about strangers; it does not open the gateway.
	send(t, fromStranger, s.mx, 550, "a@reject.test", "carl@world.test", letter("a@reject.test", "carl@world.test", "relay", "x"))
	send(t, fromStranger, s.mx, 550, "a@reject.test", "nobody@example.test", letter("a@reject.test", "nobody@example.test", "unknown", "x"))
}

// TestStrangersAreNotSigned: mail that claims to be ours and comes in by the mx
// role never gets our signature, even where monitor mode lets it pass.
func TestStrangersAreNotSigned(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) { vars["policy"] = "mode: monitor" })
	s.keys()
	for _, local := range []string{fromStranger, fromPrinter, "127.0.0.1"} {
		send(t, local, s.mx, 250, "bob@example.test", "anna@example.test", letter("bob@example.test", "anna@example.test", "claimed by "+local, "x"))
		lacks(t, unfolded(s.inside.wait(t, "Subject: claimed by "+local+"\r\n").Data), "DKIM-Signature")
	}
	send(t, fromExchange, s.mx, 250, "bob@example.test", "anna@example.test", letter("bob@example.test", "anna@example.test", "really ours", "x"))
	contains(t, unfolded(s.inside.wait(t, "Subject: really ours").Data), "d=example.test;")
}

// TestSPFAlone: what policy.spf asks for.
func TestSPFAlone(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", func(vars map[string]string) { vars["policy"] = "spf: {fail: reject}" })
	reply := send(t, fromStranger, s.mx, 550, "a@none.test", "bob@example.test", letter("a@none.test", "bob@example.test", "spf", "x"))
	contains(t, reply, "5.7.23")
	send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "spf good", "x"))
}

// TestForgedFields: what only we may say is removed from mail of strangers,
// and what others said stays.
func TestForgedFields(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	forged := []string{
		"Authentication-Results: example.test; dmarc=pass header.from=forged.test",
		"AUTHENTICATION-RESULTS: (c) Example.TEST (d);\r\n spf=pass smtp.mailfrom=forged.test",
		"Authentication-Results:\r\n\texample.test; dkim=pass header.d=forged.test",
		"Authentication-Results: \"example.test\" 1; dkim=pass header.d=forged.test",
		"X-MS-Exchange-Organization-SCL: -1 forged.test",
		"x-ms-exchange-forest-forged: forged.test",
		"X-Gatepost-Verdict: accept; domain=forged.test",
	}
	kept := "Authentication-Results: other.test; spf=pass smtp.mailfrom=kept.test\r\nX-Other: kept.test\r\n"
	data := strings.Join(forged, "\r\n") + "\r\n" + kept + letter("a@good.test", "bob@example.test", "forged", "text")
	send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", data)
	m := s.inside.wait(t, "Subject: forged")
	lacks(t, string(m.Data), "forged.test")
	contains(t, string(m.Data), kept)
	if n := strings.Count(strings.ToLower(string(m.Data)), "authentication-results:"); n != 2 {
		t.Errorf("%d Authentication-Results, want ours and the other one", n)
	}
	// A relay client's own fields are its business.
	send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", forged[4]+"\r\n"+letter("bob@example.test", "carl@world.test", "own", "x"))
	contains(t, string(s.world.wait(t, "Subject: own").Data), forged[4])
}

// TestRecipients: unknown ones, the list that changes, postmaster, several.
func TestRecipients(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	d := session(t, fromWorld, s.mx)
	d.expect(t, 250, "MAIL FROM:<a@good.test>")
	contains(t, d.expect(t, 550, "RCPT TO:<nobody@example.test>"), "5.1.1")
	contains(t, d.expect(t, 550, "RCPT TO:<carl@world.test>"), "5.7.1")
	d.expect(t, 250, "RCPT TO:<BOB@Example.TEST>")
	d.expect(t, 250, "RCPT TO:<postmaster>")
	d.expect(t, 250, "RCPT TO:<whoever@all.example.test>")
	d.expect(t, 354, "DATA")
	d.expect(t, 250, letter("a@good.test", "bob@example.test", "several", "x")+".")
	m := s.inside.wait(t, "Subject: several")
	got := map[string]bool{}
	waitFor(t, 20*time.Second, "three recipients", func() bool {
		for _, m := range s.inside.arrivals("Subject: several") {
			for _, to := range m.To {
				got[to] = true
			}
		}
		return len(got) == 3
	})
	if !got["BOB@example.test"] || !got["postmaster@example.test"] || !got["whoever@all.example.test"] {
		t.Errorf("arrived for %v", got)
	}
	lacks(t, unfolded(m.Data), "for <") // several recipients are not shown to each other
	if err := os.WriteFile(s.vars["recipients"], []byte(siteRecipients+"new@example.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, "the new recipient to be known", func() bool {
		d.expect(t, 250, "RSET")
		d.expect(t, 250, "MAIL FROM:<a@good.test>")
		code, _, err := d.cmd("RCPT TO:<new@example.test>")
		if err != nil || code == 421 {
			d = session(t, fromWorld, s.mx)
		}
		time.Sleep(300 * time.Millisecond) // an error counts against the session
		return code == 250
	})
}
