package aggregate

import (
	"slices"
	"strconv"
	"strings"

	"gatepost/mail"
)

// enumeration is the words that a schema allows for an element, the default
// for what is none of them, and what older reporters call them.
type enumeration struct {
	words    []string
	fallback string
	alias    map[string]string
}

// exact is s if it is one of the words, else "".
func (e enumeration) exact(s string) string {
	if s = strings.ToLower(s); slices.Contains(e.words, s) {
		return s
	}
	return ""
}

// nearest is the word that comes closest.
func (e enumeration) nearest(s string) string {
	return or(e.exact(s), e.alias[strings.ToLower(s)], e.fallback)
}

// words are the enumerations in which the formats differ.
type words struct{ dispositions, reasons, scopes, dkim, spf enumeration }

// The enumerations of both formats. Whoever publishes no policy that is known
// asks for none.
var (
	policies    = enumeration{words: []string{"none", "quarantine", "reject"}, fallback: "none"}
	alignments  = enumeration{words: []string{"r", "s"}}
	discoveries = enumeration{words: []string{"psl", "treewalk"}}
	answers     = enumeration{words: []string{"y", "n"}}
)

// Results of older reporters and libraries, as the comments of RFC 7489
// appendix C tell them.
var oldResults = map[string]string{"unknown": "temperror", "error": "permerror", "hardfail": "fail"}

// wordsOf gives the enumerations of one format (RFC 9990 appendix A, RFC 7489
// appendix C). "pass" is a disposition of RFC 9990 only; "policy" is no result
// of SPF in RFC 7489. A result that is not known says nothing: neutral.
func wordsOf(f Format) words {
	dkim := enumeration{[]string{"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"}, "neutral", oldResults}
	spf := enumeration{[]string{"none", "pass", "fail", "softfail", "neutral", "temperror", "permerror"}, "neutral", oldResults}
	if f == RFC7489 {
		return words{
			dispositions: policies,
			reasons:      enumeration{words: []string{"forwarded", "sampled_out", "trusted_forwarder", "mailing_list", "local_policy", "other"}},
			scopes:       enumeration{words: []string{"helo", "mfrom"}, fallback: "mfrom"},
			dkim:         dkim,
			spf:          spf,
		}
	}
	spf.words = append(spf.words, "policy")
	return words{
		dispositions: enumeration{words: []string{"none", "pass", "quarantine", "reject"}, fallback: "none"},
		reasons:      enumeration{words: []string{"local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder"}},
		scopes:       enumeration{words: []string{"mfrom"}},
		dkim:         dkim,
		spf:          spf,
	}
}

// passed is a result after alignment: what is no pass is a fail.
func passed(s string) string {
	if strings.EqualFold(s, "pass") {
		return "pass"
	}
	return "fail"
}

func or(values ...string) string {
	for _, s := range values {
		if s != "" {
			return s
		}
	}
	return ""
}

// text makes what a stranger wrote fit for the report, and for its reader.
func text(s string) string { return mail.SafeText(s, DefaultText) }

// domain is a name as A-labels; what is no name stays as it is, made safe.
func domain(s string) string {
	s = text(strings.ToLower(text(s)))
	if d, err := mail.ParseDomain(strings.TrimSuffix(s, ".")); err == nil {
		return d.String()
	}
	return s
}

// failureOptions is a list of the known options (RFC 9989 section 4.7), "" for
// anything else.
func failureOptions(s string) string {
	s = strings.ToLower(s)
	for option := range strings.SplitSeq(s, ":") {
		if len(s) > len("0:1:d:s") || len(option) != 1 || !strings.Contains("01ds", option) {
			return ""
		}
	}
	return s
}

func percentage(s string) string {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= 100 {
		return strconv.Itoa(n)
	}
	return "100"
}

// signatures are the results of DKIM, all if they are few. Of more the ones
// that say most stay (RFC 9990 section 3.1.3): a pass of the author's own
// domain, of a domain above or below it, any other pass, the rest. There is
// room for the result of SPF beside them.
func signatures(x *Record) []Result {
	var all []Result
	for _, r := range x.Results {
		if r.Method == "dkim" {
			all = append(all, r)
		}
	}
	if len(all) < DefaultResults {
		return all
	}
	from := domain(x.HeaderFrom)
	slices.SortStableFunc(all, func(a, b Result) int { return rank(a, from) - rank(b, from) })
	return all[:DefaultResults-1]
}

func rank(r Result, from string) int {
	name := domain(r.Domain)
	switch {
	case r.Result != "pass":
		return 3
	case name == from:
		return 0
	case strings.HasSuffix(name, "."+from) || strings.HasSuffix(from, "."+name):
		return 1
	}
	return 2
}
