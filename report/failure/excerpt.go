package failure

import (
	"bytes"

	"gatepost/mail"
)

// Bounds of what is kept of a header.
const (
	maxExcerpt    = 16 << 10 // octets
	maxSignatures = 5
)

// Excerpt copies the fields that a report may be made of, in their order. It
// is cheap and bounded, for it is done while the client waits.
func Excerpt(h mail.Header) []mail.Field {
	var out []mail.Field
	octets, signatures := 0, 0
	for _, f := range h.Fields {
		switch {
		case f.Is("DKIM-Signature"):
			if signatures++; signatures > maxSignatures {
				continue
			}
		case f.Is("From"), f.Is("Date"), f.Is("Message-ID"), f.Is("Subject"):
		default:
			continue
		}
		if octets += len(f.Raw); octets > maxExcerpt {
			break
		}
		out = append(out, mail.Field{Name: f.Name, Raw: bytes.Clone(f.Raw)})
	}
	return out
}
