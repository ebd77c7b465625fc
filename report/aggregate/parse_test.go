package aggregate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const (
	metadata = `<report_metadata><org_name>Reporter</org_name><email>a@reporter.example</email><report_id>1</report_id>` +
		`<date_range><begin>1700000000</begin><end>1700086399</end></date_range><error>a timeout</error><generator>G 1</generator></report_metadata>`
	published = `<policy_published><domain>Example.COM</domain><p>REJECT</p><np>none</np><testing>y</testing><discovery_method>treewalk</discovery_method></policy_published>`
	record    = `<record><row><source_ip>::ffff:192.0.2.1</source_ip><count>3</count><policy_evaluated><disposition>None</disposition><dkim>Pass</dkim><spf>fail</spf>` +
		`<reason><type>local_policy</type><comment>arc=pass</comment></reason><reason><type></type></reason></policy_evaluated></row>` +
		`<identifiers><header_from>Example.com</header_from><envelope_from>b.example</envelope_from><envelope_to>c.example</envelope_to></identifiers>` +
		`<auth_results><dkim><domain>example.com</domain><selector>s1</selector><result>pass</result><human_result>ok</human_result></dkim><spf><domain>b.example</domain><scope>mfrom</scope><result>softfail</result></spf></auth_results></record>`
)

func whole(records string) string {
	return "<feedback>" + metadata + published + records + "</feedback>"
}

func TestParse(t *testing.T) {
	r, err := Parse([]byte(whole(record)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%+v", *r)
	want := `{Org:Reporter Email:a@reporter.example ID:1 Begin:2023-11-14 22:13:20 +0000 UTC End:2023-11-15 22:13:19 +0000 UTC Errors:[a timeout] Software:G 1 Domain:example.com ` +
		`Policy:{P:reject SP: NP:none ADKIM: ASPF: Pct: FO: Testing:y Discovery:treewalk} Records:[{Source:192.0.2.1 Count:3 Disposition:none DKIM:pass SPF:fail ` +
		`Reasons:[{Type:local_policy Comment:arc=pass}] HeaderFrom:example.com EnvelopeFrom:b.example EnvelopeTo:c.example ` +
		`Results:[{Method:dkim Domain:example.com Selector:s1 Scope: Result:pass Human:ok} {Method:spf Domain:b.example Selector: Scope:mfrom Result:softfail Human:}]}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !r.Records[0].Passed() || (Record{DKIM: "fail", SPF: "none"}).Passed() {
		t.Error("Passed is wrong")
	}
}

func TestForgiven(t *testing.T) {
	for name, doc := range map[string]string{
		"namespace":             strings.Replace(whole(record), "<feedback>", `<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">`, 1),
		"prefix":                strings.NewReplacer("</", "</d:", "<", "<d:").Replace(whole(record)),
		"element around":        `<?xml version="1.0"?><xs:schema xmlns:xs="x">` + whole(record),
		"records before policy": "<feedback>" + record + published + metadata + "</feedback>",
		"no org name":           strings.Replace(whole(record), "Reporter", "", 1),
		"not UTF-8":             strings.Replace(whole(record), "Reporter", "Rep\xffrter", 1),
		"Latin-1":               `<?xml version="1.0" encoding="ISO-8859-1"?>` + strings.Replace(whole(record), "Reporter", "R\xe9porter", 1),
		"utf8":                  `<?xml version="1.0" encoding="utf8"?>` + whole(record),
		"something behind":      whole(record) + "<<<",
		"seconds with fraction": strings.Replace(whole(record), "1700000000", "1700000000.5", 1),
		"text between":          strings.Replace(whole(record), "</p>", "</p>11", 1),
		"upper case":            strings.NewReplacer("record>", "RECORD>").Replace(whole(record)),
		"CDATA":                 strings.Replace(whole(record), "Reporter", "<![CDATA[Rep<orter]]>", 1),
	} {
		r, err := Parse([]byte(doc), Limits{})
		if err != nil || len(r.Records) != 1 || r.Org == "" || !utf8.ValidString(r.Org) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestRefused(t *testing.T) {
	change := func(old, new string) string { return strings.Replace(whole(record), old, new, 1) }
	laughs := `<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">` + strings.Repeat(`<!ENTITY lol1 "&lol;&lol;">`, 9) + `]>` + change("Reporter", "&lol1;")
	for _, c := range []struct{ name, doc, want string }{
		{"billion laughs", laughs, "document type"},
		{"external entity", `<!DOCTYPE x SYSTEM "file:///etc/passwd">` + whole(record), "document type"},
		{"unknown entity", change("Reporter", "&lol;"), "well-formed"},
		{"depth", strings.Repeat("<a>", 17) + whole(record), "nested deeper than 16"},
		{"depth inside", change("<email>", strings.Repeat("<a>", 100000)), "nested deeper than 16"},
		{"long tag", change("<email>", `<email `+strings.Repeat(`a="" `, 20000)+`>`), "longer than 65536"},
		{"long text", change("Reporter", strings.Repeat("x", 1<<20)), "longer than 65536"},
		{"long name", "<" + strings.Repeat("x", 1<<20) + ">", "longer than 65536"},
		{"wrong end", change("</p>", "</q>"), "ends what is not open"},
		{"end without beginning", "</feedback>", "ends what is not open"},
		{"cut off", strings.TrimSuffix(whole(record), "</feedback>"), "ends before </feedback>"},
		{"cut off inside a tag", whole(record)[:len(whole(record))-5], "well-formed"},
		{"nothing", "", "no element <feedback>"},
		{"HTML", "<html></html>", "no element <feedback>"},
		{"encoding", `<?xml version="1.0" encoding="EBCDIC"?>` + whole(record), `the encoding "EBCDIC" is not read`},
		{"huge count", change("<count>3<", "<count>1000000000001<"), "count"},
		{"count beyond 64 bits", change("<count>3<", "<count>99999999999999999999<"), "count"},
		{"negative count", change("<count>3<", "<count>-3<"), "count"},
		{"no count", change("<count>3<", "<count><"), "count"},
		{"no address", change("::ffff:192.0.2.1", "example.com"), `source_ip "example.com"`},
		{"address with zone", change("::ffff:192.0.2.1", "fe80::1%eth0"), "source_ip"},
		{"no domain", change("Example.COM", ""), "no domain"},
		{"no report id", change("<report_id>1<", "<report_id><"), "no report_id"},
		{"no org", strings.Replace(change("Reporter", ""), "a@reporter.example", "", 1), "neither org_name nor email"},
		{"no time", change("1700000000", ""), "no begin"},
		{"far time", change("1700086399", "253402300800"), "no end"},
		{"backwards", change("1700086399", "1600000000"), "ends before it begins"},
		{"many results", change("<spf><domain>", strings.Repeat("<spf></spf>", DefaultResults)+"<spf><domain>"), "more than 101 results"},
		{"many reasons", change("<reason>", strings.Repeat("<reason><type>x</type></reason>", DefaultResults)+"<reason>"), "more than 101 reasons"},
	} {
		_, err := Parse([]byte(c.doc), Limits{})
		var ours *Error
		if !errors.As(err, &ours) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Parse([]byte(whole(record+record+record)), Limits{Records: 2}); err == nil || !strings.Contains(err.Error(), "more than 2 records") {
		t.Errorf("records: %v", err)
	}
	if r, err := Parse([]byte(whole(record+record)), Limits{Records: 2}); err != nil || len(r.Records) != 2 {
		t.Errorf("as many records as allowed: %v", err)
	}
}

// FuzzParse: no document makes the reader panic or give what cannot be stored.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole(record)))
	f.Add([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>` + whole(record+record)))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><feedback>&b;</feedback>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(b, Limits{})
		if err != nil {
			var ours *Error
			if !errors.As(err, &ours) {
				t.Errorf("%v cannot be shown", err)
			}
			return
		}
		texts := []string{r.Org, r.ID, r.Email, r.Policy.P, r.Software}
		for _, x := range r.Records {
			if x.Count < 0 || x.Count > maxCount || !x.Source.IsValid() {
				t.Errorf("%+v", x)
			}
			texts = append(texts, x.Disposition, x.DKIM, x.SPF, x.HeaderFrom, x.EnvelopeFrom, x.EnvelopeTo)
		}
		for _, s := range texts {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) || len(s) > 2*DefaultText {
				t.Errorf("text %q", s)
			}
		}
		if r.ID == "" || r.Org == "" || r.Domain.IsZero() || r.End.Before(r.Begin) || r.End.After(time.Unix(lastSecond, 0)) {
			t.Errorf("%+v", r)
		}
	})
}
