package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// notice is a delivery status notification as Python's email package reads it.
type notice struct {
	Type     string            // of the whole message
	Report   string            // report-type
	Defects  []string          // what the parser stumbled over, in all parts
	Header   map[string]string // names in lower case
	Parts    []string          // types of the three parts
	Text     string
	Message  map[string]string   // fields about the message
	About    []map[string]string // fields about each recipient
	Returned string              // the third part
}

const readNotice = `
import email, email.policy, json, sys
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.SMTPUTF8)
parts = list(m.iter_parts())
fields = lambda x: {k.lower(): str(v) for k, v in x.items()}
status = parts[1].get_payload()
if parts[1].get_content_type() == "message/global-delivery-status":  # Python takes it for a message: first block header, rest body
    rest = status[0].get_payload(decode=True).decode("utf-8").replace("\r\n", "\n")
    status = [status[0]] + [email.message_from_string(b + "\n\n", policy=email.policy.SMTPUTF8) for b in rest.strip().split("\n\n")]
defects = [repr(d) for p in m.walk() for d in p.defects] + [repr(d) for v in m.values() for d in getattr(v, "defects", ())]
json.dump({
    "Type": m.get_content_type(), "Report": m.get_param("report-type") or "", "Defects": defects, "Header": fields(m),
    "Parts": [p.get_content_type() for p in parts], "Text": parts[0].get_content(),
    "Message": fields(status[0]), "About": [fields(s) for s in status[1:] if fields(s)], "Returned": parts[2].as_string(),
}, sys.stdout)
`

// readDSN parses what arrived and checks what every notice must have.
func readDSN(t *testing.T, m *received) notice {
	t.Helper()
	var n notice
	out := python(t, "email", readNotice, m.Data)
	if err := json.Unmarshal([]byte(out), &n); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if m.From != "" {
		t.Errorf("the envelope sender of a notice is <%s>", m.From)
	}
	if len(n.Parts) != 3 {
		t.Fatalf("parts %v", n.Parts)
	}
	if n.Report == "global-delivery-status" {
		n.Defects = nil // Python calls UTF-8 in a header one
	}
	if n.Type != "multipart/report" || !strings.HasSuffix(n.Parts[1], "/"+n.Report) || len(n.Defects) != 0 || n.Parts[0] != "text/plain" {
		t.Errorf("%s, report-type %s, defects %v, parts %v", n.Type, n.Report, n.Defects, n.Parts)
	}
	if !strings.HasPrefix(n.Header["auto-submitted"], "auto-") || !strings.Contains(n.Header["from"], "postmaster@relay.example.test") ||
		n.Header["date"] == "" || n.Header["message-id"] == "" || n.Header["mime-version"] == "" || n.Header["to"] == "" {
		t.Errorf("header of the notice: %v", n.Header)
	}
	if n.Message["reporting-mta"] != "dns; relay.example.test" || n.Message["arrival-date"] == "" {
		t.Errorf("fields about the message: %v", n.Message)
	}
	return n
}

func (n notice) want(t *testing.T, i int, fields map[string]string) {
	t.Helper()
	if i >= len(n.About) {
		t.Fatalf("only %d recipients in the notice", len(n.About))
	}
	for name, part := range fields {
		if !strings.Contains(n.About[i][name], part) {
			t.Errorf("%s: %q, want %q", name, n.About[i][name], part)
		}
	}
}

// hopSink is a gateway in front of a sink that refuses hard@ and defers soft@.
func hopSink(t *testing.T, delivery string) (*hopGate, *sink) {
	t.Helper()
	end := startSink(t, nil)
	end.OnRcpt = func(to string) error {
		switch {
		case strings.HasPrefix(to, "hard"):
			return smtpError(550, smtp.EnhancedCode{5, 1, 1}, "no <such> mailbox\tbei uns")
		case strings.HasPrefix(to, "soft"):
			return smtpError(450, smtp.EnhancedCode{4, 2, 2}, "mailbox is full")
		}
		return nil
	}
	return startHopGate(t, "smtp://"+end.Addr, map[string]string{"delivery": delivery}), end
}

// submit sends one message with parameters of MAIL and RCPT.
func (h *hopGate) submit(from, mailParams string, rcpts []string, data string) string {
	h.t.Helper()
	d := mustDial(h.t, h.in)
	defer d.conn.Close()
	d.expect(h.t, 250, "EHLO client.test")
	d.expect(h.t, 250, "MAIL FROM:<"+from+">"+mailParams)
	for _, r := range rcpts {
		d.expect(h.t, 250, "RCPT TO:"+r)
	}
	d.expect(h.t, 354, "DATA")
	return queuedID(h.t, d.expect(h.t, 250, data+"."))
}

// TestFailureNotice: who, why, by whom, the original returned; signed by us.
func TestFailureNotice(t *testing.T) {
	t.Parallel()
	h, end := hopSink(t, "warn_after: 0")
	h.mustRun("dkim", "create", "relay.example.test", "--selector", "r1", "--activate")
	id := h.submit("me@sender.test", " RET=FULL ENVID=env+2Bid", []string{"<good@world.test>", "<hard@world.test> ORCPT=rfc822;first@old.test", "<hard2@world.test>"},
		letter("me@sender.test", "good@world.test", "the original", "text of the original, größer"))
	end.wait(t, "the original")
	m := h.back.wait(t, "multipart/report")
	n := readDSN(t, m)
	if len(n.About) != 2 {
		t.Fatalf("%d recipients in the notice: %v", len(n.About), n.About)
	}
	n.want(t, 0, map[string]string{"final-recipient": "rfc822; hard@world.test", "original-recipient": "rfc822; first@old.test", "action": "failed",
		"status": "5.1.1", "diagnostic-code": "smtp; 550 5.1.1 no <such> mailbox bei uns", "remote-mta": "dns; 127.0.0.1"})
	n.want(t, 1, map[string]string{"final-recipient": "rfc822; hard2@world.test", "action": "failed"})
	if n.Message["original-envelope-id"] != "env+id" || n.Parts[2] != "message/rfc822" {
		t.Errorf("%v, parts %v", n.Message, n.Parts)
	}
	contains(t, n.Returned, "Subject: the original", "text of the original")
	contains(t, strings.Join(strings.Fields(n.Text), " "), "hard@world.test", "no <such> mailbox bei uns", id)
	if n.Header["references"]+n.Header["in-reply-to"] == "" || !strings.Contains(n.Header["to"], "me@sender.test") {
		t.Errorf("header of the notice: %v", n.Header)
	}
	file := writeFile(t, t.TempDir(), "notice/1", string(m.Data))
	zone := writeFile(t, t.TempDir(), "zone", h.mustRun("dkim", "dns", "relay.example.test"))
	contains(t, python(t, "dkim, nacl", verifyPython, nil, filepath.Dir(file), zone), "good 1 b'rsa-sha256'")
	h.settled()
	if n := len(h.back.all()); n != 1 {
		t.Errorf("%d notices for one message", n)
	}
	checkAccount(t, h.gate)
}

// TestHeadersReturned: RET=HDRS, and large messages, give back headers only.
func TestHeadersReturned(t *testing.T) {
	t.Parallel()
	h, _ := hopSink(t, "warn_after: 0")
	h.submit("me@sender.test", " RET=HDRS", []string{"<hard@world.test>"}, letter("me@sender.test", "hard@world.test", "headers only", "the secret body"))
	n := readDSN(t, h.back.wait(t, "headers only"))
	if n.Parts[2] != "text/rfc822-headers" {
		t.Errorf("parts %v", n.Parts)
	}
	contains(t, n.Returned, "Subject: headers only")
	lacks(t, n.Returned, "the secret body")
}

// TestDelayNotice: one, after warn_after, and the failure when it expires.
func TestDelayNotice(t *testing.T) {
	t.Parallel()
	h, _ := hopSink(t, "warn_after: 1s, expire: 6s")
	h.send("me@sender.test", []string{"soft@world.test"}, letter("me@sender.test", "soft@world.test", "slow", "x"))
	h.submit("me@sender.test", "", []string{"<soft-never@world.test> NOTIFY=FAILURE"}, letter("me@sender.test", "soft-never@world.test", "no delay notice", "x"))
	waitFor(t, 40*time.Second, "three notices", func() bool { return len(h.back.all()) >= 3 })
	h.settled()
	got := map[string]notice{}
	for _, m := range h.back.all() {
		n := readDSN(t, m)
		got[n.About[0]["action"]+" "+n.About[0]["final-recipient"]] = n
	}
	if len(got) != 3 || len(h.back.all()) != 3 {
		t.Errorf("%d notices of %d kinds", len(h.back.all()), len(got))
	}
	delayed := got["delayed rfc822; soft@world.test"]
	delayed.want(t, 0, map[string]string{"status": "4.2.2", "diagnostic-code": "450 4.2.2 mailbox is full", "will-retry-until": ":"})
	for _, to := range []string{"soft@world.test", "soft-never@world.test"} {
		got["failed rfc822; "+to].want(t, 0, map[string]string{"status": "5.4.7", "diagnostic-code": "450 4.2.2 mailbox is full"})
	}
}

// TestNotify: NOTIFY is obeyed, passed on where the next hop knows it, and
// answered by us where it does not.
func TestNotify(t *testing.T) {
	t.Parallel()
	h, end := hopSink(t, "warn_after: 0")
	old := startBareSink(t, "PIPELINING")
	before := startHopGate(t, "smtp://"+old.Addr, nil)
	for _, notify := range []string{"NEVER", "DELAY", "SUCCESS"} {
		h.submit("me@sender.test", "", []string{"<hard-" + notify + "@world.test> NOTIFY=" + notify}, letter("me@sender.test", "x@world.test", "no notice "+notify, "x"))
	}
	h.submit("me@sender.test", " ENVID=e1 RET=HDRS", []string{"<good@world.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o@world.test"}, letter("me@sender.test", "x@world.test", "passed on", "x"))
	m := end.wait(t, "passed on")
	if m.Mail.EnvelopeID != "e1" || m.Mail.Return != smtp.DSNReturnHeaders || m.Rcpt[0].OriginalRecipient != "o@world.test" || len(m.Rcpt[0].Notify) != 2 {
		t.Errorf("DSN parameters at the next hop: %+v %+v", m.Mail, m.Rcpt[0])
	}
	before.submit("me@sender.test", "", []string{"<good@world.test> NOTIFY=SUCCESS", "<quiet@world.test> NOTIFY=NEVER", "<usual@world.test>"},
		letter("me@sender.test", "x@world.test", "relayed", "x"))
	n := readDSN(t, before.back.wait(t, "multipart/report"))
	if len(n.About) != 1 {
		t.Errorf("%d recipients in the notice", len(n.About))
	}
	n.want(t, 0, map[string]string{"final-recipient": "rfc822; good@world.test", "action": "relayed", "status": "2."})
	h.settled()
	before.settled()
	if a, b := len(h.back.all()), len(before.back.all()); a != 0 || b != 1 {
		t.Errorf("%d and %d notices, want none and one", a, b)
	}
	checkAccount(t, h.gate)
}

// TestNoBackscatter: a null sender, and strangers whom neither SPF nor DKIM
// confirmed, get no notice; the trace tells the failure. Who is confirmed gets one.
func TestNoBackscatter(t *testing.T) {
	t.Parallel()
	h, _ := hopSink(t, "warn_after: 0")
	id := h.send("", []string{"hard@world.test"}, letter("me@sender.test", "hard@world.test", "null", "x"))
	h.traced(id, "failed", "550 5.1.1")
	s := startSite(t, "", nil)
	s.inside.OnRcpt = refuseAll(550, smtp.EnhancedCode{5, 2, 1}, "mailbox is closed")
	forged := queuedID(t, send(t, fromStranger, s.mx, 250, "a@none.test", "bob@example.test", letter("a@none.test", "bob@example.test", "forged", "x")))
	s.traced(forged, "failed", "550 5.2.1")
	unknown := queuedID(t, send(t, fromStranger, s.mx, 250, "a@plain.test", "bob@example.test", letter("a@plain.test", "bob@example.test", "no SPF", "x")))
	s.traced(unknown, "failed", "550 5.2.1")
	confirmed := queuedID(t, send(t, fromWorld, s.mx, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "confirmed", "x")))
	m := s.world.wait(t, "multipart/report")
	if len(m.To) != 1 || m.To[0] != "a@good.test" || m.From != "" {
		t.Errorf("the notice went from <%s> to %v", m.From, m.To)
	}
	s.traced(confirmed, "bounced", "notice")
	s.settled()
	h.settled()
	if a, b := len(s.world.all()), len(h.back.all()); a != 1 || b != 0 {
		t.Errorf("%d and %d notices, want one and none", a, b)
	}
	checkAccount(t, s.gate)
}

// TestInternationalNotice: SMTPUTF8 addresses (RFC 6533).
func TestInternationalNotice(t *testing.T) {
	t.Parallel()
	h, _ := hopSink(t, "warn_after: 0")
	h.submit("mé@sender.test", " SMTPUTF8", []string{"<hardü@world.test>"}, letter("mé@sender.test", "hardü@world.test", "größer", "x"))
	m := h.back.wait(t, "multipart/report")
	n := readDSN(t, m)
	n.want(t, 0, map[string]string{"final-recipient": "utf-8; hardü@world.test", "action": "failed", "status": "5.1.1"})
	if n.Parts[1] != "message/global-delivery-status" || len(m.To) != 1 || m.To[0] != "mé@sender.test" {
		t.Errorf("parts %v to %v", n.Parts, m.To)
	}
}
