package extract

import "fmt"

// Limits bound what one message may cost. Zero values mean the defaults.
type Limits struct {
	Message      int64 // octets of the message
	Compressed   int64 // octets of one archive
	Uncompressed int64 // octets that all archives of the message become
	Ratio        int64 // uncompressed to compressed, beyond the first MiB
	Entries      int   // files in one zip
	Depth        int   // multipart inside multipart
	Parts        int   // MIME parts
	Documents    int   // reports
}

// Defaults of Limits. The largest reports of large receivers have some 10 MiB
// of XML; RFC 9990 section 3 lets a mailbox refuse what is too large for it.
const (
	DefaultMessage      = 25 << 20
	DefaultCompressed   = 10 << 20
	DefaultUncompressed = 48 << 20
	DefaultRatio        = 250
	DefaultEntries      = 10
	DefaultDepth        = 8
	DefaultParts        = 100
	DefaultDocuments    = 20
)

// ratioFrom is where the ratio begins to count: a small file of equal lines
// compresses well.
const ratioFrom = 1 << 20

func (l Limits) complete() Limits {
	or(&l.Message, DefaultMessage)
	or(&l.Compressed, DefaultCompressed)
	or(&l.Uncompressed, DefaultUncompressed)
	or(&l.Ratio, DefaultRatio)
	or(&l.Entries, DefaultEntries)
	or(&l.Depth, DefaultDepth)
	or(&l.Parts, DefaultParts)
	or(&l.Documents, DefaultDocuments)
	return l
}

func or[T int | int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Error is why a message or one of its parts is not read, in words that may be
// shown.
type Error struct{ Reason string }

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }
