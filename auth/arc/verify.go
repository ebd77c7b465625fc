package arc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"gatepost/auth/canon"
	"gatepost/auth/dkim"
	"gatepost/dnsx"
	"gatepost/mail"
)

// Options of a Verifier. The zero value of each but Resolver means its default.
type Options struct {
	Resolver dkim.Resolver
	// MinRSABits is the smallest RSA key that counts; never less than 1024
	// (RFC 8301 section 3.2).
	MinRSABits int
	// Skew is by how much clocks may differ where x= is judged; 5 minutes.
	Skew time.Duration
	Now  func() time.Time // time.Now
}

const (
	minRSABits = 1024
	maxHeader  = 4 << 20 // octets of a header; the listeners' limit is far smaller
	maxFields  = 20_000
	// maxSigned is how many message signatures are verified, from the newest;
	// only the newest decides.
	maxSigned       = 10
	parallelLookups = 4
)

// Verifier verifies chains. It is safe for concurrent use.
type Verifier struct{ options Options }

// NewVerifier fills in the defaults.
func NewVerifier(o Options) *Verifier {
	o.MinRSABits = max(o.MinRSABits, minRSABits)
	if o.Skew == 0 {
		o.Skew = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Verifier{o}
}

// Verify judges the chain of a message. The error is about reading content, or
// ctx; no result stands then.
func (v *Verifier) Verify(ctx context.Context, content mail.Body) (Result, error) {
	result, _, err := v.verify(ctx, content)
	if err != nil {
		return Result{}, fmt.Errorf("verify ARC chain: %w", err)
	}
	return result, nil
}

// verify also counts the octets that were hashed.
func (v *Verifier) verify(ctx context.Context, content mail.Body) (Result, int64, error) {
	header, err := mail.HeaderOf(ctx, content, maxHeader)
	broken := errors.Is(err, mail.ErrHeader)
	if err != nil && !broken {
		return Result{}, 0, err
	}
	err = nil
	fields := fieldsOf(header)
	if len(fields) == 0 {
		return Result{Value: None}, 0, nil
	}
	sets, f := readChain(fields)
	j := &judgement{Verifier: v, header: header, index: canon.NewIndex(header), sets: sets, result: Result{Value: Pass, Sets: describe(sets)}}
	switch {
	case f != nil:
	case broken:
		f = failed("the message header is malformed")
	case len(header.Fields) > maxFields:
		f = failed("the message has more than %d header fields", maxFields)
	default:
		f, err = j.judge(ctx, content)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Result{}, j.work, err
	}
	if f != nil {
		j.result.Value, j.result.Reason, j.result.Temporary = Fail, f.reason, f.temporary
	}
	return j.result, j.work, nil
}

// judgement is one chain whose structure is sound.
type judgement struct {
	*Verifier
	header mail.Header
	index  canon.Index
	sets   []set
	bodies *canon.BodyHasher
	result Result
	work   int64 // octets hashed
}

// judge follows RFC 8617 section 5.2 from step 4 on.
func (j *judgement) judge(ctx context.Context, content mail.Body) (*fault, error) {
	newest := &j.sets[len(j.sets)-1]
	if newest.unsigned != nil {
		return newest.unsigned, nil
	}
	j.result.FromSigned = j.index.Covers(newest.signed.names, "from") && len(j.index["from"]) > 0
	if err := j.hashBody(ctx, content); err != nil {
		return nil, err
	}
	if f := j.checkMessage(ctx, newest); f != nil {
		return f, nil
	}
	if f := j.checkSeals(ctx); f != nil {
		return f, nil
	}
	j.result.OldestPass = j.oldestPass(ctx)
	return nil, nil
}

// signedSets are the sets whose message signatures are looked at.
func (j *judgement) signedSets() []set { return j.sets[max(0, len(j.sets)-maxSigned):] }

// hashBody reads the body once for all message signatures.
func (j *judgement) hashBody(ctx context.Context, content mail.Body) error {
	var specs []canon.BodySpec
	for _, s := range j.signedSets() {
		if s.signed != nil {
			specs = append(specs, s.signed.body)
		}
	}
	j.bodies = canon.NewBodyHasher(specs)
	r, err := content.Open(ctx)
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, j.header.Size); err != nil {
		return fmt.Errorf("read message header: %w", err)
	}
	if _, err := io.CopyBuffer(j.bodies, struct{ io.Reader }{r}, make([]byte, min(32<<10, content.Size()+1))); err != nil {
		return fmt.Errorf("read message body: %w", err)
	}
	j.bodies.Close()
	j.work += j.bodies.Hashed()
	return nil
}

// checkMessage verifies one message signature, its hash of the body first.
func (j *judgement) checkMessage(ctx context.Context, s *set) *fault {
	if s.unsigned != nil {
		return s.unsigned
	}
	signed := s.signed
	if subtle.ConstantTimeCompare(j.bodies.Sum(signed.body).Digest, signed.bodyHash) == 0 {
		return failed("%s: body hash did not verify", fieldMessage)
	}
	if signed.expires >= 0 && j.options.Now().Add(-j.options.Skew).Unix() > signed.expires {
		return failed("%s has expired", fieldMessage)
	}
	key, f := j.key(ctx, signed)
	if f != nil {
		return f
	}
	h := hashOfSignatures.New()
	j.work += int64(j.index.WriteSigned(h, signed.names, signed.field.Raw, signed.header))
	if !key.Verifies(h.Sum(nil), signed.value) {
		return failed("%s: signature did not verify", fieldMessage)
	}
	return nil
}

// oldestPass goes back as far as the message signatures hold; DNS trouble ends
// it like a signature that does not.
func (j *judgement) oldestPass(ctx context.Context) int {
	sets := j.signedSets()
	oldest := len(j.sets)
	for i := len(sets) - 2; i >= 0 && j.checkMessage(ctx, &sets[i]) == nil; i-- {
		oldest--
	}
	if oldest == 1 {
		return 0
	}
	return oldest
}

// checkSeals verifies every seal.
func (j *judgement) checkSeals(ctx context.Context) *fault {
	keys, f := j.keys(ctx)
	if f != nil {
		return f
	}
	digests, octets := sealDigests(j.sets)
	j.work += octets
	for i, digest := range digests {
		sealed := j.sets[i].sealed
		key := keys[sealed.keyName()]
		j.result.Sets[i].KeyBits = key.Bits
		if key.Type != sealed.algorithm || !key.Verifies(digest, sealed.value) {
			return failed("the seal of set %d did not verify", i+1)
		}
	}
	return nil
}

// sealDigests hashes what each seal covers (RFC 8617 section 5.1.1): the
// relaxed fields of all sets up to its own, in the order results, message
// signature, seal, and at the end the seal itself without b=. It also counts
// the octets.
func sealDigests(sets []set) (digests [][]byte, octets int64) {
	running := hashOfSignatures.New()
	write := func(h hash.Hash, b []byte) {
		_, _ = h.Write(b)
		octets += int64(len(b))
	}
	var buffer []byte
	for _, s := range sets {
		buffer = canon.AppendField(buffer[:0], s.results.Raw, canon.Relaxed)
		buffer = canon.AppendField(buffer, s.message.Raw, canon.Relaxed)
		write(running, buffer)
		own, _ := running.(hash.Cloner).Clone() // SHA-256 can
		write(own, canon.AppendUnsigned(nil, s.seal.Raw, canon.Relaxed))
		digests = append(digests, own.Sum(nil))
		write(running, canon.AppendField(buffer[:0], s.seal.Raw, canon.Relaxed))
	}
	return digests, octets
}

// keys looks up the keys of all seals, each name once, few at a time. The first
// one that is missing ends it.
func (j *judgement) keys(ctx context.Context) (map[string]dkim.Key, *fault) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		found   = map[string]dkim.Key{}
		first   *fault
		running = make(chan struct{}, parallelLookups)
	)
	for i := len(j.sets) - 1; i >= 0; i-- {
		sealed := j.sets[i].sealed
		name := sealed.keyName()
		running <- struct{}{}
		mu.Lock()
		_, asked := found[name]
		stop := first != nil
		if !asked {
			found[name] = dkim.Key{}
		}
		mu.Unlock()
		if asked || stop {
			<-running
			continue
		}
		group.Go(func() {
			defer func() { <-running }()
			key, f := j.key(ctx, sealed)
			mu.Lock()
			defer mu.Unlock()
			found[name] = key
			if f != nil && first == nil {
				first = f
				cancel()
			}
		})
	}
	group.Wait()
	return found, first
}

// key looks up and judges the key of a signature.
func (j *judgement) key(ctx context.Context, s *signature) (dkim.Key, *fault) {
	key, err := dkim.LookupKey(ctx, j.options.Resolver, s.domain, s.selector.String())
	switch {
	case dnsx.IsNotFound(err):
		return key, failed("no key at %s", s.keyName())
	case errors.Is(err, dkim.ErrKey) || errors.Is(err, dkim.ErrRevoked):
		return key, failed("key %s: %s", s.keyName(), mail.SafeText(err.Error(), 160))
	case err != nil:
		return key, &fault{"key " + s.keyName() + " could not be looked up: " + dnsx.Brief(err), true}
	case key.Type != s.algorithm:
		return key, failed("key %s is of type %s", s.keyName(), key.Type)
	case key.Type == "rsa" && key.Bits < j.options.MinRSABits:
		return key, failed("key %s has only %d bits", s.keyName(), key.Bits)
	}
	return key, nil
}
