package canon

import (
	"cmp"
	"crypto"
	"hash"
	"io"
	"slices"
)

// NoLimit is the limit of a BodySpec that covers the whole body.
const NoLimit int64 = -1

// BodySpec names one body hash: bh= with its a=, c= and l= (RFC 6376 section
// 3.5). Limit counts canonical octets.
type BodySpec struct {
	Form  Form
	Hash  crypto.Hash
	Limit int64
}

// BodySum is a finished body hash.
type BodySum struct {
	Digest []byte
	// Covered is the number of canonical octets that Digest stands for; less
	// than the limit where the body is shorter.
	Covered int64
	// Length is the number of octets of the whole canonical body.
	Length int64
}

// BodyHasher computes any number of body hashes in one pass.
type BodyHasher struct {
	streams []*stream
	bodies  []io.WriteCloser
}

// NewBodyHasher prepares the hashes of specs; the same spec may come twice.
func NewBodyHasher(specs []BodySpec) *BodyHasher {
	h := &BodyHasher{}
	for _, form := range []Form{Simple, Relaxed} {
		var writers []io.Writer
		for _, spec := range specs {
			if spec.Form == form && h.find(form, spec.Hash) == nil {
				s := &stream{form: form, kind: spec.Hash, hash: spec.Hash.New(), limits: limitsOf(specs, form, spec.Hash)}
				h.streams = append(h.streams, s)
				writers = append(writers, s)
			}
		}
		if len(writers) > 0 {
			h.bodies = append(h.bodies, NewBody(form, io.MultiWriter(writers...)))
		}
	}
	return h
}

// limitsOf collects the limits of one stream, smallest first.
func limitsOf(specs []BodySpec, form Form, kind crypto.Hash) []limit {
	var limits []limit
	for _, spec := range specs {
		if spec.Form == form && spec.Hash == kind && spec.Limit >= 0 {
			limits = append(limits, limit{octets: spec.Limit})
		}
	}
	slices.SortFunc(limits, func(a, b limit) int { return cmp.Compare(a.octets, b.octets) })
	return slices.CompactFunc(limits, func(a, b limit) bool { return a.octets == b.octets })
}

func (h *BodyHasher) find(form Form, kind crypto.Hash) *stream {
	for _, s := range h.streams {
		if s.form == form && s.kind == kind {
			return s
		}
	}
	return nil
}

// Write takes the next octets of the body. It never fails.
func (h *BodyHasher) Write(p []byte) (int, error) {
	for _, b := range h.bodies {
		_, _ = b.Write(p) // hashes do not fail
	}
	return len(p), nil
}

// Close ends the body. Sums are valid from here on.
func (h *BodyHasher) Close() {
	for _, b := range h.bodies {
		_ = b.Close() // hashes do not fail
	}
}

// Sum is the hash of spec, one of those that the hasher was made for.
func (h *BodyHasher) Sum(spec BodySpec) BodySum {
	s := h.find(spec.Form, spec.Hash)
	if s == nil {
		return BodySum{}
	}
	for _, l := range s.limits[:s.passed] {
		if l.octets == spec.Limit {
			return BodySum{l.digest, l.octets, s.length}
		}
	}
	return BodySum{s.hash.Sum(nil), s.length, s.length}
}

// Hashed is the number of octets that have been fed to hash functions: the
// measure of the work done.
func (h *BodyHasher) Hashed() int64 {
	n := int64(0)
	for _, s := range h.streams {
		n += s.length
	}
	return n
}

// stream is one running hash of one form.
type stream struct {
	form   Form
	kind   crypto.Hash
	hash   hash.Hash
	length int64
	limits []limit
	passed int // limits whose digest has been taken
}

type limit struct {
	octets int64
	digest []byte
}

// Write stops at each limit to take its digest.
func (s *stream) Write(p []byte) (int, error) {
	n := len(p)
	for s.passed < len(s.limits) && s.limits[s.passed].octets-s.length <= int64(len(p)) {
		l := &s.limits[s.passed]
		part := p[:l.octets-s.length]
		s.add(part)
		p = p[len(part):]
		l.digest = s.hash.Sum(nil)
		s.passed++
	}
	s.add(p)
	return n, nil
}

func (s *stream) add(p []byte) {
	_, _ = s.hash.Write(p)
	s.length += int64(len(p))
}
