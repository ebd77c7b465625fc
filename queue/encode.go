package queue

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"gatepost/mail"
)

// meta is what the store keeps of a message besides its octets.
type meta struct {
	From   mail.Address `json:"from"`
	Return string       `json:"return,omitempty"`
	EnvID  string       `json:"envid,omitempty"`
	Body   string       `json:"body,omitempty"`
	UTF8   bool         `json:"utf8,omitempty"`
	Origin mail.Origin  `json:"origin"`
	Shape  mail.Shape   `json:"shape"`
	Cuts   []mail.Span  `json:"cuts,omitempty"`
}

func encodeMeta(m *mail.Message) ([]byte, error) {
	e := m.Envelope
	b, err := json.Marshal(meta{e.From, e.Return, e.EnvID, e.Body, e.UTF8, m.Origin, m.Shape, m.Cuts})
	if err != nil {
		return nil, fmt.Errorf("encode message %s: %w", m.ID, err)
	}
	return b, nil
}

// decodeMeta fills in m.
func decodeMeta(m *mail.Message, b []byte) error {
	var v meta
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("decode message %s: %w", m.ID, err)
	}
	m.Envelope = mail.Envelope{From: v.From, Return: v.Return, EnvID: v.EnvID, Body: v.Body, UTF8: v.UTF8}
	m.Origin, m.Shape, m.Cuts = v.Origin, v.Shape, v.Cuts
	return nil
}

// encodeOriginal is ORCPT as one value: "rfc822;user@example.com".
func encodeOriginal(r mail.Recipient) []byte {
	if r.OriginalType == "" {
		return nil
	}
	return []byte(r.OriginalType + ";" + r.Original)
}

func decodeRecipient(address []byte, notify int64, original []byte) (mail.Recipient, error) {
	r := mail.Recipient{Notify: mail.Notify(notify)}
	if err := r.Address.UnmarshalText(address); err != nil {
		return r, fmt.Errorf("decode recipient: %w", err)
	}
	r.OriginalType, r.Original, _ = strings.Cut(string(original), ";")
	return r, nil
}

func encodeStatus(s mail.Status) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return nil // a status is made of strings and numbers
	}
	return b
}

func decodeStatus(b []byte) mail.Status {
	var s mail.Status
	if len(b) > 0 && json.Unmarshal(b, &s) != nil {
		return mail.Status{}
	}
	return s
}

// senderKey is whose turn mail takes in the ring of a destination. Mail of
// relay sessions goes by the sending address, without the part that mailing
// lists vary from recipient to recipient (VERP); mail of strangers goes by the
// sending domain, for they choose local parts freely.
func senderKey(m *mail.Message) int64 {
	from, h := m.Envelope.From, fnv.New64a()
	local := ""
	if m.Origin.Role != mail.RoleMX {
		local, _, _ = strings.Cut(strings.ToLower(from.Local()), "+")
		local, _, _ = strings.Cut(local, "=")
	}
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s\x00%s", m.Origin.Role, m.Origin.Client, m.Origin.User, local, from.Domain())
	return int64(h.Sum64() >> 1)
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
