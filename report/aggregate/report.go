package aggregate

import (
	"fmt"
	"net/netip"
	"time"

	"gatepost/mail"
)

// Report is one report.
type Report struct {
	Org      string      `json:"org"`
	Email    string      `json:"email,omitempty"`
	ID       string      `json:"report_id"`
	Begin    time.Time   `json:"begin"`
	End      time.Time   `json:"end"`
	Errors   []string    `json:"errors,omitempty"` // of the reporter
	Software string      `json:"generator,omitempty"`
	Domain   mail.Domain `json:"domain"`
	Policy   Policy      `json:"policy"`
	Records  []Record    `json:"records"`
}

// Policy is what the reporter found published; empty: not said.
type Policy struct {
	P         string `json:"p,omitempty"`
	SP        string `json:"sp,omitempty"`
	NP        string `json:"np,omitempty"`
	ADKIM     string `json:"adkim,omitempty"`
	ASPF      string `json:"aspf,omitempty"`
	Pct       string `json:"pct,omitempty"`
	FO        string `json:"fo,omitempty"`
	Testing   string `json:"testing,omitempty"`
	Discovery string `json:"discovery_method,omitempty"`
}

// Record is what the reporter saw of one source.
type Record struct {
	Source       netip.Addr `json:"source"`
	Count        int64      `json:"count"`
	Disposition  string     `json:"disposition,omitempty"` // none, quarantine, reject; pass of RFC 9990
	DKIM         string     `json:"dkim,omitempty"`        // pass or fail, aligned
	SPF          string     `json:"spf,omitempty"`         // likewise
	Reasons      []Reason   `json:"reasons,omitempty"`
	HeaderFrom   string     `json:"header_from,omitempty"`
	EnvelopeFrom string     `json:"envelope_from,omitempty"`
	EnvelopeTo   string     `json:"envelope_to,omitempty"`
	Results      []Result   `json:"results,omitempty"`
}

// Reason is why the disposition is not what the policy asks for.
type Reason struct {
	Type    string `json:"type"`
	Comment string `json:"comment,omitempty"`
}

// Result is one proof, not yet aligned.
type Result struct {
	Method   string `json:"method"` // dkim or spf
	Domain   string `json:"domain,omitempty"`
	Selector string `json:"selector,omitempty"`
	Scope    string `json:"scope,omitempty"`
	Result   string `json:"result,omitempty"`
	Human    string `json:"human_result,omitempty"`
}

// Passed tells whether DMARC passed: one aligned proof is enough.
func (r Record) Passed() bool { return r.DKIM == "pass" || r.SPF == "pass" }

// Limits bound one report. Zero values mean the defaults.
type Limits struct {
	Records int // in a report
	Results int // proofs, reasons and errors of a record, each
	Depth   int // of elements
	Token   int // octets of one tag or one run of text
	Text    int // octets of a value that are kept
}

// Defaults of Limits.
const (
	DefaultRecords = 20_000
	DefaultResults = 101 // 100 signatures and SPF (RFC 9990 section 3.1.3)
	DefaultDepth   = 16
	DefaultToken   = 64 << 10
	DefaultText    = 300
)

// maxCount bounds the messages of one record, so that sums cannot overflow.
const maxCount = 1_000_000_000_000

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

func (l Limits) complete() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{{&l.Records, DefaultRecords}, {&l.Results, DefaultResults}, {&l.Depth, DefaultDepth}, {&l.Token, DefaultToken}, {&l.Text, DefaultText}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// Error is why a report is not read, in words that may be shown.
type Error struct{ Reason string }

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }
