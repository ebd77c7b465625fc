package arc

import (
	"fmt"
	"strings"
	"testing"

	"gatepost/mail"
)

// FuzzChain: a chain that was read has whole sets, numbered from one without a
// gap, and any order of its fields gives the same.
func FuzzChain(f *testing.F) {
	one, _ := seal(f, plain, by("one.test"))
	two, _ := seal(f, plain, by("one.test"), by("two.test"))
	for _, s := range []string{one, two, plain, "ARC-Seal: i=1;\r\n", strings.Replace(two, "i=2", "i=02", 3), strings.Replace(two, "i=2", "i=51", 3), strings.Replace(two, "i=2", "i=1", 1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, message string) {
		h, err := mail.ParseHeader([]byte(message))
		if err != nil {
			return
		}
		fields := fieldsOf(h)
		sets, fault := readChain(fields)
		if len(sets) > MaxSets || fault == nil && 3*len(sets) != len(fields) {
			t.Fatalf("%d sets of %d fields, %v", len(sets), len(fields), fault)
		}
		if fault != nil {
			if mail.SafeText(fault.reason, 300) != fault.reason {
				t.Fatalf("reason %q", fault.reason)
			}
			return
		}
		for i, s := range sets {
			if s.results == nil || s.message == nil || s.seal == nil || s.sealed == nil || (s.signed == nil) == (s.unsigned == nil) {
				t.Fatalf("set %d: %+v", i+1, s)
			}
		}
		var turned []mail.Field
		for i := range fields {
			turned = append(turned, fields[len(fields)-1-i])
		}
		other, fault := readChain(turned)
		if fault != nil || fmt.Sprint(describe(other)) != fmt.Sprint(describe(sets)) {
			t.Fatalf("backwards %v, %v; forwards %v", describe(other), fault, describe(sets))
		}
	})
}
