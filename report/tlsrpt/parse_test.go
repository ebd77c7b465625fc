package tlsrpt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

const report = `{"organization-name": "Company-X", "date-range": {"start-datetime": "2026-04-01T00:00:00Z", "end-datetime": "2026-04-01T23:59:59Z"},
 "contact-info": "a@company-x.example", "report-id": "5065", "policies": [{"policy": {"policy-type": "sts", "policy-string": ["version: STSv1"],
 "policy-domain": "Company-Y.example", "mx-host": "*.mail.company-y.example"}, "summary": {"total-successful-session-count": 5326, "total-failure-session-count": 303},
 "failure-details": [{"result-type": "certificate-expired", "sending-mta-ip": "2001:db8::1", "receiving-mx-hostname": "mx1", "failed-session-count": 100}]}]}`

func TestParse(t *testing.T) {
	r, err := Parse([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	p := r.Policies[0]
	if r.Org != "Company-X" || r.ID != "5065" || p.Domain.String() != "company-y.example" || p.Succeeded != 5326 || p.Failed != 303 || p.MX[0] != "*.mail.company-y.example" ||
		p.Strings[0] != "version: STSv1" || len(p.Failures) != 1 || p.Failures[0].Sessions != 100 || p.Failures[0].Sender.String() != "2001:db8::1" || p.Failures[0].Result != "certificate-expired" {
		t.Errorf("%+v", r)
	}
	for name, doc := range map[string]string{
		"no zone":             strings.ReplaceAll(report, "Z\"", "\""),
		"no organization":     strings.Replace(report, "Company-X", "", 1),
		"sender is a name":    strings.Replace(report, "2001:db8::1", "mail.example", 1),
		"not UTF-8, controls": strings.Replace(report, "Company-X", "\xff\\u0000", 1),
	} {
		if r, err := Parse([]byte(doc)); err != nil || r.Org == "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestRefused(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(report, old, new, 1) }
	for _, c := range []struct{ name, doc, want string }{
		{"not JSON", "{", "not the JSON"},
		{"wrong type", change(`"5065"`, "{}"), "not the JSON"},
		{"depth", change(`"5065"`, strings.Repeat("[", 100000)), "nested deeper than 12"},
		{"objects", change(`"5065"`, "["+strings.Repeat("{},", 20000)+"{}]"), "more than 20000 objects"},
		{"size", report + strings.Repeat(" ", maxDocument), "larger than"},
		{"huge count", change("5326", "1000000000001"), "session count"},
		{"count beyond 64 bits", change("5326", "99999999999999999999"), "not the JSON"},
		{"negative count", change("303", "-1"), "session count"},
		{"negative count of a failure", change(": 100}", ": -1}"), "session count"},
		{"no id", change("5065", ""), "no report-id"},
		{"no reporter", strings.Replace(change("Company-X", ""), "a@company-x.example", "", 1), "neither"},
		{"no policies", `{"organization-name": "x", "report-id": "1", "policies": []}`, "no policies"},
		{"many policies", `{"organization-name": "x", "report-id": "1", "policies": [` + strings.Repeat("{},", 100) + "{}]}", "more than 100 policies"},
		{"many failures", change(`"failure-details": [`, `"failure-details": [`+strings.Repeat("{},", 2000)), "more than 2000 failure-details"},
		{"no time", change("2026-04-01T00:00:00Z", "yesterday"), "no start-datetime"},
		{"backwards", change("2026-04-01T23:59:59Z", "2025-04-01T23:59:59Z"), "ends before it begins"},
		{"no domain", change("Company-Y.example", ""), "no policy-domain"},
	} {
		_, err := Parse([]byte(c.doc))
		var ours *Error
		if !errors.As(err, &ours) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// FuzzParse: no report makes the reader panic or give what cannot be stored.
func FuzzParse(f *testing.F) {
	f.Add([]byte(report))
	f.Add([]byte(strings.ReplaceAll(report, "Z\"", "\"")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b)
		if err != nil {
			var ours *Error
			if !errors.As(err, &ours) {
				t.Errorf("%v cannot be shown", err)
			}
			return
		}
		if s := fmt.Sprintf("%s%s%s", r.Org, r.ID, r.Contact); !utf8.ValidString(s) || strings.ContainsRune(s, 0) || r.ID == "" || len(r.Policies) == 0 {
			t.Errorf("%+v", r)
		}
		for _, p := range r.Policies {
			if p.Domain.IsZero() || p.Succeeded < 0 || p.Failed < 0 || p.Succeeded+p.Failed > 2*maxCount {
				t.Errorf("%+v", p)
			}
		}
	})
}
