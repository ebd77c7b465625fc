package config

import (
	"os"
	"strings"
	"testing"
)

// FuzzDuration: what is read is written in a form that reads the same.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"0", "30s", "5d", "1d12h", "1h30m", "5", "-5m", "65535d", "1.5h", "d", "9223372036s", "65535d2540000h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d, again Duration
		if d.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := d.MarshalText()
		if err != nil || d < 0 {
			t.Fatalf("%q reads %d, %v", text, d, err)
		}
		if err := again.UnmarshalText(written); err != nil || again != d {
			t.Fatalf("%q is written %q, which reads %v, %v", text, written, again.Std(), err)
		}
	})
}

// FuzzSize: what is read is written in a form that reads the same.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "512", "64KiB", "25MiB", "1GiB", "-1", "5MB", "4611686018427387904", "4294967296GiB", "+5", "KiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again Size
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := s.MarshalText()
		if err != nil || s < 0 {
			t.Fatalf("%q reads %d, %v", text, s, err)
		}
		if err := again.UnmarshalText(written); err != nil || again != s {
			t.Fatalf("%q is written %q, which reads %d, %v", text, written, again, err)
		}
	})
}

// FuzzDate: a day is written as it was read, and ends a day later.
func FuzzDate(f *testing.F) {
	for _, s := range []string{"2027-03-31", "2024-02-29", "2023-02-29", "0000-01-01", "27-3-31", "2027-03-31T00:00:00Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d Date
		if d.UnmarshalText([]byte(text)) != nil {
			return
		}
		written, err := d.MarshalText()
		if err != nil || !d.day.IsZero() && string(written) != text || !d.day.IsZero() && d.End().Sub(d.day).Hours() != 24 {
			t.Fatalf("%q is written %q, ends %s, %v", text, written, d.End(), err)
		}
	})
}

// FuzzURL: no password of a store's address is ever shown, wherever it stands.
func FuzzURL(f *testing.F) {
	for _, s := range [][3]string{{"gp", "db/gp", "sslmode=x"}, {"", "[::1]:5432/x", ""}, {"a%40b", "h", "PASSWORD=x&password=y"}, {"u:v", "h,i:1/x", ";"}, {"\x7f", "%zz", "%zz"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, user, host, query string) {
		if strings.ContainsAny(user, "/?#@") || strings.ContainsAny(host, "?#@") || strings.Contains(query, "#") {
			return // the password would stand elsewhere
		}
		for _, text := range []string{
			"postgres://" + user + ":s3cr3tpw@" + host + "?" + query, "postgres://" + host + "?password=s3cr3tpw&" + query,
			"postgres://" + host + "?" + query + "&sslpassword=s3cr3tpw", "postgres:" + user + ":s3cr3tpw@" + host,
		} {
			if shown, err := URL(text).MarshalText(); err != nil || strings.Contains(string(shown), "s3cr3tpw") {
				t.Fatalf("%q is shown as %q, %v", text, shown, err)
			}
		}
	})
}

// FuzzExpand: text without ${ stays as it is; what is put in is not expanded
// again.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"plain", "${env:GATEPOST_FUZZ}", "a${env:GATEPOST_FUZZ}b", "${", "${env:}", "$${env:GATEPOST_FUZZ}}", "${env:GATEPOST_FUZZ", "${nothing}"} {
		f.Add(s)
	}
	const value = "v${env:HOME}v"
	f.Setenv("GATEPOST_FUZZ", value)
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "${file:") {
			return // reads files of the machine
		}
		got, err := expand(s)
		switch {
		case !strings.Contains(s, "${") && (err != nil || got != s):
			t.Fatalf("%q becomes %q, %v", s, got, err)
		case err == nil && strings.Count(s, "${env:") == strings.Count(s, "${env:GATEPOST_FUZZ}") && got != strings.ReplaceAll(s, "${env:GATEPOST_FUZZ}", value):
			t.Fatalf("%q becomes %q", s, got)
		case err == nil && strings.Contains(s, "${env:") && os.Getenv("GATEPOST_FUZZ") != value:
			t.Fatal("the environment was changed")
		}
	})
}
