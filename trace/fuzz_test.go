package trace

import (
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"gatepost/mail"
)

// FuzzDecode: a stored record reads as the same again, and one that cannot be
// read is an error.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"accepted":{"at":"2026-01-02T03:04:05Z","origin":{"role":"mx"},"from":"a@b.example","recipients":["c@d.example"],"size":5,"facts":{"x":1}}}`,
		`{"events":[{"at":"2026-01-02T03:04:05Z","kind":"delivered","recipient":"c@d.example","n":1,"status":{"code":250,"text":"ok"}}]}`,
		`{"refusal":{}}`, `{}`, `null`, `[]`, `{"events":[{"at":"yesterday"}]}`, `{"accepted":{"facts":1e999}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		r, err := decode(5, row)
		if err != nil {
			return
		}
		written := r.encode()
		again, err := decode(5, written)
		if err != nil || !json.Valid(written) || !utf8.Valid(written) {
			t.Fatalf("%q is written %q, which reads %v", row, written, err)
		}
		if rewritten := again.encode(); string(rewritten) != string(written) {
			t.Fatalf("%q is written %q, then %q", row, written, rewritten)
		}
	})
}

// FuzzEncode: whatever strangers say, a record is valid JSON without control
// characters, reads back, and can be found by its addresses.
func FuzzEncode(f *testing.F) {
	f.Add("550 no such user", "helo.example", []byte(`{"x":1}`), "a@b.example")
	f.Add("\x1b[31m\r\n250", "\xff\xfe", []byte("not JSON"), "nobody")
	f.Add("\u202e", "\u2028", []byte("{\"a\":\"\xff\"}"), "Ü@B.example  x")
	f.Fuzz(func(t *testing.T, text, helo string, facts []byte, address string) {
		at := time.Unix(1_800_000_000, 0).UTC()
		r := Record{ID: 5, At: at,
			Accepted: &Accepted{At: at, EnvID: text, Origin: mail.Origin{Role: mail.RoleMX, Helo: helo, TLS: text}, Facts: facts},
			Events:   []Event{{At: at, Kind: KindDeferred, Reason: text, By: helo, Dest: address, Status: &mail.Status{Code: 451, Text: text, Remote: helo}}},
			Refusal:  &Refusal{From: address, To: []string{address, text}},
		}
		b := r.encode()
		got, err := decode(5, b)
		if err != nil || !utf8.Valid(b) {
			t.Fatalf("%q reads %v", b, err)
		}
		for _, s := range []string{got.Accepted.EnvID, got.Accepted.Origin.Helo, got.Events[0].Reason, got.Events[0].Status.Text, got.Events[0].Status.Remote} {
			if mail.SafeText(s, textLimit) != s {
				t.Fatalf("%q is kept", s)
			}
		}
		if who := r.who(); !utf8.ValidString(who) || fold(address) != "" && !contains(who, fold(address)) {
			t.Fatalf("%q is not found in %q", address, who)
		}
	})
}

func contains(who, folded string) bool {
	for i := 0; i+len(folded)+2 <= len(who); i++ {
		if who[i:i+len(folded)+2] == " "+folded+" " {
			return true
		}
	}
	return false
}
