package aggregate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// grammar is the element structure of RFC 9990 appendix A, told in our own
// way: each line is a type and its elements, "name:type" with ?, * or + as
// usual. A type with "&" takes its elements in any order, "|" makes a choice
// of words.
const grammar = `
feedback = version:decimal? report_metadata:metadata policy_published:policy extension:extension? record:record+
metadata & org_name:string email:string extra_contact_info:string? report_id:string date_range:range error:string? generator:string?
range & begin:integer end:integer
policy & domain:string p:action sp:action? np:action? adkim:mode? aspf:mode? discovery_method:method? fo:string? testing:answer?
record = row:row identifiers:identifiers auth_results:results
row & source_ip:string count:integer policy_evaluated:evaluated
evaluated = disposition:disposition dkim:verdict spf:verdict reason:reason*
reason & type:override comment:string?
identifiers & header_from:string envelope_from:string? envelope_to:string?
results = dkim:dkim* spf:spf?
dkim & domain:string selector:string result:dkimresult human_result:string?
spf & domain:string scope:scope? result:spfresult human_result:string?
extension =
action | none quarantine reject
disposition | none pass quarantine reject
mode | r s
method | psl treewalk
answer | y n
verdict | pass fail
override | local_policy mailing_list other policy_test_mode trusted_forwarder
scope | mfrom
dkimresult | none pass fail policy neutral temperror permerror
spfresult | none pass fail softfail policy neutral temperror permerror
`

// schema makes an XML Schema of the grammar.
func schema() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<s:schema xmlns:s="http://www.w3.org/2001/XMLSchema" xmlns=%q targetNamespace=%q elementFormDefault="qualified"><s:element name="feedback" type="feedback"/>`, Namespace, Namespace)
	for line := range strings.Lines(strings.TrimSpace(grammar)) {
		words := strings.Fields(line)
		if words[1] == "|" {
			fmt.Fprintf(&b, `<s:simpleType name=%q><s:restriction base="s:string">`, words[0])
			for _, word := range words[2:] {
				fmt.Fprintf(&b, `<s:enumeration value=%q/>`, word)
			}
			b.WriteString("</s:restriction></s:simpleType>\n")
			continue
		}
		group := map[string]string{"=": "sequence", "&": "all"}[words[1]]
		fmt.Fprintf(&b, "<s:complexType name=%q><s:%s>", words[0], group)
		for _, word := range words[2:] {
			b.WriteString(schemaElement(word))
		}
		fmt.Fprintf(&b, "</s:%s></s:complexType>\n", group)
	}
	return b.String() + "</s:schema>"
}

func schemaElement(word string) string {
	bounds := map[byte]string{'?': `minOccurs="0"`, '*': `minOccurs="0" maxOccurs="unbounded"`, '+': `maxOccurs="unbounded"`}[word[len(word)-1]]
	name, kind, _ := strings.Cut(strings.TrimRight(word, "?*+"), ":")
	switch kind {
	case "string", "integer", "decimal":
		kind = "s:" + kind
	}
	return fmt.Sprintf("<s:element name=%q type=%q %s/>", name, kind, bounds)
}

// oldSchema is the schema of RFC 7489 that libmail-dmarc-perl brings, without
// the name space that its own references do not resolve in (an erratum).
func oldSchema(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/usr/share/perl5/auto/share/dist/Mail-DMARC/rua-schema.xsd")
	if err != nil {
		t.Skipf("SKIPPED LOUDLY: the schema of libmail-dmarc-perl is absent; 'make deps' installs it: %v", err)
	}
	return strings.Replace(string(b), `targetNamespace="http://dmarc.org/dmarc-xml/0.1"`, "", 1)
}

// validate holds documents against a schema with xmllint, and gives what it says.
func validate(t *testing.T, xsd string, documents ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skipf("SKIPPED LOUDLY: xmllint is absent; 'make deps' installs it: %v", err)
	}
	dir := t.TempDir()
	args := []string{"--nonet", "--noout", "--schema", filepath.Join(dir, "schema.xsd")}
	files := map[string]string{args[3]: xsd}
	for i, d := range documents {
		name := filepath.Join(dir, fmt.Sprintf("%d.xml", i))
		files[name] = d
		args = append(args, name)
	}
	for name, content := range files {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("xmllint", args...).CombinedOutput()
	return string(out), err
}

// TestSchemas: xmllint finds that whatever is written is of the schema.
func TestSchemas(t *testing.T) {
	for _, f := range formats {
		xsd := schema()
		if f == RFC7489 {
			xsd = oldSchema(t)
		}
		documents := []string{written(t, small(), f)}
		generator := rapid.Custom(drawn)
		for i := range 300 {
			var b strings.Builder
			if Write(&b, generator.Example(i), f) == nil {
				documents = append(documents, b.String())
			}
		}
		if out, err := validate(t, xsd, documents...); err != nil || len(documents) < 250 {
			t.Errorf("%s: %d documents: %v\n%.3000s", f, len(documents), err, out)
		}
		// The schema can say no.
		bad := strings.Replace(documents[0], "<dkim>pass</dkim>", "<dkim>maybe</dkim>", 1)
		if out, err := validate(t, xsd, bad); err == nil || !strings.Contains(out, "maybe") {
			t.Errorf("%s: a wrong word passes: %s", f, out)
		}
	}
}
