package policy

import (
	"strings"

	"gatepost/mail"
)

// isReport tells whether a message is itself a report about mail: a notice or
// feedback report (multipart/report, RFC 6522), or an aggregate report, which
// only its subject shows (RFC 7489 section 7.2.1.1). Reports about reports
// would go on for ever between two who send them.
func isReport(h mail.Header) bool {
	for _, f := range h.Fields {
		if f.Is("Content-Type") && hasPrefixFold(f.Value(), "multipart/report") ||
			f.Is("Subject") && hasPrefixFold(f.Value(), "report domain:") {
			return true
		}
	}
	return false
}

func hasPrefixFold(s, prefix string) bool {
	s = strings.TrimSpace(s)
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
