package mail

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestIDsGrowWhenTheClockStepsBack: ids grow, however the clock moves.
func TestIDsGrowWhenTheClockStepsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		source, err := NewIDSource(func() time.Time { return now }, strings.NewReader("\xff\xff"))
		if err != nil {
			t.Fatalf("NewIDSource: %v", err)
		}
		last := ID(0)
		for _, step := range rapid.SliceOfN(rapid.Int64Range(-5000, 5000), 1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(step) * time.Millisecond)
			for range 3 {
				id := source.Next()
				if id <= last {
					t.Fatalf("%d after %d", id, last)
				}
				last = id
			}
			if back, err := ParseID(strings.ToUpper(last.String())); err != nil || back != last {
				t.Fatalf("%s reads as %d, %v", last, back, err)
			}
		}
	})
}

func TestIDTime(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 5e6, time.UTC)
	source, err := NewIDSource(func() time.Time { return now }, strings.NewReader("ab"))
	if err != nil {
		t.Fatal(err)
	}
	for range 1024 { // as many as a millisecond has
		if id := source.Next(); !id.Time().Equal(now) {
			t.Fatalf("Time = %v", id.Time())
		}
	}
	if id := source.Next(); !id.Time().Equal(now.Add(time.Millisecond)) {
		t.Errorf("the 1025th id has time %v", id.Time())
	}
}

// TestParseIDOfLettersThatShrink: the Kelvin sign is three octets, its lower
// case one; such an id once led behind the end of the string.
func TestParseIDOfLettersThatShrink(t *testing.T) {
	for _, s := range []string{"\u212a\u212a\u212a\u212a0", "", "0000000000000x", "8000000000000", "00000000000u0", "000000000000"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %d", s, id)
		}
	}
}

func TestXtext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		x := EncodeXtext(s)
		if strings.ContainsFunc(x, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' }) {
			t.Fatalf("EncodeXtext(%q) = %q", s, x)
		}
		if back, err := DecodeXtext(x); err != nil || back != s {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
	})
	for _, s := range []string{"a b", "a=b", "+", "+4", "+G0", "a\x00", "ä"} {
		if _, err := DecodeXtext(s); err == nil {
			t.Errorf("DecodeXtext(%q) succeeded", s)
		}
	}
	if s, err := DecodeXtext("a+2bb+3Dc"); err != nil || s != "a+b=c" {
		t.Errorf("DecodeXtext = %q, %v", s, err)
	}
}

func TestSafeText(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\r\nb": "a  b", "\x00a\x1b[2Jb\x7f": "a [2Jb", "a\xffb": "a?b", "\u0085x\u2028y": "x y",
		"abc\u202edef": "abc def", "größe": "größe", "0123456789012345678901234567890": "01234567890123456789",
	} {
		if got := SafeText(in, 20); got != want {
			t.Errorf("SafeText(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := SafeText(string(rapid.SliceOf(rapid.Byte()).Draw(t, "s")), 50)
		if len(s) > 50 || !utf8.ValidString(s) || hasControl(s) {
			t.Fatalf("SafeText gives %q", s)
		}
	})
}

// TestRepliesAgree: the enhanced code's class is the reply's (RFC 2034 section
// 4), and texts are one line of ASCII.
func TestRepliesAgree(t *testing.T) {
	for _, r := range []Reply{ReplyOK, ReplyBye, ReplyShuttingDown, ReplyTooManyConnections, ReplyTimeout, ReplySyntax, ReplyBadSequence,
		ReplyBadMailbox, ReplyRelayDenied, ReplyNoSuchUser, ReplyTooManyRecipients, ReplyStorage, ReplyLocalError, ReplyTooBig, ReplyLoop,
		ReplyAuthOK, ReplyAuthRequired, ReplyMustTLS, ReplyAuthFailed, ReplyPolicy, ReplyDefer, ReplySPFFail, ReplySPFDefer, ReplyDKIMFail,
		ReplyDMARCReject, ReplyDMARCDefer, ReplyDNSTrouble, ReplyNoSuchDomain, ReplyNullMX, ReplyMailLoop, ReplyConnectFailed,
		ReplyTLSFailed, ReplyNextHopAuth, ReplyNextHopSize, ReplyNextHopUTF8, ReplyNotConverted, ReplyExpired, ReplyDeleted, ReplyInternal} {
		if r.Code/100 != int(r.Enhanced[0]) || !isASCII(r.Text) || hasControl(r.Text) || r.Text == "" {
			t.Errorf("%+v", r)
		}
	}
	if got, want := ReplyDefer.WithText("later").String(), "451 4.7.1 later"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	want := Status{Code: 550, Enhanced: Enhanced{5, 1, 1}, Text: "No such recipient here", Scope: ScopeRecipient}
	if got := ReplyNoSuchUser.Status(ScopeRecipient); !reflect.DeepEqual(got, want) || got.Outcome() != Failed {
		t.Errorf("Status = %+v", got)
	}
}
