package compose

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"gatepost/report/aggregate"
)

// peer runs a program of Debian's, after it has looked whether it is there.
func peer(t *testing.T, probe, command []string, in string) []byte {
	t.Helper()
	if out, err := exec.Command(probe[0], probe[1:]...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED LOUDLY: a peer is absent; 'make deps' installs it: %q: %v %s", probe, err, out)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = strings.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s%s", command[0], err, out, stderr.String())
	}
	return out
}

// readMessage is Python's email package with its strict policy and its reader
// of XML.
const readMessage = `
import sys, json, gzip, email, email.policy, xml.etree.ElementTree as tree
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, file = m.iter_parts()
defects = [str(d) for p in m.walk() for d in p.defects] + [str(d) for v in m.values() for d in v.defects]
root = tree.fromstring(gzip.decompress(file.get_content()))
space = root.tag[:-len('feedback')]
json.dump({'defects': defects, 'from': m['From'].addresses[0].display_name, 'to': [a.addr_spec for a in m['To'].addresses],
  'subject': m['Subject'], 'type': file.get_content_type(), 'name': file.get_filename(), 'auto': m['Auto-Submitted'],
  'text': text.get_content_type(), 'space': space, 'version': root.findtext(space + 'version'),
  'counts': [r.findtext(f'{space}row/{space}count') for r in root.findall(space + 'record')]}, sys.stdout)
`

// TestPythonReadsIt: Python's email and XML packages see what was meant.
func TestPythonReadsIt(t *testing.T) {
	for _, f := range formats {
		r, o := report(t, 3), options(t, f)
		message := composed(t, r, o, "a@reader.example", `"b c"@other.example`)
		out := peer(t, []string{"/usr/bin/python3", "-c", "import email"}, []string{"/usr/bin/python3", "-c", readMessage}, message)
		var got map[string]any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		id, space := "<"+r.ID+">", "{"+aggregate.Namespace+"}"
		if f == aggregate.RFC7489 {
			id, space = "<"+r.ID+"@mx.receiver.example>", ""
		}
		want := map[string]any{
			"defects": []any{}, "from": "Empfänger & Söhne", "to": []any{"a@reader.example", `"b c"@other.example`}, "auto": "auto-generated", "text": "text/plain",
			"subject": "Report Domain: xn--bcher-kva.example Submitter: mx.receiver.example Report-ID: " + id, "type": "application/gzip",
			"name": FileName(o.Submitter, r), "space": space, "version": "1.0", "counts": []any{"2", "2", "2"},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %v\nwant %v", f, got, want)
		}
	}
}

// receiveReport lets Mail::DMARC, a reporter's and receiver's library, read a
// message, and shows what it would store.
const receiveReport = `
use strict; use warnings; use JSON::PP; use Email::Simple; use Mail::DMARC::Report::Receive;
my %got;
{ no warnings 'redefine';
  *Mail::DMARC::Report::save_aggregate = sub {
    my $a = $_[0]->aggregate; my $m = $a->metadata; my $p = $a->policy_published;
    %got = (org => $m->org_name, email => $m->email, id => $m->report_id, begin => $m->begin, end => $m->end,
      domain => $p->domain, p => $p->p, sp => $p->sp, pct => $p->pct);
    for my $r (@{$a->record}) {
      my $e = $r->row->policy_evaluated;
      push @{$got{records}}, join ' ', $r->row->source_ip, $r->row->count, $e->disposition, $e->dkim, $e->spf, $r->identifiers->header_from,
        $r->identifiers->envelope_from, map({ "reason=$_->{type}" } @{$e->reason || []}),
        map({ join ',', 'dkim', $_->{domain}, $_->{selector}, $_->{result} } @{$r->auth_results->dkim || []}),
        map({ join ',', 'spf', $_->{domain}, $_->{scope}, $_->{result} } @{$r->auth_results->spf || []});
    } };
}
open my $out, '>&', \*STDOUT; close STDOUT; open STDOUT, '>', '/dev/null'; # it talks
local $/; my $message = <STDIN>;
$got{kind} = Mail::DMARC::Report::Receive->new->from_email_simple(Email::Simple->new($message));
print $out JSON::PP->new->canonical->encode(\%got);
`

// TestMailDMARCReadsIt: a library that domain owners run takes our report in.
// The version of Debian 12 is older than RFC 9990 and finds no element of its
// namespace, so that it is asked about RFC 7489 only.
func TestMailDMARCReadsIt(t *testing.T) {
	r := report(t, 2)
	r.Policy.SP, r.Policy.Pct, r.Domain, r.Org = "quarantine", "50", domain(t, "example.com"), "Receiver"
	r.Records[0].Reasons = []aggregate.Reason{{Type: "sampled_out", Comment: "x"}}
	r.Records[0].Results = append([]aggregate.Result{{Method: "dkim", Domain: "d.example", Selector: "s<1>", Result: "fail"}}, r.Records[0].Results...)
	message := composed(t, r, options(t, aggregate.RFC7489), "a@reader.example")
	out := peer(t, []string{"/usr/bin/perl", "-MMail::DMARC::Report::Receive", "-e", "1"}, []string{"/usr/bin/perl", "-e", receiveReport}, message)
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := map[string]any{
		"kind": "aggregate", "org": "Receiver", "email": "postmaster@receiver.example", "id": r.ID, "begin": "1700000000", "end": "1700086399",
		"domain": "example.com", "p": "reject", "sp": "quarantine", "pct": "50", "records": []any{
			"192.0.0.0 2 none fail pass xn--bcher-kva.example 0.example reason=sampled_out dkim,d.example,s<1>,fail spf,a.example,mfrom,pass",
			"192.0.0.1 2 none fail pass xn--bcher-kva.example 1eef.example spf,a.example,mfrom,pass",
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\ngot  %v\nwant %v", got, want)
	}
}
