package dkim

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // hashOfSignatures
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"gatepost/auth/canon"
	"gatepost/dnsx"
	"gatepost/mail"
)

// Options of a Verifier. The zero value of each but Resolver means its default.
type Options struct {
	Resolver Resolver
	// MinRSABits is the smallest RSA key that counts; never less than 1024.
	MinRSABits int
	// MaxSignatures is how many signatures of a message are verified; 10.
	MaxSignatures int
	// BodyLengthTag says what a signature with l= is worth: "unsafe" (nothing,
	// the default) or "accept".
	BodyLengthTag string
	// Skew is by how much clocks may differ where x= is judged; 5 minutes.
	Skew time.Duration
	// Now is the clock; time.Now.
	Now func() time.Time
}

// The meanings of l=.
const (
	BodyLengthUnsafe = "unsafe"
	BodyLengthAccept = "accept"
)

const (
	maxHeader       = 4 << 20 // octets of a header; the listeners' limit is far smaller
	maxFields       = 20_000
	maxResults      = 50 // signatures that get a result of their own
	parallelLookups = 4
	// maxFuture is how far t= may lie in the future; clocks of senders are off
	// by time zones, and RFC 6376 section 3.5 leaves it to us.
	maxFuture = 24 * time.Hour
)

// Verifier verifies messages. It is safe for concurrent use.
type Verifier struct{ options Options }

// NewVerifier fills in the defaults.
func NewVerifier(o Options) *Verifier {
	o.MinRSABits = max(o.MinRSABits, minRSABits)
	if o.MaxSignatures <= 0 {
		o.MaxSignatures = 10
	}
	if o.BodyLengthTag == "" {
		o.BodyLengthTag = BodyLengthUnsafe
	}
	if o.Skew == 0 {
		o.Skew = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{o}
}

// candidate is a signature on its way to a result.
type candidate struct {
	sig    *signature // nil once the result is final
	result *Result
	key    Key
	err    error // of the key's look-up
}

// Verify judges the signatures of a message, from the top. None at all is no
// result. The error is about reading content, or ctx; no result stands then.
func (v *Verifier) Verify(ctx context.Context, content mail.Body) ([]Result, error) {
	results, _, err := v.verify(ctx, content)
	return results, err
}

// verify also counts the octets that were hashed.
func (v *Verifier) verify(ctx context.Context, content mail.Body) ([]Result, int64, error) {
	header, err := mail.HeaderOf(ctx, content, maxHeader)
	broken := errors.Is(err, mail.ErrHeader)
	if err != nil && !broken {
		return nil, 0, fmt.Errorf("verify DKIM signatures: %w", err)
	}
	fields := header.All("DKIM-Signature")
	shown := min(len(fields), maxResults)
	results := make([]Result, shown, shown+1) // never grows: candidates point into it
	var candidates []*candidate
	for _, i := range v.order(header, fields[:shown]) {
		result := &results[i]
		result.BodyLength = -1
		sig, f := v.admit(header, broken, fields[i], result, len(candidates))
		if f != nil {
			result.Value, result.Reason = f.value, f.reason
			continue
		}
		candidates = append(candidates, &candidate{sig: sig, result: result})
	}
	if rest := len(fields) - shown; rest > 0 {
		results = append(results, Result{Value: Policy, BodyLength: -1, Reason: fmt.Sprintf("%d more signatures were not looked at", rest)})
	}
	if len(candidates) == 0 {
		return results, 0, nil
	}
	work, err := v.judge(ctx, content, header, candidates)
	if err != nil {
		return nil, work, fmt.Errorf("verify DKIM signatures: %w", err)
	}
	return results, work, nil
}

// order is in which of fields are looked at; where all are, from the top.
func (v *Verifier) order(header mail.Header, fields []mail.Field) []int {
	author, err := mail.HeaderFrom(header)
	domains := make([]mail.Domain, len(fields))
	if err == nil && len(fields) > v.options.MaxSignatures {
		for i, field := range fields {
			var r Result
			_, _ = parseSignature(field, &r)
			domains[i] = r.Domain
		}
	}
	return Order(domains, author.Domain())
}

// Order is in which signatures by these domains are looked at where there are
// more than are verified. Those by the author's domain, a parent of it or a name
// below it come first, or whoever hands the message on could hide them behind
// his own.
func Order(domains []mail.Domain, author mail.Domain) []int {
	byAuthor, others := make([]int, 0, len(domains)), []int(nil)
	for i, d := range domains {
		if d.Within(author) || author.Within(d) {
			byAuthor = append(byAuthor, i)
		} else {
			others = append(others, i)
		}
	}
	return append(byAuthor, others...)
}

// admit decides by the field alone whether a signature is worth a look-up.
func (v *Verifier) admit(header mail.Header, broken bool, field mail.Field, result *Result, before int) (*signature, *fault) {
	sig, f := parseSignature(field, result)
	switch {
	case f != nil:
		return nil, f
	case broken:
		return nil, permError("the message header is malformed")
	case len(header.Fields) > maxFields:
		return nil, policyFault("the message has more than %d header fields", maxFields)
	case before == v.options.MaxSignatures:
		return nil, policyFault("more than %d signatures", v.options.MaxSignatures)
	}
	now := v.options.Now()
	if sig.expires >= 0 && now.Add(-v.options.Skew).Unix() > sig.expires {
		return nil, &fault{Fail, "signature has expired"}
	}
	if sig.signed > now.Add(maxFuture).Unix() {
		return nil, policyFault("signature was made in the future")
	}
	return sig, nil
}

// judge looks up the keys while it hashes the body, then finishes each
// signature.
func (v *Verifier) judge(ctx context.Context, content mail.Body, header mail.Header, candidates []*candidate) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wait := v.lookUp(ctx, candidates)
	bodies, err := hashBody(ctx, content, header.Size, candidates)
	if err != nil {
		cancel()
	}
	wait()
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	index := canon.NewIndex(header)
	work := bodies.Hashed()
	for _, c := range candidates {
		digest, octets := c.sig.hash(index)
		work += int64(octets)
		c.result.Value = Pass
		if f := v.finish(c, bodies.Sum(c.sig.body), digest, !index.Covers(c.sig.names, "from")); f != nil {
			c.result.Value, c.result.Reason = f.value, f.reason
		}
	}
	return work, nil
}

// lookUp fetches the keys, each name once, few at a time. The caller must call
// wait.
func (v *Verifier) lookUp(ctx context.Context, candidates []*candidate) (wait func()) {
	byName := map[string][]*candidate{}
	for _, c := range candidates {
		name := KeyName(c.sig.domain, c.sig.selector.String())
		byName[name] = append(byName[name], c)
	}
	var group sync.WaitGroup
	running := make(chan struct{}, parallelLookups)
	for _, same := range byName {
		group.Go(func() {
			running <- struct{}{}
			defer func() { <-running }()
			key, err := LookupKey(ctx, v.options.Resolver, same[0].sig.domain, same[0].sig.selector.String())
			for _, c := range same {
				c.key, c.err = key, err
			}
		})
	}
	return group.Wait
}

// hashBody reads the body once for all signatures.
func hashBody(ctx context.Context, content mail.Body, headerSize int64, candidates []*candidate) (*canon.BodyHasher, error) {
	specs := make([]canon.BodySpec, 0, len(candidates))
	for _, c := range candidates {
		specs = append(specs, c.sig.body)
	}
	hasher := canon.NewBodyHasher(specs)
	r, err := content.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, headerSize); err != nil {
		return nil, fmt.Errorf("read message header: %w", err)
	}
	if _, err := io.CopyBuffer(hasher, struct{ io.Reader }{r}, make([]byte, min(32<<10, content.Size()+1))); err != nil {
		return nil, fmt.Errorf("read message body: %w", err)
	}
	hasher.Close()
	return hasher, nil
}

// finish holds the signature against its key and the hashes (RFC 6376 section
// 6.1). What makes a sound signature worthless comes last.
func (v *Verifier) finish(c *candidate, body canon.BodySum, header []byte, unsignedFrom bool) *fault {
	c.result.KeyName, c.result.KeyBits, c.result.Testing = c.key.Name, c.key.Bits, c.key.Testing
	if f := checkKey(c); f != nil {
		return f
	}
	switch {
	case c.sig.body.Limit > body.Length:
		return permError("l= is longer than the body")
	case subtle.ConstantTimeCompare(body.Digest, c.sig.bodyHash) == 0:
		return &fault{Fail, "body hash did not verify"}
	case !c.key.Verifies(header, c.sig.value):
		return &fault{Fail, "signature did not verify"}
	case c.key.Type == "rsa" && c.key.Bits < v.options.MinRSABits:
		return policyFault("RSA key has only %d bits", c.key.Bits)
	case unsignedFrom:
		return policyFault("a From field is not signed")
	case c.sig.body.Limit >= 0 && v.options.BodyLengthTag != BodyLengthAccept:
		return policyFault("l= covers %d of %d octets of the body", c.sig.body.Limit, body.Length)
	}
	return nil
}

// checkKey judges the look-up and what the record allows (RFC 6376 section 6.1.2).
func checkKey(c *candidate) *fault {
	switch {
	case dnsx.IsNotFound(c.err):
		return permError("no key for signature")
	case errors.Is(c.err, ErrKey) || errors.Is(c.err, ErrRevoked):
		return permError("%s", mail.SafeText(c.err.Error(), 160))
	case c.err != nil:
		return &fault{TempError, "key could not be looked up: " + dnsx.Brief(c.err)}
	case c.key.Type != c.sig.algorithm:
		return permError("key is of type %s", c.key.Type)
	case c.key.Strict && c.sig.identity != c.sig.domain:
		return permError("key is for i= in d= itself only (t=s)")
	case c.key.Type == "rsa" && c.key.Bits < minRSABits: // RFC 8301 section 3.2
		return policyFault("RSA key has only %d bits", c.key.Bits)
	}
	return nil
}

// Verifies tells whether the key made signature over a SHA-256 digest.
func (k Key) Verifies(digest, signature []byte) bool {
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, hashOfSignatures, digest, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(public, digest, signature)
	}
	return false
}
