package queue

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"gatepost/mail"
)

// FuzzMeta: what the store keeps of a message reads as the same again, and a
// row that cannot be read is an error and no half message.
func FuzzMeta(f *testing.F) {
	for _, s := range []string{
		`{"from":"a@b.example","origin":{"role":"mx","addr":"192.0.2.1"},"shape":{"header":10},"cuts":[{"o":1,"l":2}]}`,
		`{"from":"","return":"HDRS","envid":"x+2B","body":"8BITMIME","utf8":true,"origin":{"role":"relay","from":"b.example","confirmed":true},"shape":{"header":0,"eight_bit_body":true}}`,
		`{}`, `[]`, `null`, `{"from":"a@"}`, `{"origin":{"addr":"x"}}`, `{"cuts":[{"o":-1,"l":-1}]}`, `{"from":"a@b.example"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		var m, again mail.Message
		if err := decodeMeta(&m, row); err != nil {
			if !reflect.DeepEqual(m, mail.Message{}) {
				t.Fatalf("%q: %v, but %+v", row, err, m)
			}
			return
		}
		var stored meta
		e := m.Envelope
		if err := json.Unmarshal(row, &stored); err != nil || !reflect.DeepEqual(stored, meta{e.From, e.Return, e.EnvID, e.Body, e.UTF8, m.Origin, m.Shape, m.Cuts}) {
			t.Fatalf("%q reads %+v, %v", row, m, err)
		}
		written, err := encodeMeta(&m)
		if err != nil {
			t.Fatalf("%q: %v", row, err)
		}
		if err := decodeMeta(&again, written); err != nil {
			t.Fatalf("%q is written %q: %v", row, written, err)
		}
		if rewritten, err := encodeMeta(&again); err != nil || !bytes.Equal(rewritten, written) {
			t.Fatalf("%q is written %q, then %q, %v", row, written, rewritten, err)
		}
	})
}

// FuzzRecipient: a recipient's row reads as what was stored, the type of ORCPT
// apart from its address.
func FuzzRecipient(f *testing.F) {
	f.Add([]byte("a@b.example"), int64(0), "rfc822", "a@b.example")
	f.Add([]byte("\xc3\xbc@b.example"), int64(7), "utf-8", "ü;x\r\n\xff")
	f.Add([]byte("not an address"), int64(-1), "", "lost")
	f.Add([]byte(`"a b"@[192.0.2.1]`), int64(8), "x400", "")
	f.Fuzz(func(t *testing.T, address []byte, notify int64, kind, original string) {
		if bytes.ContainsRune([]byte(kind), ';') {
			return // no address-type holds one (RFC 3461 section 4.2)
		}
		r, err := decodeRecipient(address, notify, encodeOriginal(mail.Recipient{OriginalType: kind, Original: original}))
		if err != nil {
			return
		}
		if r.OriginalType != kind || kind != "" && r.Original != original || kind == "" && r.Original != "" {
			t.Fatalf("%q;%q reads %q;%q", kind, original, r.OriginalType, r.Original)
		}
		text, err := r.Address.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRecipient(text, notify, nil)
		if err != nil || again.Address != r.Address || again.Notify != r.Notify {
			t.Fatalf("%q reads %q, then %q, %v", address, r.Address, again.Address, err)
		}
	})
}

// FuzzStatus: a status reads as it was stored, and a broken row is no status.
func FuzzStatus(f *testing.F) {
	for _, s := range []string{`{"code":550,"enhanced":[5,1,1],"text":"no such user","remote":"mx[192.0.2.1]:25","said":true,"scope":"recipient"}`, `{}`, `{"code":"x"}`, "", `{"code":1e3}`, `{"enhanced":[1,2,3,4]}`, `{"enhanced":[70000,0,0]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		s := decodeStatus(row)
		if again := decodeStatus(encodeStatus(s)); !reflect.DeepEqual(again, s) && len(s.Signed) > 0 {
			t.Fatalf("%q reads %+v, then %+v", row, s, again)
		}
		if o := s.Outcome(); o != mail.Delivered && o != mail.Deferred && o != mail.Failed || o == mail.Failed && s.Code/100 != 5 {
			t.Fatalf("%q: %s", row, o)
		}
	})
}
