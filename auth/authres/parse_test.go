package authres

import (
	"fmt"
	"strings"
)

// A small strict parser of RFC 8601 section 2.2, without comments: it takes
// what Format may write and nothing else.
type strictParser struct{ s string }

func parseStrict(field string) (id string, methods []Method, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%v", fault)
		}
	}()
	field, ok := strings.CutSuffix(field, "\r\n")
	if !ok || strings.Contains(strings.ReplaceAll(field, "\r\n ", ""), "\r") {
		return "", nil, fmt.Errorf("bad folding")
	}
	p := &strictParser{strings.ReplaceAll(field, "\r\n ", " ")}
	p.take(FieldName + ": ")
	id = p.value()
	p.take("; ")
	if p.s == "none" {
		return id, nil, nil
	}
	for {
		methods = append(methods, p.method())
		if p.s == "" {
			return id, methods, nil
		}
		p.take("; ")
	}
}

func (p *strictParser) method() Method {
	m := Method{Name: p.keyword()}
	p.take("=")
	m.Result = p.keyword()
	for first := true; strings.HasPrefix(p.s, " "); first = false {
		p.take(" ")
		word := p.keyword()
		if word == "reason" && first && strings.HasPrefix(p.s, "=") {
			p.take("=")
			m.Reason = p.value()
			continue
		}
		p.take(".")
		property := p.keyword()
		p.take("=")
		m.Props = append(m.Props, Prop{word, property, p.pvalue()})
	}
	return m
}

func (p *strictParser) take(s string) {
	rest, ok := strings.CutPrefix(p.s, s)
	if !ok {
		panic(fmt.Sprintf("want %q at %q", s, p.s))
	}
	p.s = rest
}

func (p *strictParser) while(in string) string {
	rest := strings.TrimLeft(p.s, in)
	word := p.s[:len(p.s)-len(rest)]
	if word == "" {
		panic(fmt.Sprintf("nothing at %q", p.s))
	}
	p.s = rest
	return word
}

const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func (p *strictParser) keyword() string { return p.while(alnum + "-") }

func (p *strictParser) value() string {
	if !strings.HasPrefix(p.s, `"`) {
		return p.while(alnum + "!#$%&'*+-._`{|}~^")
	}
	end := strings.IndexByte(p.s[1:], '"') + 1
	if end < 1 {
		panic("quoted string without end")
	}
	v := p.s[1:end]
	if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }) {
		panic(fmt.Sprintf("quoted string %q", v))
	}
	p.s = p.s[end+1:]
	return v
}

// pvalue is a value or [[local-part] "@"] domain-name.
func (p *strictParser) pvalue() string {
	if strings.HasPrefix(p.s, `"`) {
		return p.value()
	}
	word := p.while(alnum + "!#$%&'*+-/=?^_`{|}~.@")
	if local, domain, ok := strings.Cut(word, "@"); ok {
		if strings.Trim(domain, alnum+"-._") != "" || domain == "" || strings.HasPrefix(local, ".") || strings.Contains(local, "..") {
			panic(fmt.Sprintf("pvalue %q", word))
		}
	} else if strings.ContainsAny(word, "/=?") {
		panic(fmt.Sprintf("pvalue %q", word))
	}
	return word
}
