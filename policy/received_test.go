package policy

import (
	"net/netip"
	"testing"
)

const onDate = "; Sat, 21 Nov 2026 12:00:00 +0000"

func TestParseReceived(t *testing.T) {
	for name, c := range map[string]struct{ value, addr, helo string }{
		"Gatepost":               {"from out.author.example (host.author.example [203.0.113.9])\r\n\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n\tby mx.example with ESMTPS id 01h\r\n\tfor <a@example.com>" + onDate, "203.0.113.9", "out.author.example"},
		"Gatepost, no name":      {"from out.author.example ([203.0.113.9])\r\n\tby mx.example with ESMTP id 01h" + onDate, "203.0.113.9", "out.author.example"},
		"Gatepost, literal HELO": {"from [192.0.2.1] ([203.0.113.9]) by mx.example with ESMTP id 1" + onDate, "203.0.113.9", "[192.0.2.1]"},
		"Postfix":                {"from helo.example (unknown [203.0.113.9])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits))\r\n\t(No client certificate requested)\r\n\tby mx.example (Postfix) with ESMTPS id 4X; Sat, 21 Nov 2026 12:00:00 +0000 (UTC)", "203.0.113.9", "helo.example"},
		"Postfix, IPv6":          {"from helo.example (h.example [IPv6:2001:db8::9]) by mx.example (Postfix) with SMTP id 4X for <a@b.example>" + onDate, "2001:db8::9", "helo.example"},
		"Exim":                   {"from h.example ([203.0.113.9]:4711 helo=helo.example) by mx.example with esmtps (TLS1.3) tls TLS_AES_256_GCM_SHA384 (Exim 4.98) (envelope-from <a@b.example>) id 1t for c@d.example" + onDate, "203.0.113.9", "helo.example"},
		"Exim, name is HELO":     {"from h.example ([203.0.113.9]) by mx.example with esmtp (Exim 4.98) id 1t" + onDate, "203.0.113.9", "h.example"},
		"Exim, no name":          {"from [203.0.113.9] (port=4711 helo=helo.example) by mx.example with esmtp id 1t" + onDate, "203.0.113.9", "helo.example"},
		"Exchange":               {"from mail.author.example (203.0.113.9) by EX1.corp.example (10.0.0.1) with Microsoft SMTP Server (version=TLS1_2, cipher=TLS_ECDHE) id 15.2.1" + onDate, "203.0.113.9", "mail.author.example"},
		"Exchange, IPv6":         {"from a.example (2001:db8::9) by b.example (2001:db8::1) with Microsoft SMTP Server id 15.20.1 via Frontend Transport" + onDate, "2001:db8::9", "a.example"},
		"a client called by":     {"from by (h.example [203.0.113.9]) by mx.example (Postfix) with SMTP id 4X" + onDate, "203.0.113.9", "by"},
		"a client called from":   {"from FROM (h.example [203.0.113.9]) by mx.example (Postfix) with SMTP id 4X" + onDate, "203.0.113.9", "FROM"},
		"mapped IPv4":            {"from a.example (b.example [IPv6:::ffff:203.0.113.9]) by c.example with SMTP id 1" + onDate, "203.0.113.9", "a.example"},
	} {
		got, err := parseReceived(c.value)
		if err != nil || got.addr != netip.MustParseAddr(c.addr) || got.helo != c.helo {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// A HELO name is the client's own text. Whatever a careless server copies of
// it must not lead to an address that the client chose.
func TestParseReceivedIsNotFooled(t *testing.T) {
	for name, value := range map[string]string{
		"local":                      "by mx.example (Postfix, from userid 0) id 4X" + onDate,
		"no address":                 "from helo.example by mx.example with SMTP id 1" + onDate,
		"literal HELO, no address":   "from [192.0.2.1] by mx.example with SMTP id 1" + onDate,
		"name without an address":    "from helo.example (h.example) by mx.example with SMTP id 1" + onDate,
		"HELO with a comment":        "from evil([192.0.2.1]) (h.example [203.0.113.9]) by mx.example with SMTP id 1" + onDate,
		"HELO with blanks":           "from evil (x [192.0.2.1]) (h.example [203.0.113.9]) by mx.example with SMTP id 1" + onDate,
		"HELO with a by clause":      "from evil (x [192.0.2.1]) by y (h.example [203.0.113.9]) by mx.example with SMTP id 1" + onDate,
		"HELO that ends the field":   "from evil (x [192.0.2.1]) by y with SMTP id 1; (h.example [203.0.113.9]) by mx.example with SMTP id 1" + onDate,
		"HELO that ends with a date": "from evil (x [192.0.2.1]) by y" + onDate + " (h.example [203.0.113.9]) by mx.example" + onDate,
		"HELO that opens a comment":  "from evil (x [192.0.2.1]) by y ( (h.example [203.0.113.9]) by mx.example with SMTP id 1" + onDate,
		"helo= twice":                "from h.example ([203.0.113.9] helo=a helo=b) by mx.example with esmtp id 1" + onDate,
		"helo= with a literal":       "from h.example (helo=a [192.0.2.1]) by mx.example with esmtp id 1" + onDate,
		"two addresses":              "from a.example (b.example [192.0.2.1] [203.0.113.9]) by c.example with SMTP id 1" + onDate,
		"backslash":                  `from a.example (b\) [192.0.2.1]) by c.example with SMTP id 1` + onDate,
		"no date":                    "from a.example (b.example [203.0.113.9]) by c.example with SMTP id 1",
		"a date that is none":        "from a.example (b.example [203.0.113.9]) by c.example with SMTP id 1; yesterday",
		"zone":                       "from a.example (b.example [IPv6:fe80::1%eth0]) by c.example with SMTP id 1" + onDate,
		"an address that is none":    "from a.example (b.example [203.0.113.999]) by c.example with SMTP id 1" + onDate,
		"empty comment":              "from a.example () by c.example with SMTP id 1" + onDate,
		"unbalanced":                 "from a.example (b.example [203.0.113.9]) by c.example) with SMTP id 1" + onDate,
		"nothing":                    "",
	} {
		if got, err := parseReceived(value); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func FuzzParseReceived(f *testing.F) {
	f.Add("from a.example (b.example [203.0.113.9]) by c.example with SMTP id 1" + onDate)
	f.Add("from h.example ([203.0.113.9]:4711 helo=helo.example) by mx.example id 1" + onDate)
	f.Fuzz(func(t *testing.T, value string) {
		got, err := parseReceived(value)
		if err == nil && (!got.addr.IsValid() || got.addr.Is4In6() || got.addr.Zone() != "" || got.helo != "" && !heloWord.MatchString(got.helo)) {
			t.Errorf("%q: got %+v", value, got)
		}
	})
}
