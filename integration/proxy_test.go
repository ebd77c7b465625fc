package integration

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const haproxyConfig = `
global
  stats socket %[1]s/stats level admin
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend smtp
  bind %[2]s
  default_backend gates
backend gates
  source ` + fromBalancer + `
  option smtpchk EHLO balancer.test
  server gate %[3]s %[4]s check check-send-proxy inter 200ms fall 2 rise 1
`

// haproxy is a running HAProxy in front of one gateway.
type haproxy struct {
	Addr, stats string
}

func startHAProxy(t *testing.T, gate, sendProxy string) *haproxy {
	t.Helper()
	dir := t.TempDir()
	h := &haproxy{freeAddress(t), filepath.Join(dir, "stats")}
	file := writeFile(t, dir, "haproxy.cfg", fmt.Sprintf(haproxyConfig, dir, h.Addr, gate, sendProxy))
	p := startProcess(t, nil, peer(t, "haproxy/usr/sbin/haproxy"), "-db", "-f", file)
	p.listening(h.Addr)
	return h
}

// state is what HAProxy's health check thinks of the gateway.
func (h *haproxy) state(t *testing.T) string {
	t.Helper()
	c, err := net.DialTimeout("unix", h.stats, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(c, "show stat gates 4 -1\n")
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return b.String()
		}
	}
}

// TestHAProxy: the client behind the balancer is the client: in Received, SPF,
// trace, and for relay clients. Health checks are well, and leave no mark.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(version, func(t *testing.T) {
			s := startSite(t, "", nil)
			h := startHAProxy(t, s.balanced, version)
			waitFor(t, 20*time.Second, "the health check to be well", func() bool {
				state := h.state(t)
				return strings.Contains(state, ",UP,") && strings.Contains(state, "L7OK")
			})
			reply := send(t, fromWorld, h.Addr, 250, "a@good.test", "bob@example.test", letter("a@good.test", "bob@example.test", "balanced", "x"))
			m := s.inside.wait(t, "Subject: balanced")
			contains(t, unfolded(m.Data), "(client.good.test ["+fromWorld+"])", "spf=pass", "iprev=pass policy.iprev="+fromWorld)
			lacks(t, string(m.Data), fromBalancer)
			s.traced(queuedID(t, reply), "client "+fromWorld)
			send(t, fromExchange, h.Addr, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "a relay client behind it", "x"))
			s.world.wait(t, "a relay client behind it")
			send(t, fromStranger, h.Addr, 550, "a@good.test", "carl@world.test", "")
			d, err := dialFrom(fromWorld, h.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer d.conn.Close()
			d.expect(t, 250, "EHLO client.good.test")
			if err := d.startTLS(); err != nil {
				t.Errorf("STARTTLS through the balancer: %v", err)
			}
			if state := h.state(t); !strings.Contains(state, ",UP,") {
				t.Errorf("the health check is not well any more: %s", state)
			}
			lacks(t, s.log.String(), `"client":"`+fromBalancer+`"`)
		})
	}
}

// v2 is a PROXY v2 header: command 0 is LOCAL, 1 PROXY, for TCP over IPv4.
func v2(command byte, source, destination string) string {
	b := "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{0x20 | command, 0x11, 0, 12})
	port := string([]byte{0x9c, 0x40, 0, 25})
	return b + string(net.ParseIP(source).To4()) + string(net.ParseIP(destination).To4()) + port
}

// TestProxyLocal: the balancer's own sessions (LOCAL, UNKNOWN) may say EHLO,
// NOOP and QUIT and nothing else.
func TestProxyLocal(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	for name, header := range map[string]string{
		"v2 LOCAL":               "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
		"v2 LOCAL with a client": v2(0, fromExchange, "127.0.0.1"),
		"v1 UNKNOWN":             "PROXY UNKNOWN\r\n",
	} {
		d := proxied(t, fromBalancer, s.balanced, header)
		if code, text, err := d.reply(); err != nil || code != 220 {
			t.Errorf("%s: banner %q, %v", name, text, err)
			continue
		}
		d.expect(t, 250, "EHLO balancer.test")
		d.expect(t, 250, "NOOP")
		for _, line := range []string{"MAIL FROM:<bob@example.test>", "RCPT TO:<bob@example.test>", "STARTTLS", "VRFY bob"} {
			if code, text, err := d.cmd(line); err == nil && (code < 400 || code == 421) && code != 421 {
				t.Errorf("%s: %s: %q", name, line, text)
			} else if err != nil || code == 421 {
				break
			}
		}
		d.cmd("QUIT")
	}
	if n := len(s.inside.all()) + len(s.world.all()); n != 0 {
		t.Errorf("%d messages arrived", n)
	}
}

// proxied connects and sends a header; the banner is not read yet.
func proxied(t *testing.T, local, address, header string) *dialogue {
	t.Helper()
	c, err := connectFrom(local, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d := newDialogue(c)
	if err := d.send(header); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestProxyRefused: from the balancer no banner without a header that is good;
// from anybody else a header is not believed, but a command that nobody knows.
func TestProxyRefused(t *testing.T) {
	t.Parallel()
	s := startSite(t, "", nil)
	good := "PROXY TCP4 " + fromExchange + " 127.0.0.1 40000 25\r\n"
	for name, header := range map[string]string{
		"no header":         "EHLO client.good.test\r\n",
		"broken v1":         "PROXY TCP4 " + fromExchange + " 127.0.0.1 x 25\r\n",
		"broken v2":         v2(1, fromExchange, "127.0.0.1")[:12] + "\x31\x11\x00\x0c",
		"an endless header": "PROXY TCP4 " + strings.Repeat("1", 4000) + "\r\n",
	} {
		d := proxied(t, fromBalancer, s.balanced, header)
		if code, text, err := d.reply(); err == nil && code < 400 {
			t.Errorf("%s: %q", name, text)
		}
	}
	for _, local := range []string{fromStranger, fromExchange} {
		for _, header := range []string{good, v2(1, fromExchange, "127.0.0.1")} {
			d := proxied(t, local, s.balanced, header)
			if code, text, err := d.reply(); err != nil || code != 220 {
				t.Errorf("banner: %q, %v", text, err)
			}
			if code, text, err := d.reply(); err == nil && code/100 != 5 {
				t.Errorf("a header from %s: %q", local, text)
			}
		}
	}
	d := proxied(t, fromBalancer, s.balanced, good+good)
	if code, text, err := d.reply(); err != nil || code != 220 {
		t.Errorf("banner: %q, %v", text, err)
	}
	if code, text, err := d.reply(); err == nil && code/100 != 5 {
		t.Errorf("a second header: %q", text)
	}
	if ready := s.ready(); ready != 200 {
		t.Errorf("ready %d", ready)
	}
}
