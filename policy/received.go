package policy

import (
	"errors"
	netmail "net/mail"
	"net/netip"
	"regexp"
	"strings"
)

// hop is the client as a trusted server recorded it in its Received field.
type hop struct {
	addr netip.Addr
	helo string // empty where the field does not tell
}

var (
	errNoFrom  = errors.New("it has no from clause")
	errForm    = errors.New("its from clause is of no known form")
	errClauses = errors.New("it does not have one from and one by clause and a date")
)

// receivedLimit is longer than any honest field.
const receivedLimit = 2000

// heloWord is what may stand for a HELO name: anything else could be text that
// a client smuggled through a careless server.
var heloWord = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]{1,255}$`)

// onlyDate keeps what stands behind a date out: the parser does not mind it.
var onlyDate = regexp.MustCompile(`^[A-Za-z0-9,:+ -]+(\([A-Za-z0-9 :+-]*\))? *$`)

// parseReceived reads a Received field (RFC 5321 section 4.4) in the forms of
// Gatepost, Postfix, Exim and Exchange:
//
//	from HELO (name [192.0.2.1]) by …           Gatepost, Postfix
//	from HELO ([192.0.2.1]) by …                Gatepost; Exim, where HELO and name are the same
//	from name ([192.0.2.1] helo=HELO) by …      Exim
//	from [192.0.2.1] (helo=HELO) by …           Exim, a client without a name
//	from HELO (192.0.2.1) by …                  Exchange
//
// It is strict: a HELO name is the client's own text, and must not be able to
// look like what the server wrote.
func parseReceived(value string) (hop, error) {
	words, err := receivedWords(value)
	if err != nil {
		return hop{}, err
	}
	if len(words) < 5 || !strings.EqualFold(words[0], "from") {
		return hop{}, errNoFrom
	}
	name, info := words[1], words[2]
	if !heloWord.MatchString(name) || info[0] != '(' {
		return hop{}, errForm
	}
	for i, w := range words[3:] {
		if strings.EqualFold(w, "by") {
			break
		}
		if w[0] != '(' || strings.Contains(w, "[") || i > 5 { // only what is said of TLS and AUTH
			return hop{}, errForm
		}
	}
	return clientOf(name, strings.TrimSpace(info[1:len(info)-1]))
}

// receivedWords splits a field into words and whole comments, up to the date.
func receivedWords(value string) ([]string, error) {
	value = strings.TrimSpace(strings.NewReplacer("\r", " ", "\n", " ", "\t", " ").Replace(value))
	if len(value) > receivedLimit || strings.ContainsAny(value, "\\\x00") {
		return nil, errForm
	}
	var words []string
	begin, depth := -1, 0
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '(' && depth == 0 && begin >= 0:
			return nil, errForm // a comment inside a word
		case c == '(':
			depth++
		case c == ')':
			depth--
		}
		if depth < 0 {
			return nil, errForm
		}
		if begin < 0 && c != ' ' && (c != ';' || depth > 0) {
			begin = i
		}
		ends := depth == 0 && (c == ' ' || c == ';' || c == ')')
		if !ends {
			continue
		}
		if begin >= 0 {
			word := value[begin:i]
			if c == ')' {
				word += ")"
			}
			words, begin = append(words, word), -1
		}
		if c == ';' {
			return words, clauses(words, value[i+1:])
		}
	}
	return nil, errClauses
}

// clauses wants one from, one by and a date behind them. The second word is a
// HELO name, which may be any: one called "by" must not make the field unread.
func clauses(words []string, date string) error {
	from, by := 0, 0
	for i, w := range words {
		if i == 1 {
			continue
		}
		switch strings.ToLower(w) {
		case "from":
			from++
		case "by":
			by++
		}
	}
	if from == 0 {
		return errNoFrom
	}
	_, err := netmail.ParseDate(strings.TrimSpace(date))
	if from != 1 || by != 1 || err != nil || !onlyDate.MatchString(date) {
		return errClauses
	}
	return nil
}

// clientOf reads the comment behind the name of a from clause.
func clientOf(name, info string) (hop, error) {
	parts := strings.Fields(info)
	if len(parts) == 0 {
		return hop{}, errForm
	}
	if addr, ok := bareAddress(parts[0]); ok && len(parts) == 1 {
		return hop{addr, name}, nil // Exchange
	}
	if addr, ok := literal(name); ok && strings.Contains(parts[0], "=") {
		return eximHop(addr, "", parts)
	}
	if addr, ok := literal(parts[0]); ok {
		return eximHop(addr, name, parts[1:])
	}
	if len(parts) != 2 || !heloWord.MatchString(parts[0]) {
		return hop{}, errForm
	}
	addr, ok := literal(parts[1])
	if !ok {
		return hop{}, errForm
	}
	return hop{addr, name}, nil
}

// eximHop reads what Exim says behind an address: helo=, port=, ident=.
func eximHop(addr netip.Addr, name string, pairs []string) (hop, error) {
	h := hop{addr, name}
	seen := ""
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || strings.Contains(seen, key+" ") || key != "helo" && key != "port" && key != "ident" {
			return hop{}, errForm
		}
		seen += key + " "
		if key == "helo" {
			if !heloWord.MatchString(value) {
				return hop{}, errForm
			}
			h.helo = value
		}
	}
	return h, nil
}

// literal reads [192.0.2.1], [IPv6:2001:db8::1], [2001:db8::1], and a port
// behind it.
func literal(s string) (netip.Addr, bool) {
	rest, ok := strings.CutPrefix(s, "[")
	text, port, closed := strings.Cut(rest, "]")
	if !ok || !closed || port != "" && strings.Trim(port[1:], "0123456789") != "" || port != "" && port[0] != ':' {
		return netip.Addr{}, false
	}
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	return bareAddress(text)
}

func bareAddress(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || a.IsUnspecified() {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
