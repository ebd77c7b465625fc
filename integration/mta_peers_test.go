package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// isolated runs a shell script in a mount namespace of its own: files put over
// others there are not seen by the rest of the machine.
func isolated(t *testing.T, dir, script string) *process {
	t.Helper()
	asRoot(t, "mount namespace")
	file := writeFile(t, dir, "run.sh", "set -e\n"+script)
	return startProcess(t, nil, tool(t, "unshare"), "-m", "/bin/sh", file)
}

const eximConfig = `
exim_path = %[2]s/usr/sbin/exim4
primary_hostname = exim.test
spool_directory = %[1]s/spool
log_file_path = %[1]s/spool/%%slog
exim_user = mail
exim_group = mail
never_users =
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[3]s : %[5]s
tls_on_connect_ports = %[5]s
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = acl_rcpt
tls_advertise_hosts = *
tls_certificate = %[1]s/tls.crt
tls_privatekey = %[1]s/tls.key
chunking_advertise_hosts = *
prdr_enable = true
smtputf8_advertise_hosts = *
keep_environment =
begin acl
acl_rcpt:
  deny
    domains = members.test
    !authenticated = *
    message = members only
  defer
    local_parts = soft
    message = come back later
  deny
    local_parts = hard
    message = no such mailbox
  accept
begin routers
smart:
  driver = manualroute
  transport = out
  route_list = * 127.0.0.1::%[4]s byname
  self = send
begin transports
out:
  driver = smtp
  allow_localhost = true
  hosts_try_fastopen =
  hosts_avoid_tls = *
begin retry
* * F,2h,15m
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = ${if def:tls_in_cipher}
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{gate}}{eq{$auth3}{let me in}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_advertise_condition = ${if def:tls_in_cipher}
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{gate}}{eq{$auth2}{let me in}}}}
  server_set_id = $auth1
`

// exim is a running Exim; its certificate for exim.test is tls.crt in dir.
type exim struct {
	*process
	Addr, TLS string // plain with STARTTLS, and TLS from the first octet
	dir       string
}

// startExim runs Exim that relays to a sink. Debian's looks for the account it was
// built for, which only its installation makes.
func startExim(t *testing.T, end string) *exim {
	t.Helper()
	root := peer(t, "exim4-daemon-light")
	e := &exim{Addr: freeAddress(t), TLS: freeAddress(t), dir: openDir(t)}
	port := func(address string) string { _, p, _ := strings.Cut(address, ":"); return p }
	makeCertificate(t, filepath.Join(e.dir, "tls.crt"), filepath.Join(e.dir, "tls.key"), "exim.test")
	writeFile(t, e.dir, "etc/exim4.conf", fmt.Sprintf(eximConfig, e.dir, root, port(e.Addr), port(end), port(e.TLS)))
	writeFile(t, e.dir, "resolv.conf", "nameserver 127.0.0.1\nlookup file\n")
	e.process = isolated(t, e.dir, fmt.Sprintf(`
mkdir -p %[1]s/spool /etc/exim4
cp /etc/passwd /etc/group %[1]s/
grep -q '^Debian-exim:' %[1]s/group || echo 'Debian-exim:x:64003:' >>%[1]s/group
grep -q '^Debian-exim:' %[1]s/passwd || echo 'Debian-exim:x:64003:64003::/var/spool/exim4:/bin/false' >>%[1]s/passwd
chown mail:mail %[1]s/spool %[1]s/tls.crt %[1]s/tls.key
chmod 644 %[1]s/etc/exim4.conf %[1]s/resolv.conf %[1]s/passwd %[1]s/group
mount --bind %[1]s/passwd /etc/passwd
mount --bind %[1]s/group /etc/group
mount --bind %[1]s/etc /etc/exim4
mount --bind %[1]s/resolv.conf /etc/resolv.conf
exec %[2]s/usr/sbin/exim4 -bdf -q1m
`, e.dir, root))
	e.listening(e.Addr)
	return e
}

// verified are the options of a next hop that must be this Exim.
func (e *exim) verified() string {
	return fmt.Sprintf(`tls: {policy: verify, name: exim.test, ca: "%s/tls.crt"}`, e.dir)
}

// TestEximAsNextHop: Exim takes mail over verified TLS, in chunks where it offers that, and
// its answers are understood.
func TestEximAsNextHop(t *testing.T) {
	t.Parallel()
	end := startSink(t, nil)
	e := startExim(t, end.Addr)
	h := startHopGate(t, "smtp://"+e.Addr, map[string]string{"hop": e.verified()})
	checkNextHop(t, h, end, "by exim.test with esmtps")
}

// TestNextHopWithLogin: AUTH PLAIN and LOGIN towards a server, by STARTTLS and
// TLS from the first octet; a login that is refused loses no mail.
func TestNextHopWithLogin(t *testing.T) {
	t.Parallel()
	end := startSink(t, nil)
	e := startExim(t, end.Addr)
	login := func(mechanism, password string) map[string]string {
		return map[string]string{"hop": fmt.Sprintf(`%s, auth: {mechanism: %s, username: gate, password: "%s"}`, e.verified(), mechanism, password)}
	}
	for _, url := range []string{"smtp://" + e.Addr, "smtps://" + e.TLS} {
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			h := startHopGate(t, url, login(mechanism, "let me in"))
			subject := mechanism + " by " + url
			h.send("me@sender.test", []string{"carl@members.test"}, letter("me@sender.test", "carl@members.test", subject, "x"))
			contains(t, unfolded(end.wait(t, "Subject: "+subject).Data), "by exim.test with esmtpsa")
			lacks(t, h.log.String(), "let me in")
		}
	}
	h := startHopGate(t, "smtp://"+e.Addr, login("PLAIN", "wrong"))
	id := h.send("me@sender.test", []string{"carl@members.test"}, letter("me@sender.test", "carl@members.test", "wrong login", "x"))
	h.traced(id, "deferred", "535")
	h.mustRun("queue", "delete", id)
}

// checkNextHop sends to one recipient who exists, one who does not and one who
// does later, at a server whose mailboxes have these names.
func checkNextHop(t *testing.T, h *hopGate, end *sink, name string) {
	t.Helper()
	id := h.send("me@sender.test", []string{"carl@world.test", "hard@world.test", "soft@world.test"},
		letter("me@sender.test", "carl@world.test", "to a peer", "..dots\r\n.\r\nümlaut"))
	m := end.wait(t, "Subject: to a peer")
	contains(t, unfolded(m.Data), name, "by relay.example.test with ESMTP id "+id)
	contains(t, string(m.Data), "\r\n..dots\r\n.\r\nümlaut\r\n")
	if len(m.To) != 1 || m.To[0] != "carl@world.test" || m.From != "me@sender.test" {
		t.Errorf("arrived from <%s> to %v", m.From, m.To)
	}
	contains(t, string(h.back.wait(t, "report-type=delivery-status").Data), "Final-Recipient: rfc822; hard@world.test", "Action: failed")
	h.traced(id, "delivered", "bounced", "deferred")
	contains(t, h.mustRun("queue", "list"), "soft@world.test")
	h.mustRun("queue", "delete", id)
	// Many messages at once, over few connections.
	for i := range 20 {
		h.send("me@sender.test", []string{"carl@world.test"}, letter("me@sender.test", "carl@world.test", fmt.Sprintf("one of many %d", i), strings.Repeat("line\r\n", 1000)))
	}
	h.settled()
	for i := range 20 {
		end.wait(t, fmt.Sprintf("Subject: one of many %d\r\n", i))
	}
}

const opensmtpdConfig = `
table hard { hard@world.test }
listen on 127.0.0.1 port %[1]s hostname opensmtpd.test
action "out" relay host "smtp://%[2]s" helo "opensmtpd.test"
match from any for rcpt-to <hard> reject
match from any for any action "out"
`

// TestOpenSMTPDAsNextHop: without TLS, for the OpenSMTPD of Debian 12 signs by
// an interface that its OpenSSL 3 does not have any more.
func TestOpenSMTPDAsNextHop(t *testing.T) {
	t.Parallel()
	root := peer(t, "opensmtpd")
	end := startSink(t, nil)
	address, dir := freeAddress(t), openDir(t)
	_, port, _ := strings.Cut(address, ":")
	writeFile(t, dir, "smtpd.conf", fmt.Sprintf(opensmtpdConfig, port, end.Addr))
	p := isolated(t, dir, fmt.Sprintf(`
cp /etc/passwd /etc/group %[1]s/
grep -q '^opensmtpd:' %[1]s/group || printf 'opensmtpd:x:64001:\nopensmtpq:x:64002:\n' >>%[1]s/group
grep -q '^opensmtpd:' %[1]s/passwd || printf 'opensmtpd:x:64001:64001::/var/lib/opensmtpd/empty:/bin/false\nopensmtpq:x:64002:64002::/var/lib/opensmtpd/empty:/bin/false\n' >>%[1]s/passwd
mkdir -p %[1]s/spool %[1]s/lib/empty /var/spool/smtpd /var/lib/opensmtpd
chmod 711 %[1]s/spool
printf 'nameserver 127.0.0.1\nlookup file\n' >%[1]s/resolv.conf
chmod 644 %[1]s/passwd %[1]s/group %[1]s/resolv.conf
mount --bind %[1]s/passwd /etc/passwd
mount --bind %[1]s/group /etc/group
mount --bind %[1]s/resolv.conf /etc/resolv.conf
mount --bind %[1]s/spool /var/spool/smtpd
mount --bind %[1]s/lib /var/lib/opensmtpd
exec %[2]s/usr/sbin/smtpd -d -f %[1]s/smtpd.conf
`, dir, root))
	p.listening(address)
	h := startHopGate(t, "smtp://"+address, nil)
	id := h.send("me@sender.test", []string{"carl@world.test", "hard@world.test"}, letter("me@sender.test", "carl@world.test", "to OpenSMTPD", "..dots\r\n.\r\nx"))
	m := end.wait(t, "Subject: to OpenSMTPD")
	contains(t, unfolded(m.Data), "by opensmtpd.test (OpenSMTPD) with ESMTP")
	contains(t, string(m.Data), "\r\n..dots\r\n.\r\nx\r\n")
	contains(t, string(h.back.wait(t, "report-type=delivery-status").Data), "Final-Recipient: rfc822; hard@world.test")
	h.traced(id, "delivered", "bounced")
}
