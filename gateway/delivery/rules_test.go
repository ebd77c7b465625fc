package delivery

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatepost/gateway/delivery/smtptest"
	"gatepost/telemetry"
)

// paths collects the option paths of an error.
func paths(err error) (list []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			list = append(list, paths(one)...)
		}
		return list
	}
	var field *FieldError
	if errors.As(err, &field) {
		list = append(list, field.Path)
	}
	return list
}

func TestWrongOptions(t *testing.T) {
	notPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(notPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	urls := []string{"smtp://192.0.2.1"}
	one := func(n NextHop) Options { return Options{NextHops: []NextHop{n}} }
	for name, test := range map[string]struct {
		options Options
		want    []string
	}{
		"nothing wrong":       {one(NextHop{Name: "x", URLs: urls}), nil},
		"all at once":         {Options{EHLO: "a b", Connections: -1, NextHops: []NextHop{{Name: "x", URLs: urls}, {Name: "y"}}}, []string{"delivery.ehlo", "delivery.connections", "next_hops[0].ehlo", "next_hops[1].ehlo", "next_hops[1].urls"}},
		"no name":             {one(NextHop{URLs: urls}), []string{"next_hops[0].name"}},
		"name mx":             {one(NextHop{Name: "mx", URLs: urls}), []string{"next_hops[0].name"}},
		"same name":           {Options{NextHops: []NextHop{{Name: "x", URLs: urls}, {Name: "x", URLs: urls}}}, []string{"next_hops[1].name"}},
		"url":                 {one(NextHop{Name: "x", URLs: []string{urls[0], "http://x"}}), []string{"next_hops[0].urls[1]"}},
		"select":              {one(NextHop{Name: "x", URLs: urls, Select: "best"}), []string{"next_hops[0].select"}},
		"eight_bit":           {one(NextHop{Name: "x", URLs: urls, EightBit: "maybe"}), []string{"next_hops[0].eight_bit"}},
		"ehlo":                {one(NextHop{Name: "x", URLs: urls, EHLO: "x\r\nQUIT"}), []string{"next_hops[0].ehlo"}},
		"policy":              {one(NextHop{Name: "x", URLs: urls, TLS: TLS{Policy: "dane"}}), []string{"next_hops[0].tls.policy"}},
		"policy for MX":       {Options{TLS: TLS{Policy: "maybe"}}, []string{"delivery.tls.policy"}},
		"no CA file":          {one(NextHop{Name: "x", URLs: urls, TLS: TLS{CA: "/nonexistent"}}), []string{"next_hops[0].tls.ca"}},
		"CA file is empty":    {one(NextHop{Name: "x", URLs: urls, TLS: TLS{CA: notPEM}}), []string{"next_hops[0].tls.ca"}},
		"client certificate":  {one(NextHop{Name: "x", URLs: urls, TLS: TLS{ClientCert: notPEM, ClientKey: notPEM}}), []string{"next_hops[0].tls.client_cert"}},
		"smtps without TLS":   {one(NextHop{Name: "x", URLs: []string{"smtps://x.example"}, TLS: TLS{Policy: TLSOff}}), []string{"next_hops[0].tls.policy"}},
		"AUTH without TLS":    {one(NextHop{Name: "x", URLs: urls, TLS: TLS{Policy: TLSOff}, Auth: Auth{Username: "u", Password: telemetry.NewSecret("p")}}), []string{"next_hops[0].auth"}},
		"AUTH off in general": {Options{TLS: TLS{Policy: TLSOff}, NextHops: []NextHop{{Name: "x", URLs: urls, Auth: Auth{Username: "u"}}}}, []string{"next_hops[0].auth"}},
		"AUTH mechanism":      {one(NextHop{Name: "x", URLs: urls, Auth: Auth{Mechanism: "NTLM", Username: "u"}}), []string{"next_hops[0].auth.mechanism"}},
		"AUTH user":           {one(NextHop{Name: "x", URLs: urls, Auth: Auth{Mechanism: "PLAIN"}}), []string{"next_hops[0].auth.username"}},
		"source address":      {Options{SourceAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.IPv4Unspecified()}}, []string{"delivery.source_addresses[1]"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Hostname, test.options.Resolver = "gw.example", fakeDNS{}
			d, err := New(test.options)
			if d != nil {
				d.Close()
			}
			if got := paths(err); !slices.Equal(got, test.want) {
				t.Errorf("got %q: %v", got, err)
			}
		})
	}
	if _, err := New(Options{}); !slices.Contains(paths(err), "hostname") {
		t.Errorf("no hostname: %v", err)
	}
}

func TestHopURLs(t *testing.T) {
	for text, expected := range map[string]hopURL{
		"smtp://Mail.Example":      {"smtp", "mail.example", 25},
		"smtp://mail.example.:26":  {"smtp", "mail.example", 26},
		"smtp://exchange":          {"smtp", "exchange", 25},
		"smtps://mail.example":     {"smtps", "mail.example", 465},
		"smtp://[2001:db8::1]:587": {"smtp", "2001:db8::1", 587},
		"smtp://[2001:db8::1]":     {"smtp", "2001:db8::1", 25},
		"lmtp://mail.example:24":   {"lmtp", "mail.example", 24},
		"lmtp:///run/lmtp.sock":    {"lmtp", "/run/lmtp.sock", 0},
		"mx://example.com":         {"mx", "example.com", 0},
		"mx://bücher.example":      {"mx", "xn--bcher-kva.example", 0},
	} {
		if got, err := parseHopURL(text); err != nil || got != expected {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "mail.example", "mail.example:25", "http://x", "smtp://", "smtp:///run/x", "smtp://x:0", "smtp://x:70000",
		"smtp://x:port", "smtp://u:p@x", "smtp://x/path", "smtp://x?y", "lmtp://x", "mx://x:25", "mx:x", "smtp://a b", "smtp://a_b..c", "SMTP"} {
		if got, err := parseHopURL(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

func TestTLSRuleInheritance(t *testing.T) {
	authority := smtptest.NewAuthority(t)
	ca, _, _ := authority.Files(authority.Certificate("x.example"))
	general := TLS{Policy: TLSVerify, CA: ca}
	inherited, problems := compileTLS(TLS{}, general, "x")
	if len(problems) > 0 || inherited.policy != TLSVerify || inherited.roots == nil {
		t.Errorf("got %+v, %v", inherited, problems)
	}
	own, problems := compileTLS(TLS{Name: "y"}, general, "x")
	if len(problems) > 0 || own.policy != TLSVerify || own.roots != nil {
		t.Errorf("got %+v, %v", own, problems)
	}
}
