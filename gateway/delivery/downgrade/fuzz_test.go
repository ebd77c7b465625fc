package downgrade

import (
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
)

func decode(t *testing.T, encoding string, body io.Reader) string {
	switch strings.ToLower(encoding) {
	case quotedPrintable:
		body = quotedprintable.NewReader(body)
	case base64Encoding:
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Errorf("decode %s: %v", encoding, err)
	}
	return string(b)
}

// FuzzLeaf re-encodes any body and wants it back.
func FuzzLeaf(f *testing.F) {
	for _, seed := range []string{"", "schön", "\xff\xfe\x00", " \t\r\n", "a=\r\n", "--b", strings.Repeat("ä", 200), strings.Repeat("x", 90) + "é"} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, text bool) {
		content := strings.NewReplacer("\r", "", "\n", "\r\n").Replace(string(body))
		contentType := "application/x-data"
		if text {
			contentType = "text/plain"
		}
		if strings.Contains(content, "--b") {
			return
		}
		message := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: " + contentType + "\r\n\r\n" + content + "\r\n--b--\r\n"
		got, err := convert(t, message)
		if err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		if eightBits([]byte(got)) > 0 {
			t.Errorf("8-bit octets in %q", got)
		}
		if list := read(t, got); len(list) != 1 || list[0] != content {
			t.Errorf("%q became %q, which reads %q", content, got, list)
		}
	})
}

// FuzzMessage walks through anything: what is not refused has a 7-bit body,
// and needs no more conversion.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n", "a", "Subject: x\r\n\r\nsch\xc3\xb6n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b\r\n\r\n\xff\r\n--b--\r\n\xff",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b",
		"Content-Type: multipart/signed; boundary=b\r\n\r\n\xff--b\r\n",
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n=\xff=\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		message := strings.NewReplacer("\r", "", "\n", "\r\n").Replace(in)
		got, err := convert(t, message)
		if err != nil {
			return
		}
		w := newWalker(strings.NewReader(got))
		for {
			p, err := w.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("the result cannot be read: %v\n%q", err, got)
			}
			if p.kind != pieceHeader && eightBits(p.octets) > 0 {
				t.Errorf("8-bit octets in %q of %q", p.octets, got)
			}
		}
		again, err := convert(t, got)
		if err != nil || again != got {
			t.Errorf("%q\nbecame %q\nthen %q, %v", message, got, again, err)
		}
	})
}

// FuzzWalker wants all octets of a message in its pieces.
func FuzzWalker(f *testing.F) {
	f.Add("Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\nbody\r\n--b--\r\nepi")
	f.Add("\r\n\r\r\n\n--\r\n")
	f.Fuzz(func(t *testing.T, message string) {
		w := newWalker(strings.NewReader(message))
		var all strings.Builder
		for {
			p, err := w.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return
			}
			all.Write(p.octets)
		}
		if all.String() != message {
			t.Errorf("%q became %q", message, all.String())
		}
	})
}
