package integration

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The accounts that Postfix runs under: of every Debian system, so that a test
// need not make new ones.
const (
	postfixOwner  = "news"
	postfixSetgid = "games"
)

const postfixMain = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
daemon_directory = %[2]s/usr/lib/postfix/sbin
command_directory = %[2]s/usr/sbin
shlib_directory = %[2]s/usr/lib/postfix
meta_directory = %[2]s/etc/postfix
mail_owner = ` + postfixOwner + `
setgid_group = ` + postfixSetgid + `
import_environment = MAIL_CONFIG LD_LIBRARY_PATH
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/mail.log
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtp_host_lookup = native
smtp_tls_security_level = none
%[3]s
`

const postfixMaster = `
%s inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`

// postfix is a running Postfix.
type postfix struct {
	*process
	Addr string
	dir  string
}

// startPostfix runs Postfix with more lines for its main.cf, in which
// {{dir}} is a directory with tls.crt and tls.key for postfix.test.
func startPostfix(t *testing.T, main string) *postfix {
	t.Helper()
	asRoot(t, "Postfix's master changes to other users")
	root := peer(t, "postfix")
	owner, err := user.Lookup(postfixOwner)
	if err != nil {
		t.Skipf("SKIPPED: no account %s for Postfix: %v", postfixOwner, err)
	}
	p := &postfix{Addr: freeAddress(t), dir: openDir(t)}
	makeCertificate(t, filepath.Join(p.dir, "tls.crt"), filepath.Join(p.dir, "tls.key"), "postfix.test")
	writeFile(t, p.dir, "etc/main.cf", fmt.Sprintf(postfixMain, p.dir, root, strings.ReplaceAll(main, "{{dir}}", p.dir)))
	writeFile(t, p.dir, "etc/master.cf", fmt.Sprintf(postfixMaster, p.Addr))
	p.directories(t, owner)
	libraries := "LD_LIBRARY_PATH=" + filepath.Join(root, "usr/lib/postfix")
	p.process = startProcess(t, []string{libraries}, filepath.Join(root, "usr/lib/postfix/sbin/master"), "-c", filepath.Join(p.dir, "etc"), "-d", "-s")
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(p.dir, "mail.log"))
			t.Logf("log of Postfix:\n%s", tail(string(b)))
		}
	})
	p.listening(p.Addr)
	return p
}

// directories makes the queue as `postfix check` would.
func (p *postfix) directories(t *testing.T, owner *user.User) {
	t.Helper()
	uid, _ := strconv.Atoi(owner.Uid)
	group, err := user.LookupGroup(postfixSetgid)
	if err != nil {
		t.Skipf("SKIPPED: no group %s for Postfix: %v", postfixSetgid, err)
	}
	gid, _ := strconv.Atoi(group.Gid)
	make := func(name string, uid, gid int, mode os.FileMode) {
		path := filepath.Join(p.dir, name)
		err := os.MkdirAll(path, 0o755)
		if err == nil {
			err = os.Chown(path, uid, gid)
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	make("queue", 0, 0, 0o755)
	make("queue/pid", 0, 0, 0o755)
	make("data", uid, -1, 0o700)
	for _, q := range strings.Fields("active bounce corrupt defer deferred flush hold incoming private saved trace") {
		make("queue/"+q, uid, -1, 0o700)
	}
	make("queue/maildrop", uid, gid, 0o730)
	make("queue/public", uid, gid, 0o710)
}

// openDir is a temporary directory that other users may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestPostfixAsClient: Postfix relays through the gateway as smarthost, by
// address and pipelined, with STARTTLS, and with AUTH inside TLS.
func TestPostfixAsClient(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	s.keys()
	for _, c := range []struct{ name, to, main, want string }{
		{"by address", s.mx, "smtp_bind_address = " + fromExchange, "with ESMTP id"},
		{"STARTTLS", s.mx, "smtp_bind_address = " + fromExchange + "\nsmtp_tls_security_level = encrypt", "with ESMTPS id"},
		{"AUTH", s.submission, "smtp_tls_security_level = encrypt\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\n" +
			"smtp_sasl_password_maps = static:{" + siteUser + ":" + sitePassword + "}", "with ESMTPSA id"},
		{"AUTH by implicit TLS", s.submissions, "smtp_tls_security_level = encrypt\nsmtp_tls_wrappermode = yes\nsmtp_sasl_auth_enable = yes\n" +
			"smtp_sasl_security_options = noanonymous\nsmtp_sasl_password_maps = static:{" + siteUser + ":" + sitePassword + "}", "with ESMTPSA id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPostfix(t, "relayhost = ["+strings.Replace(c.to, ":", "]:", 1)+"\n"+c.main)
			for i := range 3 {
				subject := fmt.Sprintf("%s %d", c.name, i)
				data := letter("bob@example.test", "carl@world.test", subject, "..dots\r\n.\r\nümlaut\r\n"+strings.Repeat("long ", 150))
				if code, text, err := deliver(p.Addr, "client.test", "bob@example.test", []string{"carl@world.test", "dora@world.test"}, data); err != nil || code != 250 {
					t.Fatalf("Postfix says %q, %v", text, err)
				}
			}
			m := s.world.wait(t, "Subject: "+c.name+" 2\r\n")
			contains(t, unfolded(m.Data), c.want, "from postfix.test", "d=example.test;")
			contains(t, string(m.Data), "\r\n..dots\r\n.\r\nümlaut\r\nlong long")
			if len(m.To) != 2 || m.From != "bob@example.test" {
				t.Errorf("arrived from <%s> to %v", m.From, m.To)
			}
		})
	}
}

// TestPostfixLearnsRefusals: what we refuse a stranger reaches the sender by
// Postfix's bounce, reason and all.
func TestPostfixLearnsRefusals(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	bounces := startSink(t, nil)
	p := startPostfix(t, "smtp_bind_address = "+fromStranger+"\nrelayhost = ["+strings.Replace(s.mx, ":", "]:", 1)+
		"\ntransport_maps = inline:{ back.test=smtp:["+strings.Replace(bounces.Addr, ":", "]:", 1)+" }")
	for to, want := range map[string]string{"nobody@example.test": "5.1.1", "carl@world.test": "5.7.1"} {
		data := letter("me@back.test", to, "refused", "x")
		if code, text, err := deliver(p.Addr, "client.test", "me@back.test", []string{to}, data); err != nil || code != 250 {
			t.Fatalf("Postfix says %q, %v", text, err)
		}
		m := bounces.wait(t, "Final-Recipient: rfc822; "+to)
		contains(t, string(m.Data), "smtp; 550 "+want, "Status: "+want)
	}
}

// TestPostfixAsNextHop: Postfix takes mail from the gateway over verified TLS;
// its 5xx come back as a notice at once, its 4xx are tried again.
func TestPostfixAsNextHop(t *testing.T) {
	t.Parallel()
	end := startSink(t, nil)
	p := startPostfix(t, "relayhost = ["+strings.Replace(end.Addr, ":", "]:", 1)+`
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {{dir}}/tls.crt
smtpd_tls_key_file = {{dir}}/tls.key
smtpd_tls_received_header = yes
smtpd_recipient_restrictions = check_recipient_access inline:{ {hard@world.test = 550 5.2.1 mailbox is closed} {soft@world.test = 450 4.2.2 mailbox is full} }, permit_mynetworks, reject
`)
	h := startHopGate(t, "smtp://"+p.Addr, map[string]string{"hop": `tls: {policy: verify, name: postfix.test, ca: "` + p.dir + `/tls.crt"}`})
	id := h.send("me@sender.test", []string{"carl@world.test", "hard@world.test", "soft@world.test"}, letter("me@sender.test", "carl@world.test", "to Postfix", "..dots\r\n.\r\nümlaut"))
	m := end.wait(t, "Subject: to Postfix")
	contains(t, unfolded(m.Data), "(using TLSv1.3 with cipher", "by postfix.test (Postfix) with ESMTPS", "by relay.example.test with ESMTP id "+id)
	contains(t, string(m.Data), "\r\n..dots\r\n.\r\nümlaut\r\n")
	if len(m.To) != 1 || m.To[0] != "carl@world.test" {
		t.Errorf("arrived for %v", m.To)
	}
	notice := h.back.wait(t, "report-type=delivery-status")
	contains(t, string(notice.Data), "Final-Recipient: rfc822; hard@world.test", "550 5.2.1", "mailbox is closed")
	lacks(t, string(notice.Data), "Final-Recipient: rfc822; soft@world.test", "Final-Recipient: rfc822; carl@world.test")
	h.traced(id, "<carl@world.test>", "delivered", "bounced", "deferred", "450 4.2.2", "mailbox is full", "TLS 1.3")
	contains(t, h.mustRun("queue", "list"), "soft@world.test", "4.2.2")
	h.mustRun("queue", "delete", id)
}

// TestPostfixNotVerified: a server with another certificate gets no mail.
func TestPostfixNotVerified(t *testing.T) {
	t.Parallel()
	end := startSink(t, nil)
	p := startPostfix(t, "relayhost = ["+strings.Replace(end.Addr, ":", "]:", 1)+`
smtpd_tls_security_level = may
smtpd_tls_cert_file = {{dir}}/tls.crt
smtpd_tls_key_file = {{dir}}/tls.key
`)
	h := startHopGate(t, "smtp://"+p.Addr, map[string]string{"hop": `tls: {policy: verify, name: other.test, ca: "` + p.dir + `/tls.crt"}`})
	id := h.send("me@sender.test", []string{"carl@world.test"}, letter("me@sender.test", "carl@world.test", "unverified", "x"))
	h.traced(id, "deferred", "4.7.5")
	if n := len(end.all()); n != 0 {
		t.Errorf("%d messages went to a server that is not who it should be", n)
	}
	h.mustRun("queue", "delete", id)
}
