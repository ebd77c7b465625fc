package arc

import (
	"fmt"
	"strings"

	"gatepost/auth/authres"
	"gatepost/auth/dkim"
	"gatepost/mail"
)

// The fields of a set (RFC 8617 section 4.1).
const (
	fieldResults = "ARC-Authentication-Results"
	fieldMessage = "ARC-Message-Signature"
	fieldSeal    = "ARC-Seal"
)

// MaxSets is how many sets a chain may have (RFC 8617 section 4.2.1).
const MaxSets = 50

// fault is why a chain fails.
type fault struct {
	reason    string
	temporary bool
}

func (f *fault) Error() string { return f.reason }

func failed(format string, args ...any) *fault {
	return &fault{reason: fmt.Sprintf(format, args...)}
}

// set is an ARC set on its way to a result.
type set struct {
	results, message, seal *mail.Field
	findings               []authres.Method
	messageTags, sealTags  dkim.Tags
	signed                 *signature // ARC-Message-Signature; nil where it is malformed
	unsigned               *fault     // why signed is nil
	sealed                 *signature // ARC-Seal
}

// Present tells whether a header has any field of a chain.
func Present(h mail.Header) bool { return len(fieldsOf(h)) > 0 }

func fieldsOf(h mail.Header) []mail.Field {
	var fields []mail.Field
	for _, f := range h.Fields {
		if f.Is(fieldResults) || f.Is(fieldMessage) || f.Is(fieldSeal) {
			fields = append(fields, f)
		}
	}
	return fields
}

// readChain collects the sets, oldest first (RFC 8617 section 5.2 steps 1 to
// 3). With a fault the sets may be incomplete.
func readChain(fields []mail.Field) ([]set, *fault) {
	if len(fields) > 3*MaxSets {
		return nil, failed("more than %d sets", MaxSets)
	}
	sets := make([]set, len(fields)/3)
	if len(fields)%3 != 0 {
		return nil, failed("a set is not complete")
	}
	for i := range fields {
		if f := addField(sets, &fields[i]); f != nil {
			return nil, f
		}
	}
	// As many fields as sets need, none twice: so none is missing.
	for i := range sets {
		if f := sets[i].read(i + 1); f != nil {
			return sets, f
		}
	}
	return sets, nil
}

// addField puts a field into the set that it says it belongs to.
func addField(sets []set, field *mail.Field) *fault {
	_, value, _ := strings.Cut(string(field.Raw), ":")
	var (
		s        set
		instance string
		f        *fault
	)
	if field.Is(fieldResults) {
		var rest string
		var err error
		if instance, rest, err = authres.ReadInstance(value); err != nil {
			return failed("%s: i= does not stand at its beginning", fieldResults)
		}
		_, s.findings, _ = authres.Read(rest) // what cannot be read is not relied on
	} else {
		var tags dkim.Tags
		if tags, f = parseTags(field.Name, value); f != nil {
			return f
		}
		instance, s.messageTags, s.sealTags = tags["i"], tags, tags
	}
	n, ok := parseInstance(instance)
	if !ok {
		return failed("%s: i= is no instance", field.Name)
	}
	if n > len(sets) {
		return failed("%s: a set below instance %d is not complete", field.Name, n)
	}
	return sets[n-1].add(field, s)
}

// parseInstance reads 1 to 50 (RFC 8617 section 4.2.1).
func parseInstance(s string) (int, bool) {
	if s == "" || len(s) > 2 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		n = 10*n + int(s[i]-'0')
	}
	return n, n >= 1 && n <= MaxSets
}

// add takes one field of the set; none may come twice.
func (s *set) add(field *mail.Field, read set) *fault {
	place := &s.seal
	switch {
	case field.Is(fieldResults):
		place, s.findings = &s.results, read.findings
	case field.Is(fieldMessage):
		place, s.messageTags = &s.message, read.messageTags
	default:
		s.sealTags = read.sealTags
	}
	if *place != nil {
		return failed("%s comes twice in one set", field.Name)
	}
	*place = field
	return nil
}

// read understands the seal, which must be sound in every set, and the message
// signature, which must be so in the newest only.
func (s *set) read(instance int) *fault {
	s.signed, s.unsigned = parseMessage(s.message, s.messageTags)
	var f *fault
	if s.sealed, f = parseSeal(s.seal, s.sealTags); f != nil {
		return f
	}
	// RFC 8617 section 5.1.1 and section 5.2 step 3.
	want := Pass
	if instance == 1 {
		want = None
	}
	if cv := s.sealTags["cv"]; cv != want {
		return failed("the seal of set %d says cv=%s", instance, mail.SafeText(cv, 20))
	}
	return nil
}

// describe tells what is known of the sets.
func describe(sets []set) []Set {
	var out []Set
	for i := range sets {
		s := Set{Instance: i + 1, Findings: sets[i].findings}
		if sealed := sets[i].sealed; sealed != nil {
			s.Sealer, s.Selector = sealed.domain, sealed.selector.String()
		}
		if signed := sets[i].signed; signed != nil {
			s.Signer = signed.domain
		}
		out = append(out, s)
	}
	return out
}
