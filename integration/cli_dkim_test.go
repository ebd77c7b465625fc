package integration

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatepost/dnsx/zone"
)

// quotedStrings are the character-strings of a TXT record.
var quotedStrings = regexp.MustCompile(`"([^"]*)"`)

// TestDKIMLife: a key is made, published, found, used and retired.
func TestDKIMLife(t *testing.T) {
	t.Parallel()
	end := startSink(t, nil)
	h := startHopGate(t, "smtp://"+end.Addr, nil)
	contains(t, h.mustRun("dkim", "list"), "no keys")
	for _, algorithm := range []string{"rsa-2048", "ed25519"} {
		out := h.mustRun("dkim", "create", "sender.test", "--algorithm", algorithm, "--selector", algorithm[:1]+"1")
		contains(t, out, "sender.test/"+algorithm[:1]+"1 is pending. Publish:", "_domainkey.sender.test. 3600 IN TXT ( \"v=DKIM1;", "gatepost dkim check sender.test")
	}
	contains(t, h.mustRun("dkim", "list"), "rsa-2048", "ed25519", "2048", "pending")
	h.send("me@sender.test", []string{"x@world.test"}, letter("me@sender.test", "x@world.test", "unsigned", "x"))
	lacks(t, unfolded(end.wait(t, "Subject: unsigned").Data), "DKIM-Signature")

	out, err := h.run("dkim", "check", "sender.test")
	if err == nil {
		t.Errorf("check without a record ended with 0:\n%s", out)
	}
	contains(t, out, "sender.test/r1: pending, DNS does not agree", "it should be:", "r1._domainkey.sender.test. 3600 IN TXT")
	records := h.mustRun("dkim", "dns", "sender.test")
	for _, s := range quotedStrings.FindAllStringSubmatch(records, -1) {
		if len(s[1]) > 255 {
			t.Errorf("a string of %d octets in %s", len(s[1]), records)
		}
	}
	if _, err := zone.ParseString(records); err != nil {
		t.Errorf("the lines are not those of a zone file: %v\n%s", err, records)
	}
	h.addZone(records)
	contains(t, h.mustRun("dkim", "check", "sender.test"), "sender.test/r1: found in DNS, active now", "sender.test/e1: found in DNS, active now")
	h.send("me@sender.test", []string{"x@world.test"}, letter("me@sender.test", "x@world.test", "signed", "x"))
	contains(t, unfolded(end.wait(t, "Subject: signed").Data), "s=r1;", "s=e1;")
	contains(t, h.mustRun("dkim", "check"), "active, DNS agrees")

	h.mustRun("dkim", "retire", "sender.test", "e1")
	h.send("me@sender.test", []string{"x@world.test"}, letter("me@sender.test", "x@world.test", "one left", "x"))
	m := unfolded(end.wait(t, "Subject: one left").Data)
	contains(t, m, "s=r1;")
	lacks(t, m, "s=e1;")
	if out, err := h.run("dkim", "remove", "sender.test", "r1"); err == nil {
		t.Errorf("an active key was removed: %s", out)
	}
	h.mustRun("dkim", "remove", "sender.test", "e1")
	lacks(t, h.mustRun("dkim", "list"), "e1")
	for _, wrong := range [][]string{{"create", "sender.test", "--selector", "r1"}, {"create", "no domain"}, {"create", "x.test", "--algorithm", "rsa-512"},
		{"activate", "sender.test", "none"}, {"export", "sender.test", "none"}} {
		if out, err := h.run(append([]string{"dkim"}, wrong...)...); err == nil {
			t.Errorf("dkim %v: %s", wrong, out)
		}
	}
}

// TestDKIMCheckSaysWhatIsWrong: another key in DNS, a record that is broken, a
// CNAME on the way.
func TestDKIMCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := startHopGate(t, "smtp://127.0.0.1:1", nil)
	for domain, record := range map[string]string{
		"other.test":   `TXT "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"`,
		"revoked.test": `TXT "v=DKIM1; k=rsa; p="`,
		"broken.test":  `TXT "v=DKIM2; hello"`,
	} {
		h.mustRun("dkim", "create", domain, "--selector", "s1")
		h.addZone("s1._domainkey." + domain + ". 60 " + record + "\n")
		out, err := h.run("dkim", "check", domain)
		if err == nil {
			t.Errorf("%s: exit status 0\n%s", domain, out)
		}
		contains(t, out, domain+"/s1: pending, DNS does not agree", "\n  ")
	}
	h.mustRun("dkim", "create", "alias.test", "--selector", "s1")
	h.addZone("s1._domainkey.alias.test. 60 CNAME keys.hosted.test.\n")
	h.addZone(strings.Replace(h.mustRun("dkim", "dns", "alias.test"), "s1._domainkey.alias.test.", "keys.hosted.test.", 1))
	contains(t, h.mustRun("dkim", "check", "alias.test"), "active now", "through CNAME keys.hosted.test")
}

// TestDKIMImportAndExport: PEM as OpenSSL writes it, in both forms; what cannot
// be used is refused in words.
func TestDKIMImportAndExport(t *testing.T) {
	t.Parallel()
	openssl := tool(t, "openssl")
	h := startHopGate(t, "smtp://127.0.0.1:1", nil)
	pem := func(name string, args ...string) string {
		t.Helper()
		file := filepath.Join(h.dir, name)
		if out, err := output(nil, nil, openssl, append(args, "-out", file)...); err != nil {
			t.Fatalf("openssl %v: %v %s", args, err, out)
		}
		return file
	}
	pkcs8 := pem("pkcs8.pem", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
	for selector, file := range map[string]string{
		"pkcs8": pkcs8,
		"pkcs1": pem("pkcs1.pem", "rsa", "-traditional", "-in", pkcs8),
		"ed":    pem("ed.pem", "genpkey", "-algorithm", "ed25519"),
	} {
		contains(t, h.mustRun("dkim", "import", "sender.test", selector, file), "sender.test/"+selector+" is pending")
		exported := writeFile(t, h.dir, selector+".exported", h.mustRun("dkim", "export", "sender.test", selector))
		want, err := output(nil, nil, openssl, "pkey", "-in", file, "-pubout")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := output(nil, nil, openssl, "pkey", "-in", exported, "-pubout"); err != nil || got != want {
			t.Errorf("%s: exported %v %s", selector, err, got)
		}
	}
	for want, file := range map[string]string{
		"encrypted": pem("encrypted.pem", "rsa", "-aes128", "-passout", "pass:x", "-in", pkcs8),
		"1024":      pem("small.pem", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:512"),
		"RSA":       pem("ec.pem", "ecparam", "-name", "prime256v1", "-genkey", "-noout"),
		"PEM":       writeFile(t, h.dir, "text.pem", "no key"),
	} {
		out, err := h.run("dkim", "import", "sender.test", "bad", file)
		if err == nil {
			t.Errorf("%s was imported: %s", file, out)
		}
		contains(t, out, want)
	}
	lacks(t, h.mustRun("dkim", "list"), "bad")
}

// TestDKIMFiles: sign and verify files, also while no gateway runs; keys from
// mounted files.
func TestDKIMFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	s.keys()
	eml := writeFile(t, s.dir, "m.eml", letter("bob@example.test", "carl@world.test", "a file", "text ü"))
	signed, err := output(nil, nil, binary(t), "dkim", "sign", eml, "--config", s.config)
	if err != nil {
		t.Fatalf("%v %s", err, signed)
	}
	contains(t, signed, "DKIM-Signature:", "signed by example.test/r1, example.test/e1")
	message, _, _ := strings.Cut(signed, "signed by example.test")
	file := writeFile(t, s.dir, "signed.eml", message)
	contains(t, s.mustRun("dkim", "verify", file), "dkim=pass header.d=example.test header.s=r1 header.a=rsa-sha256", "dkim=pass header.d=example.test header.s=e1")
	spoiled := writeFile(t, s.dir, "spoiled.eml", strings.Replace(message, "text", "TEXT", 1))
	if out, err := s.run("dkim", "verify", spoiled); err == nil || !strings.Contains(out, "dkim=fail") {
		t.Errorf("a changed message: %v\n%s", err, out)
	}
	foreign := writeFile(t, s.dir, "foreign.eml", letter("bob@foreign.test", "carl@world.test", "x", "x"))
	if out, err := s.run("dkim", "sign", foreign); err == nil {
		t.Errorf("a foreign author was signed:\n%s", out)
	}
	s.start() // the keys of the offline command line are those of the gateway
	send(t, fromExchange, s.mx, 250, "bob@example.test", "carl@world.test", letter("bob@example.test", "carl@world.test", "online", "x"))
	contains(t, unfolded(s.world.wait(t, "Subject: online").Data), "s=r1;", "s=e1;")
}
