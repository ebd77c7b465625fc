package extract

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const report = `<?xml version="1.0"?><feedback><report_metadata/></feedback>`

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zipped makes an archive of names and contents in turn.
func zipped(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for i := 0; i < len(pairs); i += 2 {
		w, err := z.Create(pairs[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func part(kind, name string, b []byte) string {
	return fmt.Sprintf("Content-Type: %s; name=%q\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", kind, name, base64.StdEncoding.EncodeToString(b))
}

// told is the documents in one line: kind, or why not.
func told(f Found, err error) string {
	var out []string
	for _, d := range f.Documents {
		if d.Err != nil {
			out = append(out, string(d.Kind)+": "+d.Err.Error())
		} else {
			out = append(out, string(d.Kind)+fmt.Sprintf(" %d", len(d.Data)))
		}
	}
	if err != nil {
		out = append(out, "ERROR "+err.Error())
	}
	return strings.Join(out, "; ")
}

func TestOddWrapping(t *testing.T) {
	xml, json := []byte(report), []byte(`{"report-id": "1", "policies": []}`)
	for _, c := range []struct{ name, message, want string }{
		{"XML as text", part("text/plain", "", xml), "dmarc 60"},
		{"gzip as octet-stream", part("application/octet-stream", "x", gz(t, xml)), "dmarc 60"},
		{"gzip named zip", part("application/zip", "x.zip", gz(t, xml)), "dmarc 60"},
		{"zip named xml", part("text/xml", "x.xml", zipped(t, "a.xml", report)), "dmarc 60"},
		{"zip with a name that leads out", part("application/zip", "x.zip", zipped(t, "../../a.xml", report)), "dmarc 60"},
		{"zip of two", part("application/zip", "x.zip", zipped(t, "a.xml", report, "b", report)), "dmarc 60; dmarc 60"},
		{"gzip of several members", part("application/gzip", "", append(gz(t, xml[:20]), gz(t, xml[20:])...)), "dmarc 60"},
		{"octets behind several members", part("application/gzip", "", append(append(gz(t, xml[:20]), gz(t, xml[20:])...), "\x1f\x8b\x00\x00"...)), "dmarc 60"},
		{"a broken second member", part("application/gzip", "", append(gz(t, xml[:20]), gz(t, xml[20:])[:15]...)), "dmarc: the archive is broken"},
		{"octets behind gzip", part("application/gzip", "", append(gz(t, xml), "\r\n"...)), "dmarc 60"},
		{"TLS report", part("application/tlsrpt+json", "x.json", json), "tls 34"},
		{"TLS report in gzip", part("application/tlsrpt+gzip", "x.json.gz", gz(t, json)), "tls 34"},
		{"TLS report named xml.gz", part("application/gzip", "x.xml.gz", gz(t, json)), "tls 34"},
		{"byte order mark", part("text/xml", "x.xml", append([]byte("\xef\xbb\xbf \r\n"), xml...)), "dmarc 60"},
		{"prefixed names", part("text/plain", "", []byte(`<d:feedback xmlns:d="x"></d:feedback>`)), "dmarc 37"},
		{"LF, no last boundary, unquoted boundary", "Content-Type: multipart/mixed; boundary=a=b/c\n\n--a=b/c\nContent-Type: text/plain\n\nhello\n--a=b/c\n" + part("text/xml", "x.xml", xml), "dmarc 60"},
		{"people's text", part("text/html", "", []byte("<html>hello</html>")), "ERROR there is no report in the message"},
		{"empty message", "", "ERROR there is no report in the message"},
		{"broken gzip", part("application/gzip", "x.xml.gz", gz(t, xml)[:20]), "dmarc: the archive is broken"},
		{"gzip of nothing", part("application/gzip", "x.json.gz", []byte{0x1f, 0x8b, 0}), "tls: the gzip file is broken"},
		{"broken zip", part("application/zip", "x.zip", zipped(t, "a", report)[:50]), "dmarc: the zip file is broken"},
		{"empty zip", part("application/zip", "x.zip", zipped(t)), "dmarc: the zip file is empty"},
		{"an archive in an archive", part("application/gzip", "", gz(t, gz(t, xml))), "dmarc: there is an archive inside the archive"},
		{"an image named xml", part("image/png", "x.xml", []byte("\x89PNG")), "dmarc: the file is neither XML nor JSON nor an archive of them"},
		{"empty XML", part("text/xml", "x.xml", nil), "dmarc: the file is empty"},
	} {
		if got := told(Message(strings.NewReader(c.message), Limits{})); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestFailureReport(t *testing.T) {
	message := "Message-ID: <1@x>\r\nFrom: r@x.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n" +
		"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: auth-failure\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nFrom: a@b.example\r\n--b--\r\n"
	f, err := Message(strings.NewReader(message), Limits{})
	if err != nil || len(f.Documents) != 1 || f.Documents[0].Kind != Failure || string(f.Documents[0].Data) != "Feedback-Type: auth-failure\r\n" ||
		string(f.Documents[0].Original) != "From: a@b.example\r\n" || f.MessageID != "<1@x>" || f.From != "r@x.example" {
		t.Errorf("%+v, %v", f, err)
	}
}

// nested is multiparts in multiparts.
func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	return b.String() + part("text/xml", "x.xml", []byte(report))
}

// bomb is a report that compresses well.
func bomb(size int) []byte {
	return append([]byte("<feedback>"), bytes.Repeat([]byte{' '}, size)...)
}

func TestLimits(t *testing.T) {
	many := func(n int) string {
		return "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n"+part("text/xml", "x.xml", []byte(report)), n)
	}
	files := func(n int) []byte {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprint(i), report)
		}
		return zipped(t, pairs...)
	}
	half := string(bomb(600 << 10))
	for _, c := range []struct {
		name    string
		message string
		limits  Limits
		want    string
	}{
		{"message", strings.Repeat("x", 101), Limits{Message: 100}, "ERROR the message is larger than 100 octets"},
		{"depth", nested(9), Limits{}, "ERROR the parts are nested deeper than 8"},
		{"depth that is allowed", nested(8), Limits{}, "dmarc 60"},
		{"parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 200), Limits{}, "ERROR the message has more than 100 parts"},
		{"reports", many(3), Limits{Documents: 2}, "dmarc 60; dmarc 60; ERROR the message has more than 2 reports"},
		{"entries", part("application/zip", "", files(11)), Limits{}, "dmarc: the zip file has more than 10 entries"},
		{"compressed gzip", part("application/gzip", "", gz(t, []byte(report))), Limits{Compressed: 10}, "dmarc: the archive is larger than 10 octets"},
		{"compressed zip", part("application/zip", "", files(1)), Limits{Compressed: 10}, "dmarc: the archive is larger than 10 octets"},
		{"ratio of gzip", part("application/gzip", "", gz(t, bomb(4<<20))), Limits{}, "dmarc: the archive grows more than 250 times"},
		{"ratio of zip", part("application/zip", "", zipped(t, "x.xml", string(bomb(4<<20)))), Limits{}, "dmarc: the archive grows more than 250 times"},
		{"ratio that is allowed", part("application/gzip", "", gz(t, bomb(900<<10))), Limits{}, "dmarc 921610"},
		{"ratio of many members", part("application/gzip", "", bytes.Repeat(gz(t, bomb(1<<20)), 5)), Limits{Ratio: 100}, "dmarc: the archive grows more than 100 times"},
		{"uncompressed", part("application/gzip", "", gz(t, bomb(2<<20))), Limits{Uncompressed: 1 << 20, Ratio: 10000}, "dmarc: the archives become larger than 1048576 octets"},
		{"uncompressed, all together", part("application/zip", "", zipped(t, "a.xml", half, "b.xml", half)), Limits{Uncompressed: 1 << 20}, "dmarc 614410; dmarc: the archives become larger than 1048576 octets"},
		{"boundary", "Content-Type: multipart/mixed\r\n\r\n--\r\n", Limits{}, "ERROR a multipart has no usable boundary"},
	} {
		if got := told(Message(strings.NewReader(c.message), c.limits)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzMessage: whatever comes, the work is bounded and refusals can be shown.
func FuzzMessage(f *testing.F) {
	f.Add([]byte(part("application/zip", "x.zip", zipped(f, "a.xml", report))))
	f.Add([]byte(part("application/gzip", "x.xml.gz", gz(f, []byte(report)))))
	f.Add([]byte(nested(3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		limits := Limits{Message: 1 << 20, Uncompressed: 1 << 20}
		found, err := Message(bytes.NewReader(b), limits)
		checkFound(t, found, err, limits)
	})
}

// FuzzFile does the same with archives.
func FuzzFile(f *testing.F) {
	f.Add("x.zip", zipped(f, "a.xml", report, "b.json", "{}"))
	f.Add("x.xml.gz", gz(f, []byte(report)))
	f.Add("x.xml", []byte(report))
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		limits := Limits{Uncompressed: 1 << 20}
		found, err := File(name, b, limits)
		checkFound(t, found, err, limits)
	})
}

func checkFound(t *testing.T, found Found, err error, l Limits) {
	t.Helper()
	var shown *Error
	if err != nil && !errors.As(err, &shown) {
		t.Errorf("%v cannot be shown", err)
	}
	if err == nil && len(found.Documents) == 0 || len(found.Documents) > DefaultDocuments {
		t.Errorf("%d documents, %v", len(found.Documents), err)
	}
	for _, d := range found.Documents {
		if (d.Err == nil) == (d.Data == nil) && d.Kind != Failure || d.Kind == "" || d.Err != nil && !errors.As(d.Err, &shown) {
			t.Errorf("%+v", d)
		}
	}
}
