package compose

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/report/aggregate"
	"gatepost/report/extract"
	"gatepost/report/failure"
)

func incident(t testing.TB) *failure.Incident {
	h, err := mail.ParseHeader([]byte("From: Alice <alice@author.example>\r\nSubject: secret\r\nMessage-ID: <1@author.example>\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return &failure.Incident{ID: 12345, At: time.Unix(1700000000, 0), Client: netip.MustParseAddr("192.0.2.1"), Helo: "bad.example", MailFrom: addr(t, "alice@author.example"),
		Domain: domain(t, "author.example"), Failure: failure.DMARC, Delivery: "reject", Unaligned: []string{"dkim", "spf"},
		Results: "Authentication-Results: mx.receiver.example;\r\n spf=fail smtp.mailfrom=author.example;\r\n dmarc=fail header.from=author.example\r\n",
		Header:  failure.Excerpt(h), ReportingBy: "mx.receiver.example", Agent: "Gatepost/1"}
}

func failureMessage(t testing.TB) string {
	t.Helper()
	b, err := Failure(incident(t), failure.Redactor{Key: []byte("key")}, []mail.Address{addr(t, "ruf@author.example")}, options(t, aggregate.RFC9990))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWeReadOurOwnFailureReport(t *testing.T) {
	message := failureMessage(t)
	found, err := extract.Message(strings.NewReader(message), extract.Limits{})
	if err != nil || len(found.Documents) != 1 || found.Documents[0].Kind != extract.Failure {
		t.Fatalf("%+v, %v", found, err)
	}
	r, err := failure.Parse(found.Documents[0].Data, found.Documents[0].Original)
	if err != nil || r.AuthFailure != "dmarc" || r.Domain != "author.example" || r.MessageID != "<1@author.example>" || !strings.HasSuffix(r.From, "@author.example>") {
		t.Errorf("%+v, %v", r, err)
	}
	if strings.Contains(message, "alice") || strings.Contains(message, "secret") || !strings.Contains(message, "\r\nAuto-Submitted: auto-generated\r\n") {
		t.Errorf("message\n%s", message)
	}
	for line := range strings.SplitSeq(message, "\r\n") {
		if len(line) > 78 || !isASCII(line) || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
	if _, err := Failure(incident(t), failure.Redactor{}, nil, options(t, aggregate.RFC9990)); !errors.Is(err, ErrOptions) {
		t.Errorf("to nobody: %v", err)
	}
}

// readFailure is Python's email package: it knows message/feedback-report as a
// message of its own.
const readFailure = `
import sys, json, email, email.policy
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, part, original = m.iter_parts()
fields = part.get_payload()[0]
about = email.message_from_string(original.get_payload(decode=True).decode('ascii'), policy=email.policy.default)
json.dump({'defects': [str(d) for p in m.walk() for d in p.defects] + [str(d) for v in m.values() for d in v.defects] + [str(d) for v in about.values() for d in v.defects],
  'type': m.get_content_type(), 'report': m.get_param('report-type'), 'parts': [p.get_content_type() for p in (text, part, original)],
  'to': m['To'], 'fields': {k: ' '.join(fields[k].split()) for k in ('Feedback-Type', 'Auth-Failure', 'Reported-Domain', 'Source-IP', 'Identity-Alignment', 'Version', 'Authentication-Results')},
  'author': about['From'].addresses[0].domain, 'id': about['Message-ID']}, sys.stdout)
`

func TestPythonReadsTheFailureReport(t *testing.T) {
	out := peer(t, []string{"/usr/bin/python3", "-c", "import email"}, []string{"/usr/bin/python3", "-c", readFailure}, failureMessage(t))
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"defects": []any{}, "type": "multipart/report", "report": "feedback-report", "parts": []any{"text/plain", "message/feedback-report", "text/rfc822-headers"}, "to": "ruf@author.example",
		"fields": map[string]any{"Feedback-Type": "auth-failure", "Auth-Failure": "dmarc", "Reported-Domain": "author.example", "Source-IP": "192.0.2.1", "Identity-Alignment": "dkim, spf", "Version": "1",
			"Authentication-Results": "mx.receiver.example; spf=fail smtp.mailfrom=author.example; dmarc=fail header.from=author.example"},
		"author": "author.example", "id": "<1@author.example>",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\ngot  %v\nwant %v", got, want)
	}
}
