package keyring

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"gatepost/dnsx/dnstest"
	"gatepost/dnsx/zone"
	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
)

func TestZoneLinesAreWhatTheCheckFinds(t *testing.T) {
	each(t, func(t *testing.T, ctx context.Context, s *store.Store, r *Ring, c *clock) {
		d := domain(t, "example.com")
		for _, a := range []Algorithm{RSA2048, Ed25519} {
			if _, err := r.Create(ctx, d, a, "", false); err != nil {
				t.Fatal(err)
			}
		}
		lines := strings.Join(r.DNS(ctx, d), "\n") + "\n"
		if _, err := zone.ParseString(lines); err != nil {
			t.Fatalf("zone lines cannot be read: %v\n%s", err, lines)
		}
		reports, err := r.Check(ctx, dnstest.New(t, lines).Resolver(t), mail.Domain{})
		if err != nil || len(reports) != 2 {
			t.Fatalf("%d reports, %v", len(reports), err)
		}
		for _, report := range reports {
			if !report.Matches || !report.Activated || report.Key.State != Active || len(report.Problems) > 0 {
				t.Errorf("%+v", report)
			}
		}
		if got := len(r.Active(ctx, d)); got != 2 {
			t.Errorf("%d active keys, want 2", got)
		}
	})
}

func TestZoneLineIsSplit(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	r, _ := newRing(t, s)
	k, err := r.Create(t.Context(), domain(t, "example.com"), RSA2048, "s1", false)
	if err != nil {
		t.Fatal(err)
	}
	line := k.ZoneLine()
	rest, ok := strings.CutPrefix(line, `s1._domainkey.example.com. 3600 IN TXT ( "v=DKIM1; k=rsa; p=`)
	if !ok || !strings.HasSuffix(rest, `" )`) {
		t.Fatalf("got %s", line)
	}
	for part := range strings.SplitSeq(line, " \"") {
		if i := strings.IndexByte(part, '"'); i > maxString {
			t.Errorf("a string of %d octets", i)
		}
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	r, _ := newRing(t, s)
	ctx, d := t.Context(), domain(t, "example.com")
	k, err := r.Create(ctx, d, Ed25519, "s1", false)
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.Create(ctx, domain(t, "example.org"), Ed25519, "s1", false)
	if err != nil {
		t.Fatal(err)
	}
	long, err := r.Create(ctx, domain(t, "example.net"), RSA2048, "s1", false)
	if err != nil {
		t.Fatal(err)
	}
	p, pOther, pLong := value(k), value(other), value(long)
	for _, c := range []struct {
		name    string
		key     Key
		records []string
		matches bool
		problem string // in the only problem; empty: none
	}{
		{"right", k, []string{"v=DKIM1; k=ed25519; p=" + p}, true, ""},
		{"without v, with spaces", k, []string{" k = ed25519 ; p = " + p[:20] + " " + p[20:] + ";"}, true, ""},
		{"several", k, []string{"v=DKIM1; k=ed25519; p=" + p, "v=DKIM1; k=rsa; p=" + p}, false, "2 TXT records"},
		{"testing", k, []string{"v=DKIM1; k=ed25519; t=s:y; p=" + p}, true, "testing"},
		{"revoked", k, []string{"v=DKIM1; k=ed25519; p="}, false, "revoked"},
		{"no p", k, []string{"v=DKIM1; k=ed25519"}, false, "no p="},
		{"another key", k, []string{"v=DKIM1; k=ed25519; p=" + pOther}, false, "another key"},
		{"wrong k", k, []string{"v=DKIM1; k=rsa; p=" + p}, false, "k=rsa"},
		{"no k, ours is Ed25519", k, []string{"v=DKIM1; p=" + p}, false, "the default"},
		{"no k, ours is RSA", long, []string{"v=DKIM1; p=" + pLong}, true, ""},
		{"k of RSA is Ed25519", long, []string{"v=DKIM1; k=ed25519; p=" + pLong}, false, "k=ed25519"},
		{"cut", long, []string{"v=DKIM1; k=rsa; p=" + pLong[:200]}, false, "cut"},
		{"wrong v", k, []string{"v=dkim1; k=ed25519; p=" + p}, false, "v=dkim1"},
		{"only sha1", k, []string{"v=DKIM1; h=sha1; k=ed25519; p=" + p}, false, "h=sha1"},
		{"not for mail", k, []string{"v=DKIM1; s=tls; k=ed25519; p=" + p}, false, "s=tls"},
		{"quotes as data", long, []string{`"v=DKIM1; k=rsa; p=` + pLong[:200] + `" "` + pLong[200:] + `"`}, false, "quotation marks"},
		{"backslashes as data", k, []string{`v=DKIM1\; k=ed25519\; p=` + p}, false, "backslashes"},
		{"the zone line as data", k, []string{"s1._domainkey.example.com. 3600 IN TXT ( v=DKIM1; p=" + p + " )"}, false, "whole zone line"},
		{"not base64", k, []string{"v=DKIM1; k=ed25519; p=!" + p}, false, "not base64"},
		{"another kind of record", k, []string{"v=spf1 -all"}, false, "v=spf1"},
		{"no tags", k, []string{"hello"}, false, "not a list of tags"},
		{"tag twice", k, []string{"p=" + p + "; p=" + p}, false, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			matches, problems := c.key.compare(c.records)
			got := strings.Join(problems, "\n")
			if matches != c.matches || !strings.Contains(got, c.problem) || c.problem == "" && got != "" {
				t.Errorf("matches %v, problems %q; want %v, %q", matches, got, c.matches, c.problem)
			}
		})
	}
}

func value(k Key) string { return base64.StdEncoding.EncodeToString(k.publicBytes()) }

func TestCheckAsksDNS(t *testing.T) {
	s := storetest.Open(t, store.Options{URL: "sqlite", Dir: t.TempDir(), Schemas: []store.Schema{Schema()}})
	r, _ := newRing(t, s)
	ctx := t.Context()
	records := map[string]string{
		"alias":  "s1._domainkey.alias.example. IN CNAME s1.keys.example.\n",
		"dead":   "s1._domainkey.dead.example. IN CNAME s2.keys.example.\n",
		"absent": "", "trouble": "",
	}
	var text string
	for name, line := range records {
		k, err := r.Create(ctx, domain(t, name+".example"), Ed25519, "s1", false)
		if err != nil {
			t.Fatal(err)
		}
		text += line
		if name == "alias" {
			text += "s1.keys.example. IN TXT \"" + k.Record() + "\"\n"
		}
	}
	server := dnstest.New(t, text)
	server.Fail("s1._domainkey.trouble.example", "TXT", dnstest.ServFail)
	reports, err := r.Check(ctx, server.Resolver(t), mail.Domain{})
	if err != nil || len(reports) != 4 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	absent, alias, dead, trouble := reports[0], reports[1], reports[2], reports[3]
	if !alias.Activated || len(alias.Aliases) != 1 || !strings.HasPrefix(alias.Aliases[0], "s1.keys.example") {
		t.Errorf("alias: %+v", alias)
	}
	for name, report := range map[string]Report{"absent": absent, "dead alias": dead} {
		if report.Matches || report.Unknown || !strings.Contains(report.Problems[0], "no TXT record") || report.Want == "" {
			t.Errorf("%s: %+v", name, report)
		}
	}
	if !trouble.Unknown || trouble.Matches || trouble.Key.State != Pending {
		t.Errorf("trouble: %+v", trouble)
	}
}
