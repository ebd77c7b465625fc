package authres

import (
	"strings"

	"gatepost/mail"
)

// maxCommentDepth bounds nested comments; deeper ones make a field malformed.
const maxCommentDepth = 16

// Forged finds the Authentication-Results fields that a message from outside
// must not carry on (RFC 8601 section 5): those that claim authservID, in
// whatever case, quoting, folding or company of comments and a version, and
// those whose authserv-id cannot be read, since another program may read ours.
func Forged(h mail.Header, authservID string) []mail.Span {
	authservID = serverID(authservID)
	var spans []mail.Span
	for _, f := range h.Fields {
		if !f.Is(FieldName) {
			continue
		}
		id, ok := claimedID(f.Value())
		if !ok || sameID(id, authservID) || sameID(looseID(f.Value()), authservID) {
			spans = append(spans, f.Span())
		}
	}
	return spans
}

// claimedID reads the authserv-id at the start of a field's value.
func claimedID(value string) (string, bool) {
	s, ok := skipCFWS(value)
	if !ok || s == "" {
		return "", false
	}
	if s[0] == '"' {
		return unquote(s)
	}
	end := strings.IndexAny(s, " \t\r\n;(/=\"")
	if end < 0 {
		end = len(s)
	}
	id := s[:end]
	if end < len(s) && s[end] == '"' || strings.HasPrefix(s[end:], "=?") {
		return "", false
	}
	return id, isPrintable(id)
}

// isPrintable refuses octets that a reader may drop, take for another or take
// for the end: mx.example.com,x is no token (RFC 8601 section 2.2). An address
// literal is one name.
func isPrintable(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return id != "" && !strings.ContainsAny(id, ")=?<>\\\",@") && (id[0] == '[' || !strings.Contains(id, ":"))
}

// sameID also takes names that mean the same in DNS.
func sameID(id, ours string) bool {
	id, ours = strings.TrimSuffix(id, "."), strings.TrimSuffix(ours, ".")
	return strings.EqualFold(id, ours)
}

// looseID is what a reader takes for the authserv-id who drops comments, white
// space and quotes wherever they stand: mx (x) ."example".com.
func looseID(value string) string {
	var b strings.Builder
	for value != "" {
		rest, ok := skipCFWS(value)
		if !ok || rest == "" || rest[0] == ';' {
			break
		}
		if rest[0] != '"' && rest[0] != '\\' {
			b.WriteByte(rest[0])
		}
		value = rest[1:]
	}
	return b.String()
}

// unquote reads a quoted string, which must be the whole id.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			id := strings.TrimSpace(b.String())
			return id, isPrintable(id) && (i+1 == len(s) || strings.IndexByte(" \t\r\n;(/=", s[i+1]) >= 0)
		case '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}

// skipCFWS passes over white space and comments; not ok is a comment without
// end.
func skipCFWS(s string) (string, bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			if depth++; depth > maxCommentDepth {
				return "", false
			}
		case depth > 0 && c == ')':
			depth--
		case depth > 0 && c == '\\':
			i++
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return s[i:], true
		}
	}
	return "", depth == 0
}
