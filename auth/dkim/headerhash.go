package dkim

import (
	"crypto"
	"strings"

	"gatepost/auth/canon"
	"gatepost/mail"
)

// hashOfSignatures is the only hash left (RFC 8301 section 3).
const hashOfSignatures = crypto.SHA256

// headerIndex finds fields by name, from the bottom, without looking at all of
// them for each name in h=.
type headerIndex map[string][]mail.Field

func indexHeader(h mail.Header) headerIndex {
	index := headerIndex{}
	for _, f := range h.Fields {
		name := strings.ToLower(f.Name)
		index[name] = append(index[name], f)
	}
	return index
}

// hash computes what b= signs (RFC 6376 sections 3.7 and 5.4.2): the named
// fields, each name taking the next one from the bottom, then the signature's
// own field without b= and without its CRLF. It also gives the number of octets.
func (index headerIndex) hash(s *signature) (digest []byte, octets int) {
	h := hashOfSignatures.New()
	var buffer []byte
	taken := map[string]int{}
	for _, name := range s.names {
		fields := index[name]
		n := len(fields) - 1 - taken[name]
		if n < 0 {
			continue
		}
		taken[name]++
		buffer = canon.AppendField(buffer[:0], fields[n].Raw, s.header)
		_, _ = h.Write(buffer)
		octets += len(buffer)
	}
	buffer = canon.AppendField(buffer[:0], removeSignature(s.field.Raw), s.header)
	buffer = buffer[:len(buffer)-len("\r\n")]
	_, _ = h.Write(buffer)
	return h.Sum(nil), octets + len(buffer)
}

// unsignedFrom tells whether there is a From field that the signature does not
// cover, from which another program may read the author (RFC 6376 section 8.15).
func (index headerIndex) unsignedFrom(s *signature) bool {
	signed := 0
	for _, name := range s.names {
		if name == "from" {
			signed++
		}
	}
	return len(index["from"]) > signed
}
