package integration

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// plain is AUTH PLAIN with the initial response.
func plain(user, password string) string { return "AUTH PLAIN " + b64("\x00"+user+"\x00"+password) }

// tlsSession opens a session that is encrypted from the first octet.
func tlsSession(t testing.TB, local, address string) *dialogue {
	t.Helper()
	d, err := dialFromTLS(local, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	d.expect(t, 250, "EHLO client.good.test")
	return d
}

func dialFromTLS(local, address string) (*dialogue, error) {
	c, err := connectFrom(local, address)
	if err != nil {
		return nil, err
	}
	return greeted(tls.Client(c, &tls.Config{InsecureSkipVerify: true}))
}

// secured opens a session, goes to TLS by STARTTLS and says EHLO again.
func secured(t testing.TB, local, address string) *dialogue {
	t.Helper()
	d := session(t, local, address)
	if err := d.startTLS(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	d.expect(t, 250, "EHLO client.good.test")
	return d
}

// TestUsers: AUTH PLAIN and LOGIN as clients speak them, by STARTTLS and
// implicit TLS; the mail is relayed and signed.
func TestUsers(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	dialogues := map[string][][2]string{ // what we send, and the code that must come
		"PLAIN initial response":         {{plain(siteUser, sitePassword), "235"}},
		"PLAIN challenge":                {{"AUTH PLAIN", "334"}, {b64("\x00" + siteUser + "\x00" + sitePassword), "235"}},
		"PLAIN authorization identity":   {{"AUTH PLAIN " + b64(siteUser+"\x00"+siteUser+"\x00"+sitePassword), "235"}},
		"LOGIN":                          {{"AUTH LOGIN", "334"}, {b64(siteUser), "334"}, {b64(sitePassword), "235"}},
		"LOGIN initial response":         {{"AUTH LOGIN " + b64(siteUser), "334"}, {b64(sitePassword), "235"}},
		"lower case, as some clients do": {{"auth login", "334"}, {b64(siteUser), "334"}, {b64(sitePassword), "235"}},
	}
	for name, lines := range dialogues {
		for way, d := range map[string]*dialogue{"STARTTLS": secured(t, fromStranger, s.submission), "implicit": tlsSession(t, fromStranger, s.submissions)} {
			for _, l := range lines {
				code, text, err := d.cmd(l[0])
				if err != nil || !strings.HasPrefix(text, l[1]) {
					t.Fatalf("%s, %s: %d %q, %v", name, way, code, text, err)
				}
			}
			subject := name + " by " + way
			code, text, err := d.transaction("bob@example.test", []string{"carl@world.test"}, letter("bob@example.test", "carl@world.test", subject, "x"))
			if err != nil || code != 250 {
				t.Errorf("%s: %q, %v", subject, text, err)
				continue
			}
			m := s.world.wait(t, "Subject: "+subject+"\r\n")
			contains(t, unfolded(m.Data), "with ESMTPSA id", "using TLSv1.3 with cipher", "d=example.test;")
			lacks(t, unfolded(m.Data), siteUser+";", "user="+siteUser)
			d.conn.Close()
		}
	}
	s.logged(`"user":"crm"`)
	lacks(t, s.log.String(), sitePassword)
}

// TestUsersNeedTLS: passwords are neither offered nor taken in the clear, and
// nothing goes without AUTH.
func TestUsersNeedTLS(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	d := session(t, fromStranger, s.submission)
	greeting := d.expect(t, 250, "EHLO again")
	contains(t, greeting, "STARTTLS")
	lacks(t, greeting, "AUTH")
	for _, line := range []string{plain(siteUser, sitePassword), "AUTH LOGIN", "AUTH PLAIN"} {
		code, text, err := d.cmd(line)
		if err != nil || !strings.Contains("538 503 530 502", text[:3]) {
			t.Errorf("%.10s in the clear: %d %q, %v", line, code, text, err)
		}
	}
	contains(t, d.expect(t, 530, "MAIL FROM:<bob@example.test>"), "5.7.0", "STARTTLS")
	d = secured(t, fromStranger, s.submission)
	contains(t, d.expect(t, 250, "EHLO again"), "AUTH PLAIN LOGIN")
	for _, d := range []*dialogue{d, tlsSession(t, fromStranger, s.submissions)} {
		code, text, err := d.transaction("bob@example.test", []string{"carl@world.test"}, letter("bob@example.test", "carl@world.test", "no AUTH", "x"))
		if err != nil || code/100 != 5 {
			t.Errorf("without AUTH: %q, %v", text, err)
		}
	}
	// Plain text behind STARTTLS is not taken into the encrypted session.
	d = session(t, fromStranger, s.submission)
	if err := d.send("STARTTLS\r\n" + plain(siteUser, sitePassword) + "\r\n"); err != nil {
		t.Fatal(err)
	}
	if code, text, err := d.reply(); err == nil && code == 220 {
		t.Errorf("STARTTLS with data behind it: %q", text)
	}
	// The mx and devices listeners offer no AUTH at all.
	for _, address := range []string{s.mx, s.devices} {
		d := secured(t, fromStranger, address)
		lacks(t, d.expect(t, 250, "EHLO again"), "AUTH")
		if code, text, _ := d.cmd(plain(siteUser, sitePassword)); code/100 != 5 {
			t.Errorf("AUTH on a listener without it: %q", text)
		}
	}
	if n := len(s.world.all()); n != 0 {
		t.Errorf("%d messages left", n)
	}
}

// TestUsersSendAs: a login is no licence to be anybody.
func TestUsersSendAs(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	for _, c := range []struct {
		from, header string
		code         int
	}{{"bob@example.test", "anna@example.test", 250}, {"bob@good.test", "bob@example.test", 550}, {"bob@example.test", "bob@good.test", 550}, {"", "bob@example.test", 250}} {
		d := secured(t, fromStranger, s.submission)
		d.expect(t, 235, plain(siteUser, sitePassword))
		code, text, err := d.transaction(c.from, []string{"carl@world.test"}, letter(c.header, "carl@world.test", "as", "x"))
		if err != nil || code != c.code {
			t.Errorf("<%s> %s: %q, %v; want %d", c.from, c.header, text, err, c.code)
		}
	}
}

// TestWrongPasswords: the same answer whatever was wrong, and an end to trying.
func TestWrongPasswords(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	d := secured(t, fromStranger, s.submission)
	tries := []string{plain(siteUser, "wrong"), plain("nobody", sitePassword), plain(siteUser, ""), plain("anna", "x"), plain("bob", "x")}
	first := ""
	for i, line := range tries {
		code, text, err := d.cmd(line)
		if err != nil || code != 535 {
			t.Fatalf("try %d: %q, %v", i, text, err)
		}
		if first == "" {
			first = text
		}
		if text != first {
			t.Errorf("another answer tells what was wrong: %q and %q", first, text)
		}
	}
	code, text, err := d.cmd("NOOP")
	if code != 421 && err == nil {
		t.Errorf("after %d failures the session goes on: %q", len(tries), text)
	}
	// Another session of the same client may still log in.
	d = secured(t, fromStranger, s.submission)
	d.expect(t, 235, plain(siteUser, sitePassword))
	d.expect(t, 503, plain(siteUser, sitePassword))
	s.logged(`"msg":"login denied"`)
	lacks(t, s.log.String(), sitePassword, b64("\x00"+siteUser+"\x00"+sitePassword))
}
