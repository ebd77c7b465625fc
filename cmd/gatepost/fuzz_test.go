package main

import (
	"testing"
	"time"
)

// FuzzSpan: days and durations of the command line are never less than none.
func FuzzSpan(f *testing.F) {
	for _, s := range []string{"30d", "12h", "65535d", "-5h", "d", "1.5d", "5", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again span
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(time.Duration(s).String())); s < 0 || err != nil || again != s {
			t.Fatalf("%q reads %d, then %d, %v", text, s, again, err)
		}
	})
}
