package policy

import (
	"strconv"

	"gatepost/auth/arc"
	"gatepost/auth/authres"
	"gatepost/auth/dkim"
	"gatepost/mail"
)

// AuthenticationResults is the whole header field with what was found on an mx
// session (RFC 8601, RFC 7489 section 11.2 for policy.dmarc). Without results
// it says "none".
func (f Facts) AuthenticationResults(authservID string) []byte {
	var methods []authres.Method
	if f.IPRev.Value != "" {
		methods = append(methods, f.iprevMethod())
	}
	if f.SPF.Value != "" {
		methods = append(methods, f.spfMethod())
	}
	for _, r := range f.DKIM {
		methods = append(methods, dkimMethod(r))
	}
	if f.SPF.Value != "" && len(f.DKIM) == 0 {
		methods = append(methods, authres.Method{Name: "dkim", Result: "none"})
	}
	if f.ARC.Value != "" {
		methods = append(methods, arcMethod(f.ARC))
	}
	if f.DMARC.Value != "" {
		methods = append(methods, f.dmarcMethod())
	}
	return authres.Format(authservID, methods)
}

func (f Facts) iprevMethod() authres.Method {
	return authres.Method{Name: "iprev", Result: f.IPRev.Value, Reason: f.IPRev.Reason,
		Props: props(authres.Prop{PType: "policy", Property: "iprev", Value: f.IPRev.Addr.Unmap().String()})}
}

func (f Facts) spfMethod() authres.Method {
	property := "mailfrom"
	if f.SPF.Identity == "helo" {
		property = "helo"
	}
	return authres.Method{Name: "spf", Result: f.SPF.Value, Reason: f.SPF.Reason,
		Props: props(authres.Prop{PType: "smtp", Property: property, Value: f.SPF.Domain.String()})}
}

func dkimMethod(r dkim.Result) authres.Method {
	return authres.Method{Name: "dkim", Result: r.Value, Reason: r.Reason, Props: props(
		authres.Prop{PType: "header", Property: "d", Value: r.Domain.String()},
		authres.Prop{PType: "header", Property: "i", Value: signingIdentity(r)},
		authres.Prop{PType: "header", Property: "s", Value: r.Selector},
		authres.Prop{PType: "header", Property: "a", Value: r.Algorithm},
		authres.Prop{PType: "header", Property: "b", Value: signatureStart(r.B)},
	)}
}

// signingIdentity is i= where it says more than its default, "@" and d=.
func signingIdentity(r dkim.Result) string {
	if r.Identity == "@"+r.Domain.String() {
		return ""
	}
	return r.Identity
}

// signatureStart is enough of b= to tell two signatures apart (RFC 6008
// section 4).
func signatureStart(b string) string { return b[:min(len(b), 8)] }

// arcMethod says from which set on the message is as it was sealed (RFC 8617
// section 5.2).
func arcMethod(r arc.Result) authres.Method {
	m := authres.Method{Name: "arc", Result: r.Value, Reason: r.Reason}
	if r.Value == arc.Pass {
		m.Props = props(authres.Prop{PType: "header", Property: "oldest-pass", Value: strconv.Itoa(r.OldestPass)})
	}
	return m
}

func (f Facts) dmarcMethod() authres.Method {
	m := authres.Method{Name: "dmarc", Result: f.DMARC.Value, Reason: f.DMARC.Reason, Props: props(
		authres.Prop{PType: "header", Property: "from", Value: headerFrom(f).String()},
		authres.Prop{PType: "policy", Property: "dmarc", Value: f.Disposition.Applied},
	)}
	if f.Disposition.Override != "" {
		if m.Reason != "" {
			m.Reason += "; "
		}
		if f.Disposition.Requested != "" {
			m.Reason += "policy " + f.Disposition.Requested + ", "
		}
		m.Reason += f.Disposition.Override
	}
	return m
}

func headerFrom(f Facts) mail.Domain {
	if f.DMARC.From.IsZero() {
		return f.From.Domain()
	}
	return f.DMARC.From
}

// props leaves out what has no value.
func props(list ...authres.Prop) []authres.Prop {
	var out []authres.Prop
	for _, p := range list {
		if p.Value != "" {
			out = append(out, p)
		}
	}
	return out
}
