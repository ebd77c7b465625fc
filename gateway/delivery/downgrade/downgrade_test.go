package downgrade

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"testing/iotest"
)

// convert re-encodes a message, read in pieces of one octet too, and wants the
// same result both ways.
func convert(t *testing.T, message string) (string, error) {
	t.Helper()
	plan, err := Examine(strings.NewReader(message))
	slowPlan, slowErr := Examine(iotest.OneByteReader(strings.NewReader(message)))
	if (err == nil) != (slowErr == nil) {
		t.Fatalf("examined at once: %v, octet by octet: %v", err, slowErr)
	}
	if err != nil {
		return "", err
	}
	fast, err := io.ReadAll(plan.Reader(strings.NewReader(message)))
	if err != nil {
		t.Fatal(err)
	}
	slow, err := io.ReadAll(slowPlan.Reader(iotest.OneByteReader(strings.NewReader(message))))
	if err != nil || !bytes.Equal(fast, slow) {
		t.Fatalf("read at once:\n%s\noctet by octet:\n%s\n%v", fast, slow, err)
	}
	return string(fast), nil
}

// crlf makes the line ends of a message.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestConversion(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"text", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße aus Köln = schön \nzwei\n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe aus K=C3=B6ln =3D sch=C3=B6n=20\nzwei\n"},
		{"no MIME fields", "Subject: x\n\nein schöner Tag\n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\nein sch=C3=B6ner Tag\n"},
		{"no line end at the end", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain\n\nein schöner Tag",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nein sch=C3=B6ner Tag"},
		{"mostly 8-bit text", "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nДобрый день\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n0JTQvtCx0YDRi9C5INC00LXQvdGMDQo=\n"},
		{"only what needs it", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\nContent-Transfer-Encoding: 8bit\n\npreämble\n--b b\nContent-Type: text/plain\n\nplain = text\n--b b\nContent-Type: text/html\nContent-Transfer-Encoding: 8bit\n\n<p>schöner Tag</p>\n\n--b b\nContent-Type: application/x-data\n\n\xff\xfe\n--b b--\nepilogüe\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\nContent-Transfer-Encoding: 7bit\n\npre??mble\n--b b\nContent-Type: text/plain\n\nplain = text\n--b b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n<p>sch=C3=B6ner Tag</p>\n\n--b b\nContent-Type: application/x-data\nContent-Transfer-Encoding: base64\n\n//4=\n\n--b b--\nepilog??e\n"},
		{"message inside", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: inner\n\nschöner Tag heute\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\nsch=C3=B6ner Tag heute\n--b--\n"},
		{"digest", "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: text/plain\n\nschöner Tag heute\n--b--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nsch=C3=B6ner Tag heute\n--b--\n"},
		{"signed, but 7-bit", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nplain = text \n--b--\n--a\n\nschöner Tag heute\n--a--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nplain = text \n--b--\n--a\nContent-Transfer-Encoding: quoted-printable\n\nsch=C3=B6ner Tag heute\n--a--\n"},
		{"quoted-printable with bare 8-bit octets", "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: Quoted-Printable\n\nsch=C3=B6n und schön=\n, ja\n",
			"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: Quoted-Printable\n\nsch=C3=B6n und sch=C3=B6n=\n, ja\n"},
		{"8bit said, 7-bit meant", "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit (really)\n\nplain = text\n",
			"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 7bit\n\nplain = text\n"},
		{"header keeps its octets", "Subject: schön\nMIME-Version: 1.0\nContent-Type: text/plain\n\nschöner Tag heute\n",
			"Subject: schön\nMIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nsch=C3=B6ner Tag heute\n"},
		{"folded and repeated field", "MIME-Version: 1.0\nContent-Transfer-Encoding:\n 8bit\nContent-Type: text/plain\nContent-Transfer-Encoding: 7bit\n\nschöner Tag heute\n",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\nContent-Type: text/plain\n\nsch=C3=B6ner Tag heute\n"},
		{"boundary of the outer one ends the inner", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nschöner Tag heute\n--a\n\nschöner Tag heute\n--b\nschöner Tag morgen\n--a--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\nsch=C3=B6ner Tag heute\n--a\nContent-Transfer-Encoding: quoted-printable\n\nsch=C3=B6ner Tag heute\n--b\nsch=C3=B6ner Tag morgen\n--a--\n"},
		{"header without body", "Subject: x\n", "Subject: x\n"},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := convert(t, crlf(test.in))
			if err != nil || got != crlf(test.want) {
				t.Errorf("got\n%s\nwant\n%s\n%v", got, test.want, err)
			}
		})
	}
}

func TestWhatMustStay(t *testing.T) {
	for name, in := range map[string]string{
		"signed":                   "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\n\nschön\n--b--\n",
		"inside of signed":         "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nschön\n--c--\n--b--\n",
		"message inside of signed": "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\nschön\n--b--\n",
		"encrypted":                "MIME-Version: 1.0\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\nschön\n--b--\n",
		"partial message":          "MIME-Version: 1.0\nContent-Type: message/partial; id=1; number=1\n\nschön\n",
		"delivery status":          "MIME-Version: 1.0\nContent-Type: message/delivery-status\n\nDiagnostic-Code: schön\n",
		"encoded message":          "MIME-Version: 1.0\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nschön\n",
		"base64":                   "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\nschön\n",
		"unknown encoding":         "MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\nschön\n",
		"multipart, no boundary":   "MIME-Version: 1.0\nContent-Type: multipart/mixed\n\n--b\n\nschön\n--b--\n",
		"multipart, unreadable":    "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b\n\n--b\n\nschön\n--b--\n",
		"malformed header":         "MIME-Version: 1.0\nwhat is this\nContent-Type: text/plain\n\nschön\n",
		"too deep":                 strings.Repeat("Content-Type: multipart/mixed; boundary=b\n\n--b\n", 40) + "\nschön\n",
		"header too long":          "X: " + strings.Repeat("a", maxHeader) + "\n\nschön\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := convert(t, crlf(in))
			var refused *Error
			if !errors.As(err, &refused) || refused.Reason == "" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestLongLinesAreWrapped(t *testing.T) {
	body := strings.Repeat("ein sehr schöner Tag = ", 5000) + "\r\n" + strings.Repeat("x", pieceSize-1) + "\r\nend\r\n"
	got, err := convert(t, "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"+body)
	if err != nil {
		t.Fatal(err)
	}
	_, encoded, _ := strings.Cut(got, "\r\n\r\n")
	for line := range strings.SplitSeq(encoded, "\r\n") {
		if len(line) > maxEncodedLine {
			t.Fatalf("a line of %d octets: %s", len(line), line)
		}
	}
	decoded, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(encoded)))
	if err != nil || string(decoded) != body {
		t.Errorf("%d octets became %d, %v", len(body), len(decoded), err)
	}
}

func TestLineEndBetweenPieces(t *testing.T) {
	// The CR stands at the end of what is read at once, the LF behind it, and
	// both belong to the delimiter.
	header := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
	for shift := range 5 {
		body := "\xff" + strings.Repeat("x", pieceSize-3+shift)
		message := header + "--b\r\nContent-Type: application/x-data\r\n\r\n" + body + "\r\n--b--\r\n"
		got, err := convert(t, message)
		if err != nil {
			t.Fatal(err)
		}
		if leaves := read(t, got); len(leaves) != 1 || leaves[0] != body {
			t.Errorf("shift %d: %d octets became %d", shift, len(body), len(leaves[0]))
		}
	}
}

func TestReadErrorIsNoEnd(t *testing.T) {
	broken := errors.New("broken")
	in := io.MultiReader(strings.NewReader("Subject: x\r\n\r\nbody"), iotest.ErrReader(broken))
	if _, err := Examine(in); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	in = io.MultiReader(strings.NewReader("Subject: x\r\n\r\nbody"), iotest.ErrReader(broken))
	if _, err := io.ReadAll((&Plan{}).Reader(in)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// read decodes all leaves of a message with other code than ours.
func read(t *testing.T, message string) []string {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(message))
	if err != nil {
		t.Fatalf("%v in\n%s", err, message)
	}
	return leaves(t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
}

func leaves(t *testing.T, contentType, encoding string, body io.Reader) (list []string) {
	mediaType, params, _ := mime.ParseMediaType(contentType)
	if strings.HasPrefix(mediaType, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return list
			}
			list = append(list, leaves(t, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)...)
		}
	}
	return append(list, decode(t, encoding, body))
}
