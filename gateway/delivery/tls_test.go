package delivery

import (
	"crypto/tls"
	"strings"
	"testing"

	"gatepost/gateway/delivery/smtptest"
	"gatepost/telemetry"
)

const (
	offer = `
	S: 220 test
	C: EHLO gw.example
	S: 250-test
	S: 250 STARTTLS
	C: STARTTLS
	S: 220 go
	T:
`
	inside = `
	C: EHLO gw.example
	S: 250-test
	S: 250-AUTH LOGIN PLAIN
	S: 250 PIPELINING
`
	plainHello = `
	S: 220 test
	C: EHLO gw.example
	S: 250-test
	S: 250 PIPELINING
`
	ok       = "250 2.0.0 queued as X"
	tlsSite  = "site 451 4.7.5 TLS with the next hop failed: "
	noTLS    = "site 451 4.7.4 Next hop does not offer TLS, which is required"
	refuses  = "S: 220 x\nC: EHLO*\nS: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 not now\nW:"
	breaks   = "S: 220 x\nC: EHLO*\nS: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nX:"
	injects  = "S: 220 x\nC: EHLO*\nS: 250-x\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nS: 250 evil\nW:"
	fallback = plainHello + transfer + quit
)

func TestTLSPolicies(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	ca, _, _ := authority.Files(authority.Certificate("unused"))
	otherCA, _, _ := smtptest.NewAuthority(t).Files(authority.Certificate("unused"))
	good := offer + inside + transfer + quit
	for name, test := range map[string]struct {
		rule    TLS
		scripts []string
		want    string
		tls     bool
	}{
		"off":                            {TLS{Policy: TLSOff}, []string{plainHello + transfer + quit}, ok, false},
		"off, offered":                   {TLS{Policy: TLSOff}, []string{"S: 220 x\nC: EHLO*\nS: 250-x\nS: 250-STARTTLS\nS: 250 PIPELINING\n" + transfer + quit}, ok, false},
		"opportunistic":                  {TLS{}, []string{good}, ok, true},
		"opportunistic, not offered":     {TLS{}, []string{fallback}, ok, false},
		"opportunistic, refused":         {TLS{}, []string{refuses, fallback[:len(plainHello)] + transfer + quit}, ok, false},
		"opportunistic, broken":          {TLS{}, []string{breaks, fallback}, ok, false},
		"opportunistic, injected":        {TLS{}, []string{injects, fallback}, ok, false},
		"require":                        {TLS{Policy: TLSRequire}, []string{good}, ok, true},
		"require, not offered":           {TLS{Policy: TLSRequire}, []string{plainHello + "W:"}, noTLS, false},
		"require, refused":               {TLS{Policy: TLSRequire}, []string{refuses}, tlsSite + "454 4.7.0 not now", false},
		"require, broken":                {TLS{Policy: TLSRequire}, []string{breaks}, tlsSite + "the server closed it", false},
		"require, injected":              {TLS{Policy: TLSRequire}, []string{injects}, tlsSite + "plaintext behind the reply to STARTTLS", false},
		"verify":                         {TLS{Policy: TLSVerify, CA: ca}, []string{good}, ok, true},
		"verify, other name is wanted":   {TLS{Policy: TLSVerify, CA: ca, Name: "mail.corp.example"}, []string{good}, ok, true},
		"verify, name is wrong":          {TLS{Policy: TLSVerify, CA: ca, Name: "other.example"}, []string{offer + "W:"}, tlsSite + "tls: failed to verify certificate: x509: certificate is valid for*", false},
		"verify, authority is not known": {TLS{Policy: TLSVerify, CA: otherCA}, []string{offer + "W:"}, tlsSite + "tls: failed to verify certificate: x509: certificate signed by unknown authority*", false},
		"verify, not offered":            {TLS{Policy: TLSVerify, CA: ca}, []string{plainHello + "W:"}, noTLS, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("mail.corp.example", "127.0.0.1")}}
			d := start(t, Options{NextHops: []NextHop{{TLS: test.rule}}}, serveTLS(t, config, test.scripts...))
			r := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0]
			want(t, r, test.want)
			if (r.TLS != "") != test.tls {
				t.Errorf("TLS %q", r.TLS)
			}
		})
	}
}

func TestOldTLS(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	for policy, expected := range map[string]string{TLSOpportunistic: "TLS 1.0 ", TLSRequire: ""} {
		config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("x.example")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}
		script := offer + inside + transfer + quit
		if expected == "" {
			script = offer + "W:"
		}
		d := start(t, Options{NextHops: []NextHop{{TLS: TLS{Policy: policy}}}}, serveTLS(t, config, script))
		r := d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0]
		if expected == "" {
			want(t, r, tlsSite+"tls: protocol version not supported")
			continue
		}
		want(t, r, ok)
		if !strings.HasPrefix(r.TLS, expected) {
			t.Errorf("%s: TLS %q", policy, r.TLS)
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("x.example")}}
	s := serveTLS(t, config, "T:\nS: 220 test\n"+inside+transfer+quit)
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"smtps://" + s.Addr()}}}})
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], ok)
}

func TestImplicitTLSNeverFallsBack(t *testing.T) {
	s := serve(t, "X:")
	d := start(t, Options{NextHops: []NextHop{{URLs: []string{"smtps://" + s.Addr()}}}})
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], tlsSite+"*")
}

func TestClientCertificate(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	ca, cert, key := authority.Files(authority.Certificate("gw.example"))
	for name, test := range map[string]struct {
		rule   TLS
		script string
		want   string
	}{
		"given":   {TLS{Policy: TLSVerify, CA: ca, ClientCert: cert, ClientKey: key}, offer + inside + transfer + quit, ok},
		"missing": {TLS{Policy: TLSVerify, CA: ca}, offer, tlsSite + "*"},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool()}
			d := start(t, Options{NextHops: []NextHop{{TLS: test.rule}}}, serveTLS(t, config, test.script))
			want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], test.want)
		})
	}
}

func TestAuth(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	password := telemetry.NewSecret("p")
	plainAuth := "C: AUTH PLAIN AHUAcA==\nS: 235 yes\n"
	loginAuth := "C: AUTH LOGIN\nS: 334 VXNlciBOYW1lAA==\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 yes\n"
	for name, test := range map[string]struct {
		mechanism string
		scripts   []string
		want      string
	}{
		"plain":             {"PLAIN", []string{offer + inside + plainAuth + transfer + quit}, ok},
		"login":             {"LOGIN", []string{offer + inside + loginAuth + transfer + quit}, ok},
		"what is offered":   {"", []string{offer + inside + plainAuth + transfer + quit}, ok},
		"not offered":       {"PLAIN", []string{offer + "C: EHLO*\nS: 250-x\nS: 250 AUTH GSSAPI\nW:"}, "site 454 4.7.0 Next hop offers no AUTH mechanism that is configured: no usable AUTH mechanism offered: GSSAPI"},
		"refused":           {"PLAIN", []string{offer + inside + "C: AUTH*\nS: 535 5.7.8 wrong\nW:"}, "site 454 4.7.0 Authentication at the next hop failed: 535 5.7.8 wrong"},
		"no TLS":            {"PLAIN", []string{plainHello + "W:"}, noTLS + ": AUTH is used inside TLS only"},
		"TLS fails":         {"PLAIN", []string{breaks}, tlsSite + "*"},
		"wanted by MAIL":    {"PLAIN", []string{offer + inside + plainAuth + "C: MAIL*\nC: RCPT*\nC: DATA\nS: 530 5.7.0 who are you\nS: 503 no\nS: 503 no\nW:"}, "site 454 4.7.0 Authentication at the next hop failed: 530 5.7.0 who are you"},
		"dropped inside it": {"PLAIN", []string{offer + inside + "C: AUTH*\nX:"}, "site 421 4.4.2 Connection to the next hop was lost: the server closed it"},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{authority.Certificate("x.example")}}
			hop := NextHop{Auth: Auth{Mechanism: test.mechanism, Username: "u", Password: password}}
			d := start(t, Options{NextHops: []NextHop{hop}}, serveTLS(t, config, test.scripts...))
			want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], test.want)
		})
	}
}

func TestNextHopTakesGeneralTLS(t *testing.T) {
	d := start(t, Options{TLS: TLS{Policy: TLSRequire}}, serve(t, plainHello+"W:"))
	want(t, d.Deliver(t.Context(), job(t, message(t, small), "b@b.example"))[0], noTLS)
}
