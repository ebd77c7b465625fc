package trace

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"gatepost/mail"
)

// Bounds on what strangers can make us keep.
const (
	textLimit    = 1000
	addressLimit = 320
	whoLimit     = 1000 // addresses that a record can be found by
)

// encode makes everything that may come from outside safe and gives JSON.
func (r Record) encode() []byte {
	if r.Accepted != nil {
		a := *r.Accepted
		a.EnvID = mail.SafeText(a.EnvID, textLimit)
		a.Origin.Helo = mail.SafeText(a.Origin.Helo, textLimit)
		a.Origin.TLS = mail.SafeText(a.Origin.TLS, textLimit)
		a.Facts = facts(a.Facts)
		r.Accepted = &a
	}
	if len(r.Events) > 0 {
		events := make([]Event, len(r.Events))
		for i, e := range r.Events {
			events[i] = e.safe()
		}
		r.Events = events
	}
	if r.Refusal != nil {
		safe := r.Refusal.safe()
		r.Refusal = &safe
	}
	b, err := json.Marshal(r)
	if err != nil {
		// Only Facts can be unfit for JSON, and they were checked. A batch of
		// the queue must not fail for its trace.
		b, _ = json.Marshal(Record{Events: []Event{{At: r.At, Kind: KindFailed, Reason: "trace lost: " + mail.SafeText(err.Error(), textLimit)}}})
	}
	return b
}

func (e Event) safe() Event {
	e.Reason = mail.SafeText(e.Reason, textLimit)
	e.By = mail.SafeText(e.By, textLimit)
	e.Dest = mail.SafeText(e.Dest, textLimit)
	if e.Status != nil {
		status := *e.Status
		status.Text = mail.SafeText(status.Text, textLimit)
		status.Remote = mail.SafeText(status.Remote, textLimit)
		status.TLS = mail.SafeText(status.TLS, textLimit)
		e.Status = &status
	}
	return e
}

// facts are JSON by contract; anything else is kept as a string.
func facts(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	if json.Valid(b) && utf8.Valid(b) {
		return b
	}
	quoted, err := json.Marshal(mail.SafeText(string(b), textLimit))
	if err != nil {
		return nil
	}
	return quoted
}

func decode(id mail.ID, b []byte) (Record, error) {
	r := Record{ID: id}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("trace of %s: %w", id, err)
	}
	return r, nil
}
