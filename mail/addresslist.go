package mail

import (
	"mime"
	"strings"
)

// Mailbox is one element of an address field such as To.
type Mailbox struct {
	// Name is the display name as written, with its quotes and encoded words.
	Name    string
	Address Address
}

// ListError tells why an address field was not understood.
type ListError struct{ Reason AddressReason }

func (e *ListError) Error() string { return "address field: " + string(e.Reason) }

// ParseAddressHeader reads the unfolded value of an address field, with the
// same strictness as HeaderFrom. Groups are a *ListError with ReasonGroup.
func ParseAddressHeader(value string) ([]Mailbox, error) {
	list, reason := parseAddressList(value)
	if reason != "" {
		return nil, &ListError{reason}
	}
	return list, nil
}

// addressParser reads a list from left to right, once. The first fault ends it.
type addressParser struct {
	s        string
	pos      int
	comments []string
}

// word is an atom or a quoted string with what stands next to it.
type word struct {
	text   string
	quoted bool
	gap    bool // white space or a comment before it
}

func parseAddressList(value string) ([]Mailbox, AddressReason) {
	for i := range len(value) {
		if value[i] < ' ' && value[i] != '\t' || value[i] == 0x7f {
			return nil, ReasonControl
		}
	}
	p := &addressParser{s: value}
	var list []Mailbox
	for {
		box, reason := p.element()
		if reason == ReasonEmpty && (len(list) > 0 || p.pos < len(p.s)) {
			reason = ReasonObsolete // an empty element between commas
		}
		if reason != "" {
			return nil, reason
		}
		list = append(list, box)
		if p.pos == len(p.s) {
			return list, ""
		}
		p.pos++ // the comma
	}
}

// element reads one mailbox and stops before the comma or at the end.
func (p *addressParser) element() (Mailbox, AddressReason) {
	p.comments = p.comments[:0]
	words, reason := p.phrase()
	if reason != "" {
		return Mailbox{}, reason
	}
	var box Mailbox
	switch p.peek() {
	case '<':
		box, reason = p.angle(words)
	case ':', ';':
		reason = ReasonGroup
	default:
		box.Address, reason = bareAddress(words)
	}
	if reason == "" {
		reason = p.checkComments(box.Address)
	}
	return box, reason
}

// phrase reads words up to a bracket, comma, colon, semicolon or the end.
func (p *addressParser) phrase() ([]word, AddressReason) {
	var words []word
	for {
		gap, ok := p.skipCFWS()
		if !ok {
			return nil, ReasonSyntax
		}
		switch c := p.peek(); c {
		case 0, '<', ',', ':', ';':
			return words, ""
		case '>', ')', '\\':
			return nil, ReasonSyntax
		case '"':
			text, ok := p.quotedString()
			if !ok {
				return nil, ReasonSyntax
			}
			words = append(words, word{text, true, gap})
		default:
			words = append(words, word{p.atom(), false, gap})
		}
	}
}

// angle reads "<address>" and what may follow it.
func (p *addressParser) angle(words []word) (Mailbox, AddressReason) {
	p.pos++
	start := p.pos
	for p.peek() != '>' {
		switch p.peek() {
		case 0, '<':
			return Mailbox{}, ReasonSyntax
		case '"':
			if _, ok := p.quotedString(); !ok {
				return Mailbox{}, ReasonSyntax
			}
		default:
			p.pos++
		}
	}
	a, reason := angleAddress(strings.Trim(p.s[start:p.pos], " \t"))
	p.pos++
	if reason == "" {
		reason = p.checkEnd()
	}
	if reason == "" {
		reason = checkName(words, a)
	}
	return Mailbox{joinWords(words), a}, reason
}

// checkEnd wants a comma or the end behind the bracket.
func (p *addressParser) checkEnd() AddressReason {
	if _, ok := p.skipCFWS(); !ok {
		return ReasonSyntax
	}
	switch c := p.peek(); {
	case c == 0 || c == ',':
		return ""
	case c == '<' || c == ';' || strings.Contains(p.s[p.pos:], "@"):
		return ReasonSeveral
	}
	return ReasonText
}

// checkName looks at a display name: its atoms must not be another address,
// its encoded words must be harmless.
func checkName(words []word, a Address) AddressReason {
	for _, w := range words {
		text := strings.Trim(w.text, `"`)
		switch {
		case strings.HasPrefix(text, "=?") && strings.HasSuffix(text, "?="):
			if !harmlessEncodedWord(text, w.quoted, a) {
				return ReasonEncoded
			}
		case !w.quoted && strings.Contains(text, "@") && !strings.EqualFold(text, a.String()):
			return ReasonSeveral
		}
	}
	return ""
}

// harmlessEncodedWord tells whether the encoded word hides no NUL, CR or LF
// and, outside quotes, holds no address but a in clear.
func harmlessEncodedWord(s string, quoted bool, a Address) bool {
	parts := strings.SplitN(s, "?", 5) // "=", charset, encoding, text, "="
	if len(parts) != 5 {
		return quoted || !strings.Contains(s, "@") // not decoded by anyone
	}
	if !quoted && strings.Contains(s, "@") && !strings.EqualFold(parts[3], a.String()) {
		return false
	}
	octets, err := new(mime.WordDecoder).Decode("=?iso-8859-1?" + parts[2] + "?" + parts[3] + "?=")
	return err != nil || !strings.ContainsAny(octets, "\x00\r\n")
}

func angleAddress(s string) (Address, AddressReason) {
	outside := outsideQuotes(s)
	switch {
	case s == "":
		return Address{}, ReasonNull
	case s[0] == '@' || strings.Contains(outside, ":") && !strings.Contains(outside, "["):
		return Address{}, ReasonRoute
	case strings.ContainsAny(outside, " \t()"):
		return Address{}, ReasonObsolete
	case strings.Contains(outside, ","):
		return Address{}, ReasonSeveral
	}
	return headerAddress(s)
}

// bareAddress reads an address without brackets.
func bareAddress(words []word) (Address, AddressReason) {
	var text strings.Builder
	inside, ats := false, 0
	for i, w := range words {
		inside = inside || i > 0 && w.gap
		if !w.quoted {
			ats += strings.Count(w.text, "@")
		}
		text.WriteString(w.text)
	}
	switch {
	case len(words) == 0:
		return Address{}, ReasonEmpty
	case inside && ats == 0:
		return Address{}, ReasonNoDomain
	case inside && ats > 1:
		return Address{}, ReasonSeveral
	case inside && splitAddress(words):
		return Address{}, ReasonObsolete
	case inside:
		return Address{}, ReasonText
	}
	return headerAddress(text.String())
}

// splitAddress tells whether a gap stands beside "@" or ".": "a @ b . c".
func splitAddress(words []word) bool {
	for i := 1; i < len(words); i++ {
		before, after := words[i-1].text, words[i].text
		if words[i].gap && (strings.HasSuffix(before, "@") || strings.HasSuffix(before, ".") ||
			strings.HasPrefix(after, "@") || strings.HasPrefix(after, ".")) {
			return true
		}
	}
	return false
}

// headerAddress reads an addr-spec without white space. An underscore in the
// domain is taken here, for hosts write such names into their mail.
func headerAddress(s string) (Address, AddressReason) {
	outside := outsideQuotes(s)
	switch {
	case strings.Contains(s, "=?") && strings.Contains(s, "?="):
		return Address{}, ReasonEncoded
	case !strings.Contains(outside, "@"):
		return Address{}, ReasonNoDomain
	case strings.Contains(outside, `".`) || strings.Contains(outside, `."`):
		return Address{}, ReasonObsolete
	}
	var a Address
	if a.UnmarshalText([]byte(s)) != nil {
		return Address{}, ReasonBadAddress
	}
	return a, ""
}

// checkComments refuses comments in which a sloppy reader finds another address.
func (p *addressParser) checkComments(a Address) AddressReason {
	for _, c := range p.comments {
		if strings.ContainsAny(c, "@<>") && !strings.EqualFold(c, a.String()) {
			return ReasonComment
		}
	}
	return ""
}
