package canon

import (
	"bytes"
	"io"
	"strings"

	"gatepost/mail"
)

// Index finds fields by name, from the bottom, without looking at all of them
// for each name in h=.
type Index map[string][]mail.Field

// NewIndex indexes the fields of h by their names in lower case.
func NewIndex(h mail.Header) Index {
	index := Index{}
	for _, f := range h.Fields {
		name := strings.ToLower(f.Name)
		index[name] = append(index[name], f)
	}
	return index
}

// WriteSigned writes to w what b= signs (RFC 6376 sections 3.7 and 5.4.2): the
// fields called names, in lower case, each name taking the next one from the
// bottom, then the signature's own field as AppendUnsigned gives it. It returns
// the number of octets.
func (index Index) WriteSigned(w io.Writer, names []string, own []byte, form Form) (octets int) {
	var buffer []byte
	write := func() {
		_, _ = w.Write(buffer) // hashes do not fail
		octets += len(buffer)
	}
	taken := map[string]int{}
	for _, name := range names {
		fields := index[name]
		n := len(fields) - 1 - taken[name]
		if n < 0 {
			continue
		}
		taken[name]++
		buffer = AppendField(buffer[:0], fields[n].Raw, form)
		write()
	}
	buffer = AppendUnsigned(buffer[:0], own, form)
	write()
	return octets
}

// Covers tells whether names sign every field called name that there is: one
// that is not signed may be the one that another program reads (RFC 6376
// section 8.15).
func (index Index) Covers(names []string, name string) bool {
	signed := 0
	for _, n := range names {
		if n == name {
			signed++
		}
	}
	return len(index[name]) <= signed
}

// AppendUnsigned appends a signature's own field to dst, without the value of
// b= and without its final CRLF.
func AppendUnsigned(dst, raw []byte, form Form) []byte {
	dst = AppendField(dst, RemoveSignature(raw), form)
	return dst[:len(dst)-len("\r\n")]
}

// RemoveSignature gives the whole field raw with the value of its b= tag
// removed, white space around the value too, and nothing else (RFC 6376
// section 3.7).
func RemoveSignature(raw []byte) []byte {
	colon := bytes.IndexByte(raw, ':')
	out := append([]byte(nil), raw[:colon+1]...)
	for rest := string(raw[colon+1:]); ; {
		spec, after, more := strings.Cut(rest, ";")
		if name, _, ok := strings.Cut(spec, "="); ok && strings.Trim(name, " \t\r\n") == "b" {
			spec = spec[:len(name)+1]
		}
		out = append(out, spec...)
		if !more {
			return out
		}
		out = append(out, ';')
		rest = after
	}
}
