package trace_test

import (
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

func end(m *mail.Message, n int, kind trace.Kind) trace.Event {
	return trace.Event{At: noon, Kind: kind, N: n, Recipient: m.Envelope.Recipients[n].Address}
}

func TestAccount(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		m := message(t, 1, "alice@example.com", "a@example.org", "b@example.org", "c@example.org")
		under := message(t, 2, "alice@example.com", "a@example.org", "b@example.org")
		submit(t, s,
			trace.Record{ID: 1, At: noon, Events: []trace.Event{end(m, 1, trace.KindDeferred), end(m, 0, trace.KindDelivered)}},
			trace.Record{ID: 1, At: noon, Accepted: trace.AcceptedOf(m), Events: []trace.Event{end(m, 1, trace.KindBounced), end(m, 2, trace.KindDeleted)}},
			trace.Record{ID: 2, At: noon, Events: []trace.Event{end(under, 1, trace.KindFailed)}},
			trace.Record{ID: 3, At: noon, Refusal: &trace.Refusal{At: noon}},
		)
		a, err := log.Account(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.Ended != 1 || a.Recipients != 3 || a.Refused != 1 || len(a.Faults) != 0 {
			t.Errorf("%+v", a)
		}
		// accepted = ends + queued: 3 + 2 recipients, one of them still queued
		const accepted, queued = 5, 1
		sum := int64(queued)
		for kind, n := range a.Ends {
			if !kind.Ends() {
				t.Errorf("%s is no end", kind)
			}
			sum += n
		}
		if sum != accepted {
			t.Errorf("accepted %d, accounted for %d: %v", accepted, sum, a.Ends)
		}
	})
}

func TestAccountFindsFaults(t *testing.T) {
	for name, records := range map[string]func(m *mail.Message) []trace.Record{
		"a recipient without an end": func(m *mail.Message) []trace.Record {
			return []trace.Record{{ID: 1, Accepted: trace.AcceptedOf(m), Events: []trace.Event{end(m, 0, trace.KindDelivered)}}}
		},
		"a recipient with two ends": func(m *mail.Message) []trace.Record {
			return []trace.Record{{ID: 1, Accepted: trace.AcceptedOf(m), Events: []trace.Event{
				end(m, 0, trace.KindDelivered), end(m, 0, trace.KindBounced), end(m, 1, trace.KindDelivered)}}}
		},
		"a message with two ends": func(m *mail.Message) []trace.Record {
			both := []trace.Event{end(m, 0, trace.KindDelivered), end(m, 1, trace.KindDelivered)}
			return []trace.Record{{ID: 1, Accepted: trace.AcceptedOf(m), Events: both}, {ID: 1, Accepted: trace.AcceptedOf(m)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
				submit(t, s, records(message(t, 1, "alice@example.com", "a@example.org", "b@example.org"))...)
				a, err := log.Account(t.Context())
				if err != nil || len(a.Faults) != 1 {
					t.Errorf("%+v, %v", a, err)
				}
			})
		})
	}
}

// The record of a message is written for each one: it must stay cheap.
func BenchmarkStatement(b *testing.B) {
	m := message(b, 1, "alice@example.com", "bob@example.org")
	event := delivered(m, 0, noon.Add(time.Second))
	b.ReportAllocs()
	for b.Loop() {
		r := trace.Record{ID: 1, At: noon, From: m.Envelope.From, Accepted: trace.AcceptedOf(m), Events: []trace.Event{event}}
		if s := r.Statement(); len(s.Args[3].([]byte)) < 300 {
			b.Fatal("too short")
		}
	}
}
