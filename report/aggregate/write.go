package aggregate

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Format is how a report is written.
type Format string

// The formats.
const (
	RFC9990 Format = "rfc9990"
	RFC7489 Format = "rfc7489" // appendix C
)

// Namespace is that of the elements (RFC 9990 section 6.1). Reports of RFC
// 7489 have none, as nearly all that are sent: its schema names one for the
// root element only, which readers do not look for.
const Namespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// Write writes r as an XML document, record by record. What the schema wants
// and r does not say gets its default value; a word that the schema does not
// know is written as the nearest one that it does (words.go). Texts are made
// safe and cut to DefaultText octets, whoever wrote them. What would be no
// report that Parse reads is an error of type *Error, before anything is
// written; other errors are those of w.
func Write(w io.Writer, r *Report, f Format) error {
	if err := writable(r, f); err != nil {
		return err
	}
	e := &encoder{w: bufio.NewWriter(w), words: wordsOf(f), modern: f == RFC9990}
	e.report(r)
	if err := e.w.Flush(); err != nil { // the first error stays
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// writable checks what a report cannot be without.
func writable(r *Report, f Format) error {
	switch {
	case f != RFC9990 && f != RFC7489:
		return refuse("the format %q is not known", string(f))
	case r.Domain.IsZero() || r.Domain.IsLiteral():
		return refuse("the report has no policy domain")
	case text(r.ID) == "" || text(r.Org) == "" || text(r.Email) == "":
		return refuse("the report needs an id, an organization and an address")
	case r.Begin.Unix() < 0 || r.End.Unix() > lastSecond || r.End.Before(r.Begin):
		return refuse("the period of the report is impossible")
	case len(r.Records) == 0 || len(r.Records) > DefaultRecords:
		return refuse("the report has %d records; it needs 1 to %d", len(r.Records), DefaultRecords)
	}
	for i, x := range r.Records {
		if !x.Source.IsValid() || x.Count < 0 || x.Count > maxCount {
			return refuse("record %d has no source or an impossible count", i+1)
		}
	}
	return nil
}

// encoder writes elements, each on its line.
type encoder struct {
	w      *bufio.Writer
	words  words
	modern bool // RFC 9990
	open   []string
}

func (e *encoder) indent() {
	for range e.open {
		e.w.WriteString("  ")
	}
}

func (e *encoder) begin(name string) {
	e.indent()
	e.w.WriteString("<" + name + ">\n")
	e.open = append(e.open, name)
}

func (e *encoder) end() {
	name := e.open[len(e.open)-1]
	e.open = e.open[:len(e.open)-1]
	e.indent()
	e.w.WriteString("</" + name + ">\n")
}

// leaf writes an element with text. EscapeText also takes away what XML 1.0
// cannot hold (section 2.2).
func (e *encoder) leaf(name, value string) {
	e.indent()
	e.w.WriteString("<" + name + ">")
	_ = xml.EscapeText(e.w, []byte(value)) // an error stays in e.w
	e.w.WriteString("</" + name + ">\n")
}

// option is a leaf that is left out where there is nothing to say.
func (e *encoder) option(name, value string) {
	if value != "" {
		e.leaf(name, value)
	}
}

func (e *encoder) report(r *Report) {
	e.w.WriteString(xml.Header)
	if e.modern {
		e.w.WriteString(`<feedback xmlns="` + Namespace + `">` + "\n")
	} else {
		e.w.WriteString("<feedback>\n")
	}
	e.open = append(e.open, "feedback")
	e.leaf("version", "1.0")
	e.metadata(r)
	e.policy(r)
	for i := range r.Records {
		e.record(&r.Records[i])
	}
	e.end()
}

func (e *encoder) metadata(r *Report) {
	e.begin("report_metadata")
	e.leaf("org_name", text(r.Org))
	e.leaf("email", text(r.Email))
	e.leaf("report_id", text(r.ID))
	e.begin("date_range")
	e.leaf("begin", strconv.FormatInt(r.Begin.Unix(), 10))
	e.leaf("end", strconv.FormatInt(r.End.Unix(), 10))
	e.end()
	if e.modern { // one element only
		e.option("error", text(strings.Join(r.Errors, "; ")))
		e.option("generator", text(r.Software))
	} else {
		for _, s := range r.Errors[:min(len(r.Errors), DefaultResults)] {
			e.option("error", text(s))
		}
	}
	e.end()
}

// policy writes what was published. The order is that of the schemas, though
// both allow any.
func (e *encoder) policy(r *Report) {
	p := &r.Policy
	policy := policies.nearest(p.P)
	e.begin("policy_published")
	e.leaf("domain", r.Domain.String())
	if e.modern {
		e.leaf("p", policy)
		e.option("sp", policies.exact(p.SP))
		e.option("np", policies.exact(p.NP))
		e.option("adkim", alignments.exact(p.ADKIM))
		e.option("aspf", alignments.exact(p.ASPF))
		e.option("discovery_method", discoveries.exact(p.Discovery))
		e.option("fo", failureOptions(p.FO))
		e.option("testing", answers.exact(p.Testing))
	} else {
		e.option("adkim", alignments.exact(p.ADKIM))
		e.option("aspf", alignments.exact(p.ASPF))
		e.leaf("p", policy)
		e.leaf("sp", or(policies.exact(p.SP), policy))
		e.leaf("pct", percentage(p.Pct))
		e.leaf("fo", or(failureOptions(p.FO), "0"))
	}
	e.end()
}

func (e *encoder) record(x *Record) {
	e.begin("record")
	e.begin("row")
	e.leaf("source_ip", e.address(x.Source))
	e.leaf("count", strconv.FormatInt(x.Count, 10))
	e.begin("policy_evaluated")
	e.leaf("disposition", e.words.dispositions.nearest(x.Disposition))
	e.leaf("dkim", passed(x.DKIM))
	e.leaf("spf", passed(x.SPF))
	for _, reason := range x.Reasons[:min(len(x.Reasons), DefaultResults)] {
		e.reason(reason)
	}
	e.end()
	e.end()
	e.begin("identifiers")
	e.option("envelope_to", domain(x.EnvelopeTo))
	e.leaf("envelope_from", domain(x.EnvelopeFrom)) // empty: the null reverse-path
	e.leaf("header_from", domain(x.HeaderFrom))
	e.end()
	e.begin("auth_results")
	e.results(x)
	e.end()
	e.end()
}

// reason keeps a word that the format does not know in the comment.
func (e *encoder) reason(r Reason) {
	kind, comment := e.words.reasons.exact(r.Type), text(r.Comment)
	if kind == "" {
		if r == (Reason{}) {
			return
		}
		kind = "other"
		if unknown := text(r.Type); unknown != "" && comment != "" {
			comment = text(unknown + ": " + comment)
		} else {
			comment = unknown + comment
		}
	}
	e.begin("reason")
	e.leaf("type", kind)
	e.option("comment", comment)
	e.end()
}

// results writes signatures, then SPF: RFC 9990 has one result of SPF at most,
// RFC 7489 one at least.
func (e *encoder) results(x *Record) {
	var spf []Result
	for _, r := range signatures(x) {
		e.begin("dkim")
		e.leaf("domain", domain(r.Domain))
		e.leaf("selector", text(r.Selector))
		e.leaf("result", e.words.dkim.nearest(r.Result))
		e.option("human_result", text(r.Human))
		e.end()
	}
	for _, r := range x.Results {
		if r.Method == "spf" && len(spf) == 0 {
			spf = append(spf, r)
		}
	}
	if len(spf) == 0 && !e.modern {
		spf = append(spf, Result{Domain: or(x.EnvelopeFrom, x.HeaderFrom), Result: "none"})
	}
	for _, r := range spf {
		e.begin("spf")
		e.leaf("domain", domain(r.Domain))
		if e.modern { // "helo" is not in its schema
			e.option("scope", e.words.scopes.exact(r.Scope))
		} else {
			e.leaf("scope", e.words.scopes.nearest(r.Scope))
		}
		e.leaf("result", e.words.spf.nearest(r.Result))
		if e.modern {
			e.option("human_result", text(r.Human))
		}
		e.end()
	}
}

// address has all its groups where the schema of RFC 7489 is followed: its
// pattern does not know "::".
func (e *encoder) address(a netip.Addr) string {
	if a = a.Unmap().WithZone(""); e.modern {
		return a.String()
	}
	return a.StringExpanded()
}
