package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/dnsx/zone"
)

// corpus are messages that have broken signatures of other programs. Each is
// sent as it stands; {{name}} is its name, for the Subject.
func corpus() map[string]string {
	head := func(more string) string {
		return "From: Bob <me@sender.test>\r\nTo: carl@world.test\r\nSubject: {{name}}\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{{name}}@sender.test>\r\n" + more
	}
	mime := func(kind, encoding string) string {
		return "MIME-Version: 1.0\r\nContent-Type: " + kind + "\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n"
	}
	part := func(boundary, kind, encoding, body string) string {
		return "--" + boundary + "\r\nContent-Type: " + kind + "\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body + "\r\n"
	}
	nested := part("b1", "text/plain; charset=utf-8", "8bit", "Grüße\r\n.\r\n..x") +
		"--b1\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n" +
		part("b2", "text/html; charset=utf-8", "8bit", "<p>ü</p>"+strings.Repeat("y", 900)) + part("b2", "text/plain", "7bit", "") + "--b2--\r\n" +
		"--b1\r\nContent-Type: message/rfc822\r\n\r\nFrom: inner@other.test\r\nSubject: inner\r\n\r\n.inner 8-bit ä\r\n" + "--b1--\r\nepilogue\r\n\r\n"
	return map[string]string{
		"plain":             head("") + "\r\nHello\r\n",
		"no-body":           head("") + "\r\n",
		"no-empty-line":     head(""),
		"one-empty-line":    head("") + "\r\n\r\n",
		"empty-last-lines":  head("") + "\r\nHello\r\n\r\n\r\n\r\n",
		"blanks-at-ends":    head("") + "\r\nHello \t \r\n \t\r\n   \r\n",
		"dot-lines":         head("") + "\r\n.\r\n..\r\n.x\r\n...\r\nx.\r\n",
		"long-lines":        head("") + "\r\n" + strings.Repeat("0123456789", 200) + "\r\n" + strings.Repeat("z", 998) + "\r\n",
		"8bit":              head(mime("text/plain; charset=utf-8", "8bit")) + "Zażółć gęślą jaźń\r\n" + strings.Repeat("ä", 400) + "\r\n= =20 =\r\nFrom here\r\n",
		"latin1":            head(mime("text/plain; charset=iso-8859-1", "8bit")) + "\xe4\xf6\xfc\r\n",
		"8bit-undeclared":   head("") + "\r\nd\xc3\xa9j\xc3\xa0 vu\r\n",
		"base64":            head(mime("application/octet-stream", "base64")) + strings.Repeat("QUJDREVG", 9) + "\r\n" + "QQ==\r\n",
		"nested-mime":       head("MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"b1\"\r\n\r\n") + "preamble\r\n" + nested,
		"duplicate-headers": "X-Dup: 1\r\nX-Dup: 2\r\n" + head("List-Unsubscribe: <https://a.test>\r\nComments: 1\r\nList-Unsubscribe: <https://b.test>\r\nComments: 2\r\n") + "\r\nx\r\n",
		"duplicate-singles": head("To: second@world.test\r\nSubject: {{name}} again\r\nReply-To: a@sender.test\r\nReply-To: b@sender.test\r\n") + "\r\nx\r\n",
		"folded-headers":    "Subject:\r\n\t{{name}}\r\n  folded  \r\n \t here \r\nFROM: \"Bob, B.\"\r\n <me@sender.test>\r\nto:carl@world.test\r\nCC:\r\n dora@world.test,\r\n\temil@world.test\r\n\r\nx\r\n",
		"encoded-words":     head("Reply-To: =?utf-8?q?B=C3=B6b?= <b@sender.test>\r\nList-Unsubscribe: <https://sender.test/u>\r\n") + "\r\nx\r\n",
		"utf8-header":       head("Cc: Jörg Müller <joerg@world.test>\r\nX-Note: ünï\r\n") + "\r\nx\r\n",
		"colons-and-blanks": head("In-Reply-To:\t<a@b>\r\nReferences: <a@b>   <c@d>\r\n\t<e@f>\r\n") + "\r\nx  y \t z\r\n",
		"large":             head("") + "\r\n" + strings.Repeat(strings.Repeat("line of a large message ", 3)+"\r\n", 20000),
	}
}

// sendRaw sends octets as they are, with BODY and SMTPUTF8 as they need.
func (h *hopGate) sendRaw(t *testing.T, params, data string) {
	t.Helper()
	d := mustDial(t, h.in)
	defer d.conn.Close()
	d.expect(t, 250, "EHLO client.test")
	d.expect(t, 250, "MAIL FROM:<me@sender.test>"+params)
	d.expect(t, 250, "RCPT TO:<carl@world.test>")
	if err := d.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(data), data)); err != nil {
		t.Fatal(err)
	}
	if code, text, err := d.reply(); err != nil || code != 250 {
		t.Fatalf("%.200q: %q, %v", data, text, err)
	}
}

// signedCorpus sends the corpus through the real binary to a sink, with or
// without 8BITMIME there, and writes what arrived to files; it gives the DNS
// lines of the keys too.
func signedCorpus(t *testing.T, offer8Bit bool) (dir, records string) {
	t.Helper()
	end := startBareSink(t, "PIPELINING")
	if offer8Bit {
		end = startSink(t, nil)
	}
	h := startHopGate(t, "smtp://"+end.Addr, nil)
	h.mustRun("dkim", "create", "sender.test", "--algorithm", "rsa-2048", "--selector", "r1", "--activate")
	h.mustRun("dkim", "create", "sender.test", "--algorithm", "ed25519", "--selector", "e1", "--activate")
	dir = t.TempDir()
	for name, data := range corpus() {
		params := " BODY=8BITMIME"
		if name == "utf8-header" {
			if !offer8Bit {
				continue // it cannot be converted, and is bounced (RFC 6531 section 3.6)
			}
			params += " SMTPUTF8"
		}
		h.sendRaw(t, params, strings.ReplaceAll(data, "{{name}}", name))
	}
	h.settled()
	for _, m := range end.all() {
		_, rest, _ := strings.Cut(unfolded(m.Data), "\nSubject:")
		name := strings.Fields(rest)[0]
		if !offer8Bit {
			checkSevenBit(t, name, m.Data)
		}
		if err := os.WriteFile(filepath.Join(dir, name), m.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, h.mustRun("dkim", "dns", "sender.test")
}

func checkSevenBit(t *testing.T, name string, data []byte) {
	t.Helper()
	for _, c := range data {
		if c >= 0x80 {
			t.Errorf("%s went as 8-bit to a server without 8BITMIME", name)
			return
		}
	}
}

// wantFiles are the corpus files that must have arrived.
func wantFiles(t *testing.T, dir string, downgraded bool) int {
	t.Helper()
	n := 0
	for name := range corpus() {
		if downgraded && name == "utf8-header" {
			continue
		}
		n++
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || bytes.Count(b, []byte("\nDKIM-Signature:"))+bytes.Count(b[:15], []byte("DKIM-Signature:")) != 2 {
			t.Errorf("%s did not arrive with two signatures: %v", name, err)
		}
	}
	return n
}

// verifyPython checks every signature of every file with dkimpy.
const verifyPython = `
import dkim, os, re, sys
records = {}
for line in open(sys.argv[2], encoding="ascii"):
    if "TXT" in line:
        name = line.split()[0].rstrip(".")
        records[name] = "".join(re.findall(r'"([^"]*)"', line)).encode()
def dns(name, timeout=5):
    return records.get(name.decode().rstrip("."))
for name in sorted(os.listdir(sys.argv[1])):
    message = open(os.path.join(sys.argv[1], name), "rb").read()
    d = dkim.DKIM(message, minkey=1024)
    n = sum(1 for k, v in d.headers if k.lower() == b"dkim-signature")
    for i in range(n):
        d = dkim.DKIM(message, minkey=1024)
        try:
            good = d.verify(idx=i, dnsfunc=dns)
        except Exception as e:
            good = repr(e)
        print("good" if good is True else "BAD", name, d.signature_fields.get(b"a"), good)
`

// TestDKIMByPython: dkimpy accepts our signatures over the corpus, RSA and
// Ed25519, also behind the conversion for a server without 8BITMIME; and it
// refuses them once a message was changed.
func TestDKIMByPython(t *testing.T) {
	t.Parallel()
	for _, offered := range []bool{true, false} {
		t.Run(fmt.Sprintf("8BITMIME offered %t", offered), func(t *testing.T) {
			dir, records := signedCorpus(t, offered)
			n := wantFiles(t, dir, !offered)
			zoneFile := writeFile(t, t.TempDir(), "zone", records)
			out := python(t, "dkim, nacl", verifyPython, nil, dir, zoneFile)
			lacks(t, out, "BAD")
			if got := strings.Count(out, "good "); got != 2*n {
				t.Errorf("%d signatures verified, want %d\n%s", got, 2*n, out)
			}
			spoil(t, dir)
			if out := python(t, "dkim, nacl", verifyPython, nil, dir, zoneFile); strings.Contains(out, "good ") {
				t.Errorf("dkimpy verifies changed messages, so it proves nothing:\n%s", out)
			}
		})
	}
}

// spoil changes the body of every file.
func spoil(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, append(b, "\r\n\r\nchanged\r\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDKIMByOpenDKIM: libopendkim accepts them too. It looks keys up by the
// system's resolver, so it runs with a resolv.conf of its own.
func TestDKIMByOpenDKIM(t *testing.T) {
	t.Parallel()
	asRoot(t, "a resolver on port 53 of a loopback address")
	testmsg := tool(t, "opendkim-testmsg")
	for _, offered := range []bool{true, false} {
		t.Run(fmt.Sprintf("8BITMIME offered %t", offered), func(t *testing.T) {
			dir, records := signedCorpus(t, offered)
			wantFiles(t, dir, !offered)
			resolver := fmt.Sprintf("127.0.54.%d", 1+os.Getpid()%200)
			z, err := zone.ParseString(records)
			if err != nil {
				t.Fatal(err)
			}
			server, err := zone.NewServer(resolver+":53", z)
			if err != nil {
				t.Skipf("SKIPPED: no port 53 on %s: %v", resolver, err)
			}
			defer server.Close()
			conf := writeFile(t, t.TempDir(), "resolv.conf", "nameserver "+resolver+"\n")
			check := func(file, algorithm string) (string, error) {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				return output(onlySignature(b, algorithm), nil, tool(t, "unshare"), "-m", "/bin/sh", "-c", `mount --bind "$1" /etc/resolv.conf && exec "$2"`, "sh", conf, testmsg)
			}
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if filepath.Base(f) == "duplicate-singles" {
					continue // OpenDKIM looks at no message that RFC 5322 section 3.6 does not allow
				}
				for _, algorithm := range []string{"rsa-sha256", "ed25519-sha256"} {
					if out, err := check(f, algorithm); err != nil || out != "" {
						t.Errorf("%s, %s: %v %s", filepath.Base(f), algorithm, err, out)
					}
				}
			}
			spoil(t, dir)
			for _, algorithm := range []string{"rsa-sha256", "ed25519-sha256"} {
				if out, err := check(files[0], algorithm); err == nil && out == "" {
					t.Errorf("opendkim-testmsg accepts a changed message with %s, so it proves nothing", algorithm)
				}
			}
		})
	}
}

// onlySignature leaves out the signatures by other algorithms: one that is
// good would do for all.
func onlySignature(message []byte, algorithm string) []byte {
	parts := strings.SplitAfter(string(message), "\r\n")
	var out []string
	for i := 0; i < len(parts); {
		j := i + 1
		for j < len(parts) && (strings.HasPrefix(parts[j], " ") || strings.HasPrefix(parts[j], "\t")) {
			j++
		}
		if !strings.HasPrefix(parts[i], "DKIM-Signature:") {
			out = append(out, parts[i:]...)
			break
		}
		if field := strings.Join(parts[i:j], ""); strings.Contains(field, "a="+algorithm) {
			out = append(out, field)
		}
		i = j
	}
	return []byte(strings.Join(out, ""))
}
