package canon

import "bytes"

// AppendField appends the canonical form of one whole header field, with its
// final CRLF, to dst (RFC 6376 sections 3.4.1 and 3.4.2).
func AppendField(dst, raw []byte, form Form) []byte {
	raw = bytes.TrimSuffix(raw, []byte("\r\n"))
	if form == Simple {
		dst = append(dst, raw...)
	} else {
		dst = appendRelaxedField(dst, raw)
	}
	return append(dst, "\r\n"...)
}

func appendRelaxedField(dst, raw []byte) []byte {
	name, value, _ := bytes.Cut(raw, []byte(":"))
	for _, c := range bytes.TrimRight(name, " \t") {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	dst = append(dst, ':')
	start := len(dst)
	space := false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == ' ' || c == '\t':
			space = true
			continue
		case c == '\r' && i+1 < len(value) && value[i+1] == '\n':
			i++
			continue
		}
		if space && len(dst) > start {
			dst = append(dst, ' ')
		}
		space = false
		dst = append(dst, c)
	}
	return dst
}
