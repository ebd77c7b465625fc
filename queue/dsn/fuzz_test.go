package dsn

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"

	"gatepost/mail"
)

// FuzzWrite: whatever a server answered, a client said of itself and a message
// holds, the notice is clean mail with our header, of three parts for any
// reader, and its middle part has one group for the message and one for the
// recipient.
func FuzzWrite(f *testing.F) {
	f.Add("No such user here", "rfc822", "bob@there.example", []byte(simple))
	f.Add("line\r\nStatus: 2.0.0", "rfc822\r\nAction: delivered", "a\r\n\r\nb", []byte("Message-ID: <a@b>\r\n\tBcc: <v@x.example>\r\n\r\n--=_x--\r\n"))
	f.Add("\xff\xfe", "utf-8", "käthe@there.example", []byte("Subject: =?utf-8?q?a=0D=0ABcc:_x?=\r\n\r\n\xff"))
	f.Add(strings.Repeat("y", 3000), "x", "+GG", []byte("X: "+strings.Repeat("z", 3000)+"\r\n\r\n"+strings.Repeat("w", 2000)))
	f.Add("", "", "", []byte(""))
	f.Fuzz(func(t *testing.T, text, kind, original string, octets []byte) {
		m := message("")
		m.Content = mail.MemoryBody(octets)
		var err error
		if m.Shape, err = mail.Scan(bytes.NewReader(octets)); err != nil {
			t.Fatal(err)
		}
		m.Envelope.EnvID, m.Origin.Helo = original, text
		status := noUser
		status.Text, status.Remote = text, original
		r := to("bob@there.example", status)
		r.OriginalType, r.Original = kind, original
		b := content(t, write(t, Notice{Kind: Failure, Message: m, Recipients: []Recipient{r}}))
		if !clean(b) {
			t.Fatalf("not clean: %q", b)
		}
		header, err := mail.ParseHeader(b)
		if err != nil || header.Has("Bcc") || len(header.All("From")) != 1 {
			t.Fatalf("header of %q: %v", b, err)
		}
		parts := readParts(t, header, b)
		if len(parts) != 3 {
			t.Fatalf("%d parts in %q", len(parts), b)
		}
		groups := strings.Split(strings.TrimRight(parts[1], "\r\n"), "\r\n\r\n")
		if len(groups) != 2 || strings.Count(parts[1], "\r\nAction:") != 1 || strings.Count(parts[1], "\r\nStatus:") != 1 ||
			!strings.Contains(groups[1], "Action: failed\r\nStatus: 5.1.1") {
			t.Fatalf("status part %q", parts[1])
		}
	})
}

// readParts reads a notice with the standard library.
func readParts(t *testing.T, header mail.Header, b []byte) (parts []string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(header.All("Content-Type")[0].Value())
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(bytes.NewReader(b[header.Size:]), params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatalf("%v in %q", err, b)
		}
		part, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(part))
	}
}
