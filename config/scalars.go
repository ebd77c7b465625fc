package config

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time written as 30s, 5m, 4h, 5d or a sum such as 1h30m.
type Duration time.Duration

// Std is the duration for the standard library.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// maxDuration is the longest in whole days, 179 years.
const maxDuration = 65535 * 24 * time.Hour

// UnmarshalText reads a duration; a bare number other than 0 has no meaning.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "0" {
		*d = 0
		return nil
	}
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return errors.New("expected a duration such as 30s, 5m, 4h or 5d")
		}
		days, s = time.Duration(v)*24*time.Hour, rest
		if s == "" {
			*d = Duration(days)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 || v > maxDuration-days {
		return errors.New("expected a duration such as 30s, 5m, 4h or 5d")
	}
	*d = Duration(days + v)
	return nil
}

// MarshalText writes the shortest form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) {
	v := time.Duration(d)
	if v == 0 {
		return []byte("0"), nil
	}
	if v%(24*time.Hour) == 0 {
		return fmt.Appendf(nil, "%dd", v/(24*time.Hour)), nil
	}
	s := v.String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return []byte(s), nil
}

// Size is a number of octets written as 512, 64KiB, 25MiB, 1GiB.
type Size int64

var sizeUnits = []struct {
	suffix string
	octets int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(b []byte) error {
	for _, u := range sizeUnits {
		n, ok := strings.CutSuffix(string(b), u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(n, 10, 64)
		if err != nil || v < 0 || v > (1<<62)/u.octets {
			break
		}
		*s = Size(v * u.octets)
		return nil
	}
	return errors.New("expected a size such as 512, 64KiB, 25MiB or 1GiB")
}

// MarshalText writes the size in the largest unit that divides it.
func (s Size) MarshalText() ([]byte, error) {
	for _, u := range sizeUnits {
		if int64(s)%u.octets == 0 && int64(s) >= u.octets {
			return fmt.Appendf(nil, "%d%s", int64(s)/u.octets, u.suffix), nil
		}
	}
	return []byte("0"), nil
}

// URL is a text that may hold a password, which is not shown when printed.
type URL string

// UnmarshalText takes any text; whoever uses it checks it.
func (u *URL) UnmarshalText(b []byte) error {
	*u = URL(b)
	return nil
}

// String is the URL without its password.
func (u URL) String() string {
	p, err := url.Parse(string(u))
	if err != nil || strings.Contains(p.Opaque, "@") { // "postgres:user:password@host"
		return "[redacted]"
	}
	q := p.Query()
	for _, secret := range []string{"password", "sslpassword"} {
		if q.Has(secret) {
			q.Set(secret, "xxxxx")
			p.RawQuery = q.Encode()
		}
	}
	return p.Redacted()
}

// MarshalText is String.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// Date is a day, written 2027-03-31.
type Date struct{ day time.Time }

var errDate = errors.New("expected a day such as 2027-03-31")

// UnmarshalText reads a day.
func (d *Date) UnmarshalText(b []byte) error {
	day, err := time.Parse(time.DateOnly, string(b))
	if err != nil {
		return errDate
	}
	d.day = day
	return nil
}

// MarshalText writes the day; nothing for no day.
func (d Date) MarshalText() ([]byte, error) {
	if d.day.IsZero() {
		return nil, nil
	}
	return d.day.AppendFormat(nil, time.DateOnly), nil
}

// End is the first moment behind the day, in UTC; zero for no day.
func (d Date) End() time.Time {
	if d.day.IsZero() {
		return d.day
	}
	return d.day.AddDate(0, 0, 1)
}
