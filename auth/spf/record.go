package spf

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// record is a parsed SPF record (RFC 7208 section 4.6.1).
type record struct {
	terms       []term
	redirect    macroString
	explanation macroString
}

// term is one directive.
type term struct {
	qualifier string // "+", "-", "~", "?"
	mechanism string // in lower case
	target    macroString
	network   netip.Prefix // of ip4 and ip6
	mask      string       // "/24//64" of a and mx
}

// isRecord tells whether a TXT record is an SPF record (section 4.5): the
// version is followed by a space or by nothing.
func isRecord(txt string) bool {
	const version = "v=spf1"
	if len(txt) < len(version) || !strings.EqualFold(txt[:len(version)], version) {
		return false
	}
	return len(txt) == len(version) || txt[len(version)] == ' '
}

var modifierName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9._-]*)=(.*)$`)

// maxRecord bounds a record: section 3.4 wants them to fit a reply of 512
// octets. Each macro in one can become a hundred times its size.
const maxRecord = 8 << 10

// parseRecord reads the whole record; any error is a permerror (section 4.6).
func parseRecord(txt string) (*record, error) {
	if len(txt) > maxRecord {
		return nil, fmt.Errorf("longer than %d octets", maxRecord)
	}
	for i := range len(txt) {
		if txt[i] < ' ' || txt[i] > '~' {
			return nil, fmt.Errorf("octet 0x%02x in the record", txt[i])
		}
	}
	r := &record{}
	for field := range strings.SplitSeq(txt[len("v=spf1"):], " ") {
		if field == "" {
			continue
		}
		if err := r.parseField(field); err != nil {
			return nil, fmt.Errorf("term %q: %w", field, err)
		}
	}
	return r, nil
}

func (r *record) parseField(field string) error {
	if m := modifierName.FindStringSubmatch(field); m != nil {
		return r.parseModifier(strings.ToLower(m[1]), m[2])
	}
	t, err := parseTerm(field)
	if err != nil {
		return err
	}
	r.terms = append(r.terms, t)
	return nil
}

// parseModifier reads redirect= and exp=, each at most once (section 6), and
// checks the syntax of unknown modifiers.
func (r *record) parseModifier(name, value string) error {
	var into *macroString
	switch name {
	case "redirect":
		into = &r.redirect
	case "exp":
		into = &r.explanation
	default:
		_, err := parseMacroString(value, explanationLetters)
		return err
	}
	if *into != nil {
		return errors.New("appears twice")
	}
	spec, err := parseDomainSpec(value)
	*into = spec
	return err
}

// parseTerm reads a directive (section 5).
func parseTerm(field string) (term, error) {
	t := term{qualifier: "+"}
	if strings.IndexByte("+-~?", field[0]) >= 0 {
		t.qualifier, field = field[:1], field[1:]
	}
	end := strings.IndexAny(field, ":/")
	if end < 0 {
		end = len(field)
	}
	t.mechanism = strings.ToLower(field[:end])
	rest := field[end:]
	switch t.mechanism {
	case "all":
		if rest != "" {
			return t, errors.New("all takes no argument")
		}
		return t, nil
	case "a", "mx":
		return t, t.parseHost(rest)
	case "ptr":
		return t, t.parseTarget(rest, false)
	case "include", "exists":
		return t, t.parseTarget(rest, true)
	case "ip4", "ip6":
		return t, t.parseNetwork(rest)
	}
	return t, errors.New("unknown mechanism")
}

// parseTarget reads the ":domain-spec" of include, exists and ptr.
func (t *term) parseTarget(rest string, required bool) (err error) {
	if rest == "" && !required {
		return nil
	}
	spec, ok := strings.CutPrefix(rest, ":")
	if !ok {
		return errors.New("a domain must follow")
	}
	t.target, err = parseDomainSpec(spec)
	return err
}

// dualMask is the dual-cidr-length at the end of a and mx (section 5.3 and 5.6).
var dualMask = regexp.MustCompile(`^(.*?)(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?$`)

func (t *term) parseHost(rest string) error {
	m := dualMask.FindStringSubmatch(rest)
	four, err4 := maskBits(m[2], 32)
	six, err6 := maskBits(m[3], 128)
	if err := errors.Join(err4, err6); err != nil {
		return err
	}
	t.mask = fmt.Sprintf("/%d//%d", four, six)
	return t.parseTarget(m[1], false)
}

func maskBits(digits string, most int) (int, error) {
	if digits == "" {
		return most, nil
	}
	bits, err := strconv.Atoi(digits)
	if err != nil || bits > most {
		return 0, fmt.Errorf("prefix length %s", digits)
	}
	return bits, nil
}

var (
	ip4Network = regexp.MustCompile(`^:([0-9.]+)(?:/(0|[1-9][0-9]?))?$`)
	ip6Network = regexp.MustCompile(`^:([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?$`)
)

// parseNetwork reads the network of ip4 and ip6 (section 5.6).
func (t *term) parseNetwork(rest string) error {
	syntax, most := ip4Network, 32
	if t.mechanism == "ip6" {
		syntax, most = ip6Network, 128
	}
	m := syntax.FindStringSubmatch(rest)
	if m == nil {
		return errors.New("not a network")
	}
	addr, err := netip.ParseAddr(m[1])
	if err != nil || addr.Is4() != (most == 32) {
		return errors.New("not an address of this kind")
	}
	bits, err := maskBits(m[2], most)
	t.network = netip.PrefixFrom(addr, bits)
	return err
}
