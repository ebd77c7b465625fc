package authres

import (
	"bytes"
	"strings"

	"gatepost/mail"
)

// Combine joins the results of all fields that bear the same authserv-id as the
// first, as an ARC set must hold them (RFC 8617 section 4.1.1): what stands
// behind the name of one field. It is empty where there is none. The fields
// must be our own.
func Combine(h mail.Header) string {
	combined, ours := "", ""
	for _, f := range h.Fields {
		id, ok := claimedID(f.Value())
		if !f.Is(FieldName) || !ok || combined != "" && !sameID(id, ours) {
			continue
		}
		_, value, _ := bytes.Cut(f.Raw, []byte(":"))
		text := strings.Trim(string(value), " \t\r\n;")
		if combined == "" {
			combined, ours = text, id
		} else if _, results, more := strings.Cut(text, ";"); more {
			combined += ";" + results
		}
	}
	return combined
}
