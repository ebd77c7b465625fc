package mail

import "strings"

// maxCommentDepth bounds nested comments.
const maxCommentDepth = 16

// peek is the next octet, 0 at the end; NUL itself has been refused before.
func (p *addressParser) peek() byte {
	if p.pos < len(p.s) {
		return p.s[p.pos]
	}
	return 0
}

// skipCFWS passes over white space and comments (RFC 5322 section 3.2.2) and
// tells whether there were any. Not ok is a comment without end.
func (p *addressParser) skipCFWS() (found, ok bool) {
	for {
		switch p.peek() {
		case ' ', '\t':
			p.pos++
		case '(':
			if !p.comment() {
				return true, false
			}
		default:
			return found, true
		}
		found = true
	}
}

// comment reads a comment, which may hold others, and keeps its text.
func (p *addressParser) comment() bool {
	start, depth := p.pos+1, 0
	for ; p.pos < len(p.s); p.pos++ {
		switch p.s[p.pos] {
		case '\\':
			p.pos++
		case '(':
			if depth++; depth > maxCommentDepth {
				return false
			}
		case ')':
			if depth--; depth == 0 {
				p.comments = append(p.comments, strings.TrimSpace(p.s[start:p.pos]))
				p.pos++
				return true
			}
		}
	}
	p.pos = len(p.s)
	return false
}

// quotedString reads a quoted string with its quotes.
func (p *addressParser) quotedString() (string, bool) {
	start := p.pos
	for p.pos++; p.pos < len(p.s); p.pos++ {
		switch p.s[p.pos] {
		case '\\':
			p.pos++
		case '"':
			p.pos++
			return p.s[start:p.pos], true
		}
	}
	p.pos = len(p.s)
	return "", false
}

// atom reads up to white space or an octet with a meaning; "@", dots and
// square brackets belong to it. A colon inside square brackets does too.
func (p *addressParser) atom() string {
	start, literal := p.pos, false
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		if strings.IndexByte(" \t<>,;()\\\"", c) >= 0 || c == ':' && !literal {
			break
		}
		literal = c == '[' && p.pos > start && p.s[p.pos-1] == '@' || literal && c != ']'
		p.pos++
	}
	return p.s[start:p.pos]
}

// outsideQuotes is s with what stands between quotes left out.
func outsideQuotes(s string) string {
	if !strings.Contains(s, `"`) {
		return s
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
			b.WriteByte('"')
		case quoted && s[i] == '\\':
			i++
		case !quoted:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// joinWords writes a display name with single spaces.
func joinWords(words []word) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 && w.gap {
			b.WriteByte(' ')
		}
		b.WriteString(w.text)
	}
	return b.String()
}
