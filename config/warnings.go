package config

import (
	"fmt"
	"os"
	"slices"
	"time"

	"gatepost/mail"
)

// Warnings names what works but is dangerous, and what the file asks for that
// is not supported yet and so has no effect.
func (c *Loaded) Warnings() Errors {
	k := &check{c: c}
	k.readableByAll()
	k.idle()
	k.notYet()
	slices.SortStableFunc(k.errors, func(a, b Error) int { return a.Line - b.Line })
	return k.errors
}

// readableByAll warns of key files that every local user can read.
func (k *check) readableByAll() {
	keys := map[string]string{}
	for i, c := range k.c.TLS.Certificates {
		keys[fmt.Sprintf("tls.certificates[%d].key", i)] = c.Key
	}
	for i, f := range k.c.DKIM.Keys {
		keys[fmt.Sprintf("dkim.keys[%d].file", i)] = f.File
	}
	for i, h := range k.c.NextHops {
		if h.TLS.ClientCert != nil {
			keys[fmt.Sprintf("next_hops[%d].tls.client_cert.key", i)] = h.TLS.ClientCert.Key
		}
	}
	if st, err := os.Stat(k.c.File); err == nil && st.Mode().Perm()&0o004 != 0 && len(k.c.secrets) > 0 {
		k.fail(k.c.secrets[0], "holds a secret, and %s is readable by all users of this machine; chmod 640 it, or use ${file:…}", k.c.File)
	}
	if st, err := os.Stat(k.c.DataDir); err == nil && st.Mode().Perm()&0o022 != 0 {
		k.fail("data_dir", "%s can be written by other users of this machine; chmod 700 it", k.c.DataDir)
	}
	for path, file := range keys {
		if st, err := os.Stat(file); err == nil && st.Mode().Perm()&0o004 != 0 {
			k.fail(path, "private key %s is readable by all users of this machine; chmod 640 it", file)
		}
	}
}

// ExpiredOverrides warns of exceptions that no longer hold.
func (c *Loaded) ExpiredOverrides(now time.Time) Errors {
	k := &check{c: c}
	for i, o := range c.Policy.Overrides {
		if end := o.Until.End(); !end.After(now) {
			k.fail(fmt.Sprintf("policy.overrides[%d].until", i), "this override for %s has expired and is ignored; remove it, or give it a new day", o.From)
		}
	}
	return k.errors
}

// idle warns of settings that leave something without use.
func (k *check) idle() {
	for i, l := range k.c.Listeners {
		path := fmt.Sprintf("listeners[%d]", i)
		if l.Role == "smarthost" && len(l.RelayClients) == 0 && len(l.Auth.Mechanisms) == 0 {
			k.fail(path, "nobody can relay here: it has neither relay_clients nor auth.mechanisms")
		}
		if l.Role == "mx" && len(k.c.Domains) == 0 && len(l.RelayClients) == 0 {
			k.fail(path, "accepts no mail: there are no domains")
		}
		if l.TLS.Mode == "optional" && len(k.c.TLS.Certificates) == 0 {
			k.fail(path+".tls", "STARTTLS is not offered: tls.certificates is empty")
		}
	}
	if d := k.c.Report.DMARC; d.Enabled && !k.signed(d.From) {
		k.fail("report.dmarc_aggregate.from", "no dkim.sign rule covers its domain: reports leave without a signature, and receivers may refuse them by DMARC")
	}
	if f := k.c.Report.Failure; f.Enabled && !k.signed(f.From) {
		k.fail("report.dmarc_failure.from", "no dkim.sign rule covers its domain: reports leave without a signature, and receivers may refuse them by DMARC")
	}
	for i, r := range k.c.RelayClients {
		if len(r.SendAs) == 0 && r.OtherFrom == "refuse" {
			k.fail(fmt.Sprintf("relay_clients[%d]", i), "may send nothing but the null reverse-path: send_as is empty")
		}
	}
}

// signed tells whether a dkim.sign rule covers the domain of an address.
func (k *check) signed(address string) bool {
	a, err := mail.ParseAddress(address, true)
	if err != nil {
		return true // reported as an error
	}
	for _, r := range k.c.DKIM.Sign {
		for _, name := range r.Domains {
			d, err := mail.ParseDomain(name)
			if err == nil && (a.Domain() == d || r.Subdomains && a.Domain().Within(d)) {
				return true
			}
		}
	}
	return false
}

// notYet names keys of the contract whose function comes later.
func (k *check) notYet() {
	const later = "not supported yet; has no effect"
	c := k.c
	if c.Admin.Address != "" {
		k.fail("admin.address", later)
	}
	if c.DKIM.Rotation.Every > 0 {
		k.fail("dkim.rotation", later)
	}
	if c.TLS.ClientCA != "" {
		k.fail("tls.client_ca", later)
	}
	for i, u := range c.Users {
		if !u.SCRAM.IsZero() {
			k.fail(fmt.Sprintf("users[%d].scram_sha_256", i), later)
		}
		if u.Certificate != nil {
			k.fail(fmt.Sprintf("users[%d].certificate", i), later)
		}
	}
	for i, l := range c.Listeners {
		if l.TLS.ClientCert == "request" {
			k.fail(fmt.Sprintf("listeners[%d].tls.client_cert", i), later)
		}
		for j, m := range l.Auth.Mechanisms {
			if m != "PLAIN" && m != "LOGIN" {
				k.fail(fmt.Sprintf("listeners[%d].auth.mechanisms[%d]", i, j), "%s is %s", m, later)
			}
		}
	}
}
