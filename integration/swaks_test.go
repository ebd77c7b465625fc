package integration

import (
	"strings"
	"testing"
)

// TestSwaks: the lines that administrators type, and what arrives.
func TestSwaks(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	s := startSite(t, "", nil)
	s.keys()
	login := "--auth-user " + siteUser + " --auth-password @ --from bob@example.test --to carl@world.test"
	in := "--from a@good.test --to bob@example.test"
	proxied := "--local-interface " + fromBalancer + " --proxy-source " + fromWorld + " --proxy-source-port 40000 --proxy-dest 127.0.0.1 --proxy-dest-port 25 "
	for _, c := range []struct {
		name, server, args string
		inside             bool
		want               []string
	}{
		{"plain", s.mx, "--local-interface " + fromWorld + " " + in, true, []string{"spf=pass", "with ESMTP id"}},
		{"STARTTLS", s.mx, "--tls --local-interface " + fromWorld + " " + in, true, []string{"spf=pass", "with ESMTPS id"}},
		{"HELO", s.mx, "--protocol SMTP --local-interface " + fromWorld + " " + in, true, []string{"with SMTP id"}},
		{"pipeline", s.mx, "--pipeline --local-interface " + fromWorld + " " + in, true, []string{"with ESMTP id"}},
		{"AUTH PLAIN", s.submission, "--tls --auth PLAIN " + login, false, []string{"with ESMTPSA id", "d=example.test;"}},
		{"AUTH LOGIN", s.submission, "--tls --auth LOGIN " + login, false, []string{"with ESMTPSA id", "d=example.test;"}},
		{"implicit TLS", s.submissions, "--tls-on-connect --auth PLAIN " + login, false, []string{"with ESMTPSA id"}},
		{"pipeline inside TLS", s.submission, "--tls --pipeline --auth PLAIN " + login, false, []string{"with ESMTPSA id"}},
		{"TLS 1.2", s.submission, "--tls --tls-protocol tlsv1_2 --auth PLAIN " + login, false, []string{"using TLSv1.2"}},
		{"PROXY v1", s.balanced, proxied + "--proxy-family TCP4 " + in, true, []string{"spf=pass", "[" + fromWorld + "]"}},
		{"PROXY v2", s.balanced, proxied + "--proxy-version 2 --proxy-family AF_INET --proxy-protocol STREAM " + in, true, []string{"spf=pass", "[" + fromWorld + "]"}},
		{"PROXY v2 and TLS", s.balanced, "--tls " + proxied + "--proxy-version 2 --proxy-family AF_INET --proxy-protocol STREAM " + in, true, []string{"spf=pass", "with ESMTPS id"}},
	} {
		args := strings.Fields("--ehlo client.good.test --server " + c.server + " " + c.args)
		for i := range args {
			if args[i] == "@" {
				args[i] = sitePassword
			}
		}
		out, err := output(nil, nil, swaks, append(args, "--header", "Subject: swaks "+c.name, "--body", "..first\n.\nümlaut")...)
		if err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, out)
			continue
		}
		contains(t, out, "queued as ")
		end := s.world
		if c.inside {
			end = s.inside
		}
		m := end.wait(t, "Subject: swaks "+c.name+"\r\n")
		contains(t, unfolded(m.Data), c.want...)
		contains(t, string(m.Data), "\r\n..first\r\n.\r\nümlaut\r\n")
	}
}

// TestSwaksRefused: what must not work.
func TestSwaksRefused(t *testing.T) {
	t.Parallel()
	swaks := tool(t, "swaks")
	s := startSite(t, "", nil)
	relay := " --from a@good.test --to carl@world.test"
	for name, args := range map[string]string{
		"relay for a stranger":         s.mx + relay,
		"login in the clear":           s.submission + " --auth PLAIN --auth-user " + siteUser + " --auth-password x --from bob@example.test --to carl@world.test",
		"wrong password":               s.submission + " --tls --auth PLAIN --auth-user " + siteUser + " --auth-password wrong --from bob@example.test --to carl@world.test",
		"TLS 1.1":                      s.submission + " --tls --tls-protocol tlsv1_1 --from bob@example.test --to carl@world.test",
		"no PROXY from the balancer":   s.balanced + " --timeout 2 --local-interface " + fromBalancer + " --from a@good.test --to bob@example.test",
		"PROXY from a stranger":        s.balanced + " --local-interface " + fromStranger + " --proxy-family TCP4 --proxy-source " + fromExchange + " --proxy-source-port 4000 --proxy-dest 127.0.0.1 --proxy-dest-port 25" + relay,
		"a stranger without PROXY":     s.balanced + " --local-interface " + fromStranger + relay,
		"PROXY where nobody speaks it": s.mx + " --local-interface " + fromBalancer + " --proxy-family TCP4 --proxy-source " + fromExchange + " --proxy-source-port 4000 --proxy-dest 127.0.0.1 --proxy-dest-port 25" + relay,
		"the balancer is no client":    s.balanced + " --local-interface " + fromBalancer + " --proxy-family TCP4 --proxy-source " + fromStranger + " --proxy-source-port 4000 --proxy-dest 127.0.0.1 --proxy-dest-port 25" + relay,
	} {
		out, err := output(nil, nil, swaks, strings.Fields("--ehlo client.good.test --server "+args)...)
		if err == nil {
			t.Errorf("%s: it was relayed\n%s", name, out)
		}
		lacks(t, out, "queued as")
	}
	if n := len(s.world.all()) + len(s.inside.all()); n != 0 {
		t.Errorf("%d messages arrived", n)
	}
}
