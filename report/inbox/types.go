package inbox

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"gatepost/mail"
	"gatepost/report/extract"
	"gatepost/store"
)

// Store is what the inbox needs of *store.Store.
type Store interface {
	Submit(ctx context.Context, statements ...store.Statement) ([]int64, error)
	Select(ctx context.Context, each func(scan func(dest ...any) error) error, sql string, args ...any) error
	Get(ctx context.Context, sql string, args []any, dest ...any) error
}

// IDs makes the ids of reports.
type IDs interface{ Next() mail.ID }

// Options is everything that the inbox is told. Zero bounds mean the defaults.
type Options struct {
	Store  Store // opened with Schema
	IDs    IDs
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger
	Limits extract.Limits
	// Proven is the domain that a message is proven to come from, "" where it
	// proves none; default: "" for all.
	Proven func(*mail.Message) string
	// Sender and Daily are what one sender and all together may use of the
	// tables in a day; default: a fiftieth and a tenth.
	Sender, Daily Allowance

	Reports int64 // kept at most
	Records int64 // of all reports together
	Unread  int64 // messages that could not be read, kept at most
	Content int64 // octets kept of each of them
}

// Defaults of Options.
const (
	DefaultReports = 100_000
	DefaultRecords = 2_000_000
	DefaultUnread  = 1000
	DefaultContent = 64 << 10
)

// Report is one report, or the part of a TLS report about one policy.
type Report struct {
	ID       mail.ID      `json:"id"`
	Message  mail.ID      `json:"message"` // that brought it
	Kind     extract.Kind `json:"kind"`
	Org      string       `json:"org"`
	ReportID string       `json:"report_id"`
	Domain   string       `json:"domain"`
	Part     int          `json:"part,omitempty"`
	Begin    time.Time    `json:"begin"`
	End      time.Time    `json:"end"`
	Received time.Time    `json:"received"`
	Sender   string       `json:"sender"`
	Proven   string       `json:"proven,omitempty"` // domain that the mail proved to come from
	// Records counts the records, Messages what they count together: messages,
	// of TLS reports sessions. Passed of them passed DMARC, or were encrypted.
	Records  int             `json:"records"`
	Messages int64           `json:"messages"`
	Passed   int64           `json:"passed"`
	Detail   json.RawMessage `json:"detail,omitempty"` // as the reporter wrote it
}

// Record is one row of a report. Of a TLS report Disposition is the kind of
// failure, of a failure report the result of delivery.
type Record struct {
	Source      string          `json:"source"`
	HeaderFrom  string          `json:"header_from,omitempty"`
	Messages    int64           `json:"messages"`
	Disposition string          `json:"disposition,omitempty"`
	DKIM        string          `json:"dkim,omitempty"`
	SPF         string          `json:"spf,omitempty"`
	Detail      json.RawMessage `json:"detail,omitempty"`
}

// Unread is what could not be read.
type Unread struct {
	ID       mail.ID      `json:"id"`
	Message  mail.ID      `json:"message"`
	Kind     extract.Kind `json:"kind,omitempty"` // what it claimed to be
	Received time.Time    `json:"received"`
	Sender   string       `json:"sender"`
	Proven   string       `json:"proven,omitempty"` // domain that the mail proved to come from
	Name     string       `json:"name,omitempty"`   // of the file
	Reason   string       `json:"reason"`
	Size     int64        `json:"size"`              // of the message
	Content  []byte       `json:"content,omitempty"` // its beginning
}
