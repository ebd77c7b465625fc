package dsn

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
)

var update = flag.Bool("update", false, "write the golden notices")

var at = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		panic(err)
	}
	return a
}

func message(content string) *mail.Message {
	b := []byte(strings.ReplaceAll(content, "\n", "\r\n"))
	shape, err := mail.Scan(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	return &mail.Message{
		ID:       1 << 50,
		Received: at.Add(-5 * time.Hour),
		Prefix:   []byte("Received: from client by mx.example.com\r\n"),
		Content:  mail.MemoryBody(b),
		Shape:    shape,
		Envelope: mail.Envelope{From: address("alice@example.com"), EnvID: "QQ314159"},
		Origin:   mail.Origin{Role: mail.RoleRelay, Helo: "client.example.com", Confirmed: true},
	}
}

const simple = "From: alice@example.com\nTo: bob@there.example\nSubject: Our =?utf-8?q?caf=C3=A9?=\nMessage-ID: <1@example.com>\n\nHello Bob.\n"

func to(address_ string, status mail.Status) Recipient {
	return Recipient{Recipient: mail.Recipient{Address: address(address_)}, Status: status, Until: at.Add(5 * 24 * time.Hour)}
}

var (
	noUser = mail.Status{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "No such user here", Said: true, Remote: "mx.there.example[192.0.2.1]:25", Scope: mail.ScopeRecipient}
	lost   = mail.ReplyConnectFailed.Status(mail.ScopeSite)
	fine   = mail.Status{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "Ok: queued", Said: true, Remote: "mx.there.example[192.0.2.1]:25"}
)

// cases are notices of every form; each has its golden file.
var cases = map[string]func() Notice{
	"failure": func() Notice {
		r := to("bob@there.example", noUser)
		r.OriginalType, r.Original = "rfc822", "robert@example.org"
		return Notice{Kind: Failure, Message: message(simple), Recipients: []Recipient{r, to("eve@there.example", mail.ReplyNullMX.Status(mail.ScopeSite))}}
	},
	"expired": func() Notice {
		r := to("bob@there.example", lost)
		r.Expired = true
		return Notice{Kind: Failure, Message: message(simple), Recipients: []Recipient{r}}
	},
	"delay": func() Notice {
		return Notice{Kind: Delay, Message: message(simple), Recipients: []Recipient{to("bob@there.example", lost)}}
	},
	"success": func() Notice {
		return Notice{Kind: Success, Message: message(simple), Recipients: []Recipient{to("bob@there.example", fine)}}
	},
	"headers only": func() Notice {
		m := message(simple)
		m.Envelope.Return = "HDRS"
		return Notice{Kind: Failure, Message: m, Recipients: []Recipient{to("bob@there.example", noUser)}}
	},
	"too large": func() Notice {
		return Notice{Kind: Failure, Message: message(simple + strings.Repeat("0123456789\n", 10_000)), Recipients: []Recipient{to("bob@there.example", noUser)}}
	},
	"eight bit": func() Notice {
		m := message("Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n")
		s := noUser
		s.Text = "Kein Empfänger dieses Namens"
		return Notice{Kind: Failure, Message: m, Recipients: []Recipient{to("bob@there.example", s)}}
	},
	"international": func() Notice {
		m := message("From: jürgen@example.com\nSubject: Grüße\n\nHallo\n")
		m.Envelope.From, m.Envelope.UTF8 = address("jürgen@example.com"), true
		r := to("käthe@there.example", noUser)
		r.OriginalType, r.Original = "utf-8", "käthe@there.example"
		return Notice{Kind: Failure, Message: m, Recipients: []Recipient{r}}
	},
	"international headers": func() Notice {
		m := message("From: jürgen@example.com\nSubject: Grüße\n\nHallo\n")
		m.Envelope.From, m.Envelope.UTF8, m.Envelope.Return = address("jürgen@example.com"), true, "HDRS"
		return Notice{Kind: Failure, Message: m, Recipients: []Recipient{to("käthe@there.example", noUser)}}
	},
	"long lines": func() Notice {
		s := noUser
		s.Text = strings.Repeat("y", 700) + " " + strings.Repeat("word ", 50)
		m := message("Subject: " + strings.Repeat("z", 3000) + "\nX-Bare: a\rb\x00c\n\n" + strings.Repeat("w", 2000) + "\n")
		return Notice{Kind: Failure, Message: m, Recipients: []Recipient{to("bob@there.example", s)}}
	},
	"no header": func() Notice {
		return Notice{Kind: Failure, Message: message("no header at all"), Recipients: []Recipient{to("bob@there.example", noUser)}}
	},
	"hostile": func() Notice {
		m := message("Message-ID: <a@b>\n\tBcc: <victim@example.org>\nSubject: =?utf-8?q?a=0D=0ABcc:_x?=\n\n--=_" + mail.ID(7).String() + ".0--\nend\n")
		m.Envelope.EnvID = "x\r\nAction: delivered"
		m.Origin.Helo = "x\r\ny"
		s := noUser
		s.Text, s.Remote = "line\r\nStatus: 2.0.0", "evil\r\nAction: delivered[1]:25"
		r := to("bob@there.example", s)
		r.OriginalType, r.Original = "rfc822\r\nAction: delivered", "a\r\n\r\nb"
		return Notice{Kind: Failure, Message: m, Recipients: []Recipient{r}}
	},
}

func write(t *testing.T, n Notice) *mail.Message {
	t.Helper()
	w, err := New(Options{Hostname: "mx.example.com", Postmaster: address("postmaster@example.com")})
	if err != nil {
		t.Fatal(err)
	}
	n.ID, n.At = 7, at
	m, err := w.Write(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func content(t *testing.T, m *mail.Message) []byte {
	t.Helper()
	r, err := m.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	for name, notice := range cases {
		t.Run(name, func(t *testing.T) {
			got := content(t, write(t, notice()))
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// Every notice is mail that any system takes, and says so of itself.
func TestEveryNoticeIsCleanMail(t *testing.T) {
	for name, notice := range cases {
		n := notice()
		m := write(t, n)
		b := content(t, m)
		if !clean(b) {
			t.Errorf("%s: bare CR or LF, NUL, or a line over 998 octets", name)
		}
		shape, err := mail.Scan(bytes.NewReader(b))
		if err != nil || shape != m.Shape {
			t.Errorf("%s: shape %+v, is %+v (%v)", name, m.Shape, shape, err)
		}
		eightBit := shape.EightBitBody
		if got := m.Envelope.Body == "8BITMIME"; got != eightBit {
			t.Errorf("%s: BODY=%q, eight bit %t", name, m.Envelope.Body, eightBit)
		}
		header, err := mail.ParseHeader(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for field, want := range map[string]string{"Auto-Submitted": "auto-replied", "MIME-Version": "1.0",
			"From": "Mail Delivery System <postmaster@example.com>", "To": n.Message.Envelope.From.Path()} {
			if all := header.All(field); len(all) != 1 || all[0].Value() != want {
				t.Errorf("%s: %s is %+v", name, field, all)
			}
		}
		if header.Has("Bcc") {
			t.Errorf("%s: a stranger wrote into our header", name)
		}
		cte := "7bit"
		if eightBit {
			cte = "8bit"
		}
		if got := header.All("Content-Transfer-Encoding"); len(got) != 1 || got[0].Value() != cte {
			t.Errorf("%s: encoding %v", name, got)
		}
		if m.Envelope.UTF8 != (n.Message.Envelope.UTF8) {
			t.Errorf("%s: SMTPUTF8 %t", name, m.Envelope.UTF8)
		}
		if !m.Envelope.From.IsNull() || len(m.Envelope.Recipients) != 1 || m.Envelope.Recipients[0].Address != n.Message.Envelope.From {
			t.Errorf("%s: envelope %+v", name, m.Envelope)
		}
		if m.Origin.Role != mail.RoleInternal || m.Origin.From.String() != "example.com" {
			t.Errorf("%s: origin %+v", name, m.Origin)
		}
		if len(b) > DefaultReturnLimit+20<<10 {
			t.Errorf("%s: %d octets", name, len(b))
		}
	}
}

// reader prints what Python's email package reads in a notice.
const reader = `
import email, email.policy, json, sys
raw = sys.stdin.buffer.read()
m = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
parts = list(m.iter_parts())
if parts[1].get_content_type() == 'message/delivery-status':
    groups = parts[1].get_payload()
else: # Python does not know the form of RFC 6533, and takes it for a message
    part = raw.split(b'\r\n--' + m.get_boundary().encode())[2].decode()
    groups = [email.message_from_string(g, policy=email.policy.SMTPUTF8) for g in part.split('\r\n\r\n')[1:]]
groups = [dict((k.lower(), v) for k, v in g.items()) for g in groups]
def defects(m):
    out = [repr(d) for d in m.defects]
    for p in (m.get_payload() if m.is_multipart() else []):
        out += defects(p)
    return out
print(json.dumps({
    'type': m.get_content_type(), 'report': m.get_param('report-type'), 'parts': [p.get_content_type() for p in parts],
    'text': parts[0].get_content(), 'groups': groups, 'defects': [repr(d) for d in m.defects] + defects(parts[0]) + defects(parts[1]),
}))
`

func TestPythonReadsIt(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("SKIPPED LOUDLY: no python3 here, so nobody but us has read the notices")
	}
	for name, notice := range cases {
		t.Run(name, func(t *testing.T) {
			n := notice()
			cmd := exec.Command(python, "-c", reader)
			cmd.Stdin = bytes.NewReader(content(t, write(t, n)))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got struct {
				Type, Report, Text string
				Parts, Defects     []string
				Groups             []map[string]string
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got.Type != "multipart/report" || len(got.Parts) != 3 || "message/"+got.Report != got.Parts[1] || len(got.Defects) > 0 {
				t.Errorf("%s, report-type %s, parts %v, defects %v", got.Type, got.Report, got.Parts, got.Defects)
			}
			if len(got.Groups) != 1+len(n.Recipients) {
				t.Fatalf("%d groups of fields: %v", len(got.Groups), got.Groups)
			}
			if got.Groups[0]["reporting-mta"] != "dns; mx.example.com" || got.Groups[0]["x-gatepost-id"] != n.Message.ID.String() {
				t.Errorf("about the message: %v", got.Groups[0])
			}
			for i, r := range n.Recipients {
				fields := got.Groups[1+i]
				wantAction := map[Kind]string{Failure: "failed", Delay: "delayed", Success: "relayed"}[n.Kind]
				if fields["action"] != wantAction || !strings.HasSuffix(fields["final-recipient"], "; "+r.Address.String()) || len(fields["status"]) < 5 {
					t.Errorf("recipient %d: %v", i, fields)
				}
			}
			if !strings.Contains(got.Text, n.Message.ID.String()) || !strings.Contains(got.Text, n.Recipients[0].Address.Path()) {
				t.Errorf("text: %s", got.Text)
			}
		})
	}
}

func TestDenied(t *testing.T) {
	m := message(simple)
	for _, c := range []struct {
		notify                  mail.Notify
		failure, delay, success bool
	}{
		{0, true, true, false},
		{mail.NotifyNever, false, false, false},
		{mail.NotifySuccess, false, false, true},
		{mail.NotifyFailure, true, false, false},
		{mail.NotifyDelay, false, true, false},
		{mail.NotifySuccess | mail.NotifyFailure | mail.NotifyDelay, true, true, true},
	} {
		r := mail.Recipient{Notify: c.notify}
		if Wanted(m, r, Failure) != c.failure || Wanted(m, r, Delay) != c.delay || Wanted(m, r, Success) != c.success {
			t.Errorf("NOTIFY %b: %t %t %t", c.notify, Wanted(m, r, Failure), Wanted(m, r, Delay), Wanted(m, r, Success))
		}
	}
	m.Origin.Confirmed = false
	if Denied(m, mail.Recipient{}, Failure) == "" {
		t.Error("backscatter")
	}
	m.Origin.Confirmed = true
	m.Envelope.From = mail.Address{}
	if Denied(m, mail.Recipient{Notify: mail.NotifyFailure}, Failure) == "" {
		t.Error("a notice to nobody")
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no hostname, no postmaster, no error")
	}
}

// A body that has gone is no reason to be silent; a store in trouble is one to
// try again.
func TestContentThatCannotBeRead(t *testing.T) {
	w, err := New(Options{Hostname: "mx.example.com", Postmaster: address("postmaster@example.com")})
	if err != nil {
		t.Fatal(err)
	}
	n := cases["failure"]()
	n.At = at
	n.Message.Content = gone{io.ErrUnexpectedEOF}
	if _, err := w.Write(context.Background(), n); err != nil {
		t.Errorf("body gone: %v", err)
	}
	n.Message.Content = gone{io.ErrClosedPipe}
	if _, err := w.Write(context.Background(), n); err == nil {
		t.Error("trouble is taken for the end of the body")
	}
}

type gone struct{ err error }

func (g gone) Size() int64                                 { return 100 }
func (g gone) Open(context.Context) (io.ReadCloser, error) { return io.NopCloser(g), nil }
func (g gone) Read([]byte) (int, error)                    { return 0, g.err }
