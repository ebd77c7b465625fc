package arc

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"gatepost/auth/authres"
	"gatepost/auth/canon"
)

// TestWhatIsSealedPasses: a thousand generated messages, each by two
// forwarders, of whom the second changes it.
func TestWhatIsSealedPasses(t *testing.T) {
	zone := records{}
	one, two := newForwarder(t, zone, "one.test"), newRSAForwarder(t, zone, "two.test")
	r := mathrand.New(mathrand.NewPCG(1, 2))
	for i := range 1000 {
		first := one.forward(t, oddMessage(r, false), nil)
		checkLines(t, first)
		if was := verify(t, zone, first); was.Value != Pass || !was.FromSigned || was.Sets[0].Sealer != one.Domain || len(was.Sets[0].Findings) != 2 {
			t.Fatalf("message %d: %+v\n%q", i, was, first)
		}
		if i >= 200 { // RSA takes its time
			continue
		}
		second := two.forward(t, first, func(m string) string { return changes(r, m) })
		if was := verify(t, zone, second); was.Value != Pass || len(was.Sets) != 2 || was.Sets[1].Sealer != two.Domain {
			t.Fatalf("message %d, forwarded twice: %+v\n%q", i, was, second)
		}
		checkFail(t, "changed behind the last", verify(t, zone, strings.Replace(second, "anna@", "evil@", 1)), "signature did not verify")
	}
}

// checkLines: no line is too long (RFC 5322 section 2.1.1), and nothing but
// three fields was added.
func checkLines(t testing.TB, sealed string) {
	t.Helper()
	h := newestSet(t, sealed)
	for i, name := range []string{fieldSeal, fieldMessage, fieldResults} {
		if h.Fields[i].Name != name {
			t.Fatalf("field %d is %s", i, h.Fields[i].Name)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(string(h.Fields[i].Raw), "\r\n"), "\r\n") {
			if len(line) > 998 || strings.Trim(line, " \t") == "" || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("line %q", line)
			}
		}
	}
}

// TestSealCovers: what may be added to a sealed message and what may not.
func TestSealCovers(t *testing.T) {
	zone := records{}
	sealed := newForwarder(t, zone, "one.test").forward(t, plain, nil)
	for name, c := range map[string]struct {
		message string
		holds   bool
	}{
		"unchanged":           {sealed, true},
		"a Received more":     {"Received: by x\r\n" + sealed, true},
		"a DKIM-Signature":    {"DKIM-Signature: v=1\r\n" + sealed, true},
		"a second From":       {"From: eve@evil.test\r\n" + sealed, false},
		"a second Subject":    {"Subject: x\r\n" + sealed, false},
		"a Cc where was none": {"Cc: x@y.test\r\n" + sealed, false},
		"another body":        {sealed + "x\r\n", false},
		"another result":      {strings.Replace(sealed, "dmarc=pass", "dmarc=fail", 1), false},
	} {
		if r := verify(t, zone, c.message); (r.Value == Pass) != c.holds {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, field := range newestSet(t, sealed).Fields[:2] {
		if field.Is(fieldMessage) && strings.Contains(strings.ToLower(field.Value()), "arc-") {
			t.Errorf("signs a field of the chain: %s", field.Value())
		}
	}
}

// TestSignedFields: each signature of others is covered, and a long list is
// folded.
func TestSignedFields(t *testing.T) {
	zone := records{}
	f := newForwarder(t, zone, "one.test")
	many := strings.Repeat("References: <x@author.test>\r\n", 400) + strings.Repeat("DKIM-Signature: v=1\r\n", 3) + plain
	sealed := f.forward(t, many, nil)
	checkLines(t, sealed)
	h := words(newestSet(t, sealed).Fields[1].Value())
	if strings.Count(h, "DKIM-Signature") != 3 || !strings.Contains(h, "h=From:To:Cc:Subject:Date") {
		t.Errorf("%s", h)
	}
	if r := verify(t, zone, sealed); r.Value != Pass {
		t.Errorf("%+v", r)
	}
	checkFail(t, "one is gone", verify(t, zone, strings.Replace(sealed, "DKIM-Signature: v=1\r\n", "", 1)), "did not verify")
	f.Fields = []canon.Covered{{Name: "From"}, {Name: strings.Repeat("X", 200)}, {Name: "Date"}}
	sealed = f.forward(t, strings.Repeat("X", 200)+": y\r\n"+plain, nil)
	checkLines(t, sealed)
	if r := verify(t, zone, sealed); r.Value != Pass {
		t.Errorf("a long name: %+v", r)
	}
}

// TestEndOfChain: a chain that fails gets one set that says so and covers
// nothing else; behind that it gets no more.
func TestEndOfChain(t *testing.T) {
	zone := records{}
	f := newForwarder(t, zone, "last.test")
	message, more := seal(t, plain, by("one.test"), by("two.test"))
	for name, record := range more {
		zone[name] = record
	}
	broken := strings.Replace(message, "Subject: chain", "Subject: other", 1)
	for name, c := range map[string]struct {
		message  string
		instance int
	}{
		"broken":                       {broken, 3},
		"a gap":                        {strings.Replace(message, "ARC-Seal: i=1", "ARC-Seal: i=7", 1), 8},
		"no instance":                  {"ARC-Seal: i=x; cv=fail\r\n" + plain, 1},
		"results only":                 {"ARC-Authentication-Results: i=4; x\r\n" + plain, 5},
		"an older one ended, in front": {"ARC-Seal: i=1; cv=fail\r\nARC-Seal: i=2; cv=pass\r\n" + plain, 3},
		"cv= in another field":         {"ARC-Message-Signature: i=2; cv=fail\r\nARC-Seal: i=2; cv=pass\r\n" + plain, 3},
		"fail further up":              {strings.Replace(message, "cv=none", "cv=fail", 1), 3},
	} {
		sealed := f.forward(t, c.message, nil)
		checkLines(t, sealed)
		own := newestSet(t, sealed).Fields[:3]
		if !strings.Contains(own[0].Value(), fmt.Sprintf("cv=fail; d=last.test; i=%d;", c.instance)) {
			t.Errorf("%s: %s", name, own[0].Value())
		}
		// Its seal is that of a first set: with the others gone it holds.
		alone := string(own[0].Raw) + string(own[1].Raw) + string(own[2].Raw)
		sets := []set{{results: &own[2], message: &own[1], seal: &own[0]}}
		digests, _ := sealDigests(sets)
		tags, _ := parseTags(fieldSeal, own[0].Value())
		signature, fault := parseSeal(&own[0], tags)
		if fault != nil {
			t.Fatal(fault)
		}
		j := &judgement{Verifier: NewVerifier(Options{Resolver: zone})}
		if key, fault := j.key(t.Context(), signature); fault != nil || !key.Verifies(digests[0], signature.value) {
			t.Errorf("%s: the seal does not hold: %v\n%s", name, fault, alone)
		}
		if r := verify(t, zone, sealed); r.Value != Fail {
			t.Errorf("%s: %+v", name, r)
		}
		again, err := f.Set(t.Context(), opens(sealed), verify(t, zone, sealed), "x; none")
		if !errors.Is(err, ErrUnsealed) || again != nil {
			t.Errorf("%s: sealed again: %v", name, err)
		}
	}
}

// TestUnsealed: what gets no set, and why.
func TestUnsealed(t *testing.T) {
	zone := records{}
	f := newForwarder(t, zone, "last.test")
	full, more := chainOf(t, plain, MaxSets)
	for name, record := range more {
		zone[name] = record
	}
	sealed, _ := seal(t, plain, by("one.test"))
	pass := Result{Value: Pass, Sets: make([]Set, 1)}
	for name, c := range map[string]struct {
		message, results string
		was              Result
		reason           string
	}{
		"50 sets":          {full, "x; none", verify(t, zone, full), "has 50 sets already"},
		"50 broken sets":   {"ARC-Seal: i=50\r\n" + plain, "x; none", Result{Value: Fail}, "has 50 sets already"},
		"DNS":              {sealed, "x; none", Result{Value: Fail, Temporary: true, Reason: "key x"}, "DNS gave no answer about its chain: key x"},
		"stripped":         {plain, "x; none", pass, "not the one that was judged"},
		"stripped, failed": {plain, "x; none", Result{Value: Fail}, "not the one that was judged"},
		"another":          {sealed, "x; none", Result{Value: Pass, Sets: make([]Set, 2)}, "not the one that was judged"},
		"not judged":       {sealed, "x; none", Result{}, "a chain that was not judged"},
		"malformed header": {"no field\r\n" + plain, "x; none", Result{}, "malformed header"},
		"endless header":   {"X: " + strings.Repeat("x", maxHeader) + "\r\n" + plain, "x; none", Result{}, "header too long"},
		"many fields":      {strings.Repeat("X:\r\n", maxFields) + plain, "x; none", Result{}, "fields"},
		"long word":        {plain, "x; " + strings.Repeat("y", 1000), Result{Value: None}, "a word of 1000 octets"},
	} {
		made, err := f.Set(t.Context(), opens(c.message), c.was, c.results)
		if !errors.Is(err, ErrUnsealed) || made != nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	forty, _ := chainOf(t, plain, MaxSets-1)
	if r := verify(t, zone, f.forward(t, forty, nil)); r.Value != Pass || len(r.Sets) != MaxSets {
		t.Errorf("set %d: %+v", MaxSets, r)
	}
}

// TestResultsStayInTheirField: whatever the results hold, they end where the
// field ends.
func TestResultsStayInTheirField(t *testing.T) {
	zone := records{}
	f := newForwarder(t, zone, "one.test")
	for _, results := range []string{"x; none\r\nFrom: eve@evil.test", "x; none\r\n\r\nbody", "x;\x00none", "x; spf=pass reason=\"ü\xff\"", "\r\n\r\n", ""} {
		made, err := f.Set(t.Context(), opens(plain), Result{Value: None}, results)
		if err != nil {
			t.Fatal(err)
		}
		checkLines(t, string(made)+plain)
		if r := verify(t, zone, string(made)+plain); r.Value != Pass {
			t.Errorf("%q: %+v", results, r)
		}
	}
}

// TestResultsAreCopied: what we found reads the same in the set, however it is
// folded there.
func TestResultsAreCopied(t *testing.T) {
	zone := records{}
	f := newForwarder(t, zone, "one.test")
	want := []authres.Method{
		{Name: "spf", Result: "fail", Reason: strings.Repeat("one reason ", 15) + "more", Props: []authres.Prop{{PType: "smtp", Property: "mailfrom", Value: strings.Repeat("a", 60) + "@" + strings.Repeat("b", 60) + ".test"}}},
		{Name: "arc", Result: "none"},
		{Name: "dmarc", Result: "pass", Props: []authres.Prop{{PType: "header", Property: "from", Value: "author.test"}}},
	}
	_, results, _ := strings.Cut(string(authres.Format("mx.one.test", want)), ":")
	made, err := f.Set(t.Context(), opens(plain), Result{}, results)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, zone, string(made)+plain); r.Value != Pass || fmt.Sprint(r.Sets[0].Findings) != fmt.Sprint(want) {
		t.Errorf("%+v\n%s", r, made)
	}
}

// TestSealReadErrors: trouble of our own is not taken for a message that
// cannot be sealed.
func TestSealReadErrors(t *testing.T) {
	f := newForwarder(t, records{}, "one.test")
	broken := errors.New("disk gone")
	for name, open := range map[string]Opener{
		"open":   func(context.Context) (io.ReadCloser, error) { return nil, broken },
		"header": func(context.Context) (io.ReadCloser, error) { return io.NopCloser(failing("From: a@", broken)), nil },
		"body":   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(failing(plain, broken)), nil },
	} {
		if made, err := f.Set(t.Context(), open, Result{}, "x; none"); !errors.Is(err, broken) || errors.Is(err, ErrUnsealed) || made != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func failing(text string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(text), iotest.ErrReader(err))
}

// FuzzSeal: what is sealed verifies, and a chain that failed does so still.
func FuzzSeal(f *testing.F) {
	zone := records{}
	forwarder := newForwarder(f, zone, "last.test")
	one := by("one.test")
	zone[one.Name()] = one.Record()
	chain, err := one.Seal(plain)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, "mx.last.test; none")
	f.Add(chain, "mx.last.test; arc=pass; dmarc=pass header.from=author.test")
	f.Add(strings.Replace(chain, "Subject: chain", "Subject: x", 1), "mx.last.test; arc=fail")
	f.Add("From: a", "")
	f.Fuzz(func(t *testing.T, message, results string) {
		was := verify(t, zone, message)
		made, err := forwarder.Set(t.Context(), opens(message), was, results)
		if errors.Is(err, ErrUnsealed) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		sealed := string(made) + message
		checkLines(t, sealed)
		h := newestSet(t, sealed)
		if instance, _, err := authres.ReadInstance(" " + h.Fields[2].Value()); err != nil || instance == "" {
			t.Fatalf("%s: %v", h.Fields[2].Value(), err)
		}
		r := verify(t, zone, sealed)
		if (was.Value == Fail) != (r.Value == Fail) || r.Value == None {
			t.Fatalf("was %+v, is %+v\n%q", was, r, sealed)
		}
	})
}
