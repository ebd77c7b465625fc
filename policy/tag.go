package policy

import (
	"fmt"
	"strings"

	"gatepost/mail"
)

// TagField is the header field (policy.tag.header) with CRLF that tells the
// recipient's side what the judgement came to; nil where there is nothing to
// tell. In monitor mode it says what would have been done.
func (e *Engine) TagField(v Verdict) []byte {
	text := string(v.Action)
	switch {
	case v.Would != "" && v.Would != Accept:
		text = fmt.Sprintf("monitor; would=%s", v.Would)
	case v.Action != Tag && v.Action != Quarantine:
		return nil
	}
	text += "; rule=" + v.Rule
	if !v.Domain.IsZero() {
		text += "; domain=" + v.Domain.String()
	}
	if v.Reason == "" {
		return []byte(e.tagHeader + ": " + text + "\r\n")
	}
	reason := strings.NewReplacer(`"`, "'", `\`, "/").Replace(ascii(mail.SafeText(v.Reason, 300)))
	return []byte(e.tagHeader + ": " + text + ";\r\n\treason=\"" + reason + "\"\r\n")
}

// ascii keeps a field fit for a way without SMTPUTF8.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x7f {
			return '?'
		}
		return r
	}, s)
}
