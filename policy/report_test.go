package policy

import "testing"

func TestIsReport(t *testing.T) {
	for text, want := range map[string]bool{
		"Subject: Report Domain: example.com Submitter: mail.example.net Report-ID: <1>\r\n":            true,
		"Subject:  \r\n REPORT  domain: example.com\r\n":                                                false, // two spaces: not the form
		"Subject: \r\n report domain: example.com\r\n":                                                  true,
		"Content-Type: multipart/report; report-type=feedback-report\r\n":                               true,
		"content-type: Multipart/Report;\r\n report-type=tlsrpt\r\n":                                    true,
		"Content-Type: multipart/mixed; boundary=report\r\nSubject: Re: Report Domain: example.com\r\n": false,
		"Subject: report\r\nContent-Type: application/gzip\r\n":                                         false,
		"X-Subject: Report Domain: example.com\r\n":                                                     false,
	} {
		if got := isReport(header(t, text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestReportIsAFact: the judgement of a message notes it.
func TestReportIsAFact(t *testing.T) {
	e := &Engine{}
	for text, want := range map[string]bool{"From: a@b.example\r\nSubject: Report Domain: x\r\n": true, "From: a@b.example\r\n": false, "Subject: Report Domain: x\r\n": true} {
		if f := e.read(Session{}, header(t, text)); f.Report != want {
			t.Errorf("%q: %v", text, f.Report)
		}
	}
}
