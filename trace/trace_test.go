package trace_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/store/storetest"
	"gatepost/trace"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	if s == "" {
		return mail.Address{}
	}
	a, err := mail.ParseAddress(s, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// message is one as the queue has it at its end.
func message(t testing.TB, id mail.ID, from string, to ...string) *mail.Message {
	m := &mail.Message{
		ID:       id,
		Received: noon,
		Envelope: mail.Envelope{From: address(t, from), EnvID: "env-1"},
		Origin: mail.Origin{Listener: "mx", Role: mail.RoleMX, Addr: netip.MustParseAddr("192.0.2.1"), Helo: "client.example",
			TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
		Facts:   []byte(`{"spf":{"value":"pass"},"dmarc":{"value":"pass"}}`),
		Content: mail.MemoryBody([]byte("Subject: hello\r\n\r\nbody\r\n")),
	}
	for _, s := range to {
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Address: address(t, s)})
	}
	return m
}

func delivered(m *mail.Message, n int, at time.Time) trace.Event {
	return trace.Event{At: at, Kind: trace.KindDelivered, Recipient: m.Envelope.Recipients[n].Address, N: n, Dest: "mx:example.org", Attempt: 1,
		Status: &mail.Status{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "Ok: queued as 1234", Remote: "mx.example.org[192.0.2.9]:25", Said: true,
			Signed: []string{"example.com/s1"}, TLS: "TLS1.3", Took: time.Second}}
}

func submit(t *testing.T, s *store.Store, records ...trace.Record) {
	t.Helper()
	var batch []store.Statement
	for _, r := range records {
		batch = append(batch, r.Statement())
	}
	if _, err := s.Submit(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
}

func each(t *testing.T, test func(t *testing.T, s *store.Store, log *trace.Log)) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(trace.Schema)
		test(t, s, trace.New(s, nil))
	})
}

func TestLifeOfDeliveredMessage(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		m := message(t, 77, "alice@example.com", "bob@example.org")
		deferred := trace.Event{At: noon.Add(time.Minute), Kind: trace.KindDeferred, Recipient: m.Envelope.Recipients[0].Address,
			Attempt: 1, Next: noon.Add(2 * time.Minute), Status: &mail.Status{Code: 451, Text: "come back later", Scope: mail.ScopeRecipient}}
		submit(t, s, trace.Record{ID: 77, At: deferred.At, From: m.Envelope.From, Events: []trace.Event{deferred}})
		half, err := log.Life(t.Context(), 77)
		if err != nil || half.Accepted != nil || len(half.Events) != 1 {
			t.Errorf("under way: %+v, %v", half, err)
		}
		end := delivered(m, 0, noon.Add(2*time.Minute))
		submit(t, s, trace.Record{ID: 77, At: end.At, From: m.Envelope.From, Accepted: trace.AcceptedOf(m), Events: []trace.Event{end}})
		life, err := log.Life(t.Context(), 77)
		if err != nil {
			t.Fatal(err)
		}
		a := life.Accepted
		if a == nil || a.Origin != m.Origin || a.From != m.Envelope.From || a.Size != m.Size() || a.EnvID != "env-1" ||
			!a.At.Equal(noon) || !slices.Equal(a.Recipients, []mail.Address{m.Envelope.Recipients[0].Address}) {
			t.Errorf("accepted: %+v", a)
		}
		var facts struct{ DMARC struct{ Value string } }
		if err := json.Unmarshal(a.Facts, &facts); err != nil || facts.DMARC.Value != "pass" {
			t.Errorf("facts: %s, %v", a.Facts, err)
		}
		if len(life.Events) != 2 || life.Events[0].Kind != trace.KindDeferred || life.Events[1].Kind != trace.KindDelivered {
			t.Fatalf("events: %+v", life.Events)
		}
		if got := *life.Events[1].Status; fmt.Sprint(got) != fmt.Sprint(*end.Status) || got.Took != time.Second || got.Signed[0] != "example.com/s1" {
			t.Errorf("status: %+v", got)
		}
		if _, err := log.Life(t.Context(), 78); !errors.Is(err, trace.ErrUnknown) {
			t.Errorf("another id: %v", err)
		}
	})
}

// Octets of strangers: nothing of them may break a batch, a line or a terminal.
func TestWhatStrangersSaidIsMadeSafe(t *testing.T) {
	const nasty = "\xff\x00\x1b[31m\r\nfake line\u2028"
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		m := message(t, 5, "", "bob@example.org")
		m.Origin.Helo = nasty
		m.Envelope.EnvID = nasty
		m.Facts = []byte(nasty)
		event := trace.Event{At: noon, Kind: trace.KindFailed, Reason: nasty, By: nasty, Dest: nasty,
			Status: &mail.Status{Code: 550, Text: nasty + strings.Repeat("x", 5000), Remote: nasty, TLS: nasty}}
		submit(t, s, trace.Record{ID: 5, At: noon, Accepted: trace.AcceptedOf(m), Events: []trace.Event{event}},
			trace.Record{ID: 6, At: noon, Refusal: &trace.Refusal{At: noon, Stage: nasty, From: nasty, To: []string{nasty}, Rule: nasty, Reason: nasty,
				Origin: mail.Origin{Helo: nasty}, Status: mail.Status{Code: 550, Text: nasty}, Facts: []byte(nasty)}})
		for _, id := range []mail.ID{5, 6} {
			life, err := log.Life(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if (life.Accepted == nil) != (id == 6) || (life.Refusal == nil) != (id == 5) {
				t.Errorf("%s: facts that are no JSON cost the record: %+v", id, life)
			}
			text, err := json.Marshal(life)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{`\u0000`, `\u001b`, `\r`, `\n`, "\u2028", `\u2028`, `\ufffd`} {
				if strings.Contains(string(text), bad) {
					t.Errorf("%s kept %s: %.500s", id, bad, text)
				}
			}
			if len(text) > 12_000 {
				t.Errorf("%d octets kept", len(text))
			}
		}
		if event.Status.Text[0] != 0xff {
			t.Error("the caller's own status was changed")
		}
	})
}

func TestSearch(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		for i := range 30 {
			m := message(t, mail.ID(100+i), "Alice@example.com", "bob@example.org", fmt.Sprintf("user%d@sub.example.net", i%3))
			at := noon.Add(time.Duration(i) * time.Hour)
			events := []trace.Event{delivered(m, 0, at), delivered(m, 1, at)}
			if i%2 == 0 { // two rows of one message must be found once
				submit(t, s, trace.Record{ID: m.ID, At: at, From: m.Envelope.From, Events: events[:1]})
				events = events[1:]
			}
			submit(t, s, trace.Record{ID: m.ID, At: at, From: m.Envelope.From, Accepted: trace.AcceptedOf(m), Events: events})
		}
		submit(t, s, trace.Record{ID: 999, At: noon.Add(100 * time.Hour), Refusal: &trace.Refusal{
			At: noon.Add(100 * time.Hour), Stage: "rcpt", From: "Spammer@Evil.example", To: []string{"bob@example.org"}, Status: mail.Status{Code: 550, Text: "no"}}})
		for name, c := range map[string]struct {
			address string
			since   time.Time
			limit   int
			want    []mail.ID
		}{
			"newest first, refused too": {"bob@example.org", time.Time{}, 4, []mail.ID{999, 129, 128, 127}},
			"sender, any case":          {"alice@EXAMPLE.com", time.Time{}, 2, []mail.ID{129, 128}},
			"since":                     {"<user0@sub.example.net>", noon.Add(24 * time.Hour), 10, []mail.ID{127, 124}},
			"domain":                    {"@sub.example.net", time.Time{}, 1, []mail.ID{129}},
			"no half of a domain":       {"@example.ne", time.Time{}, 9, nil},
			"no parent domain":          {"@example.net", time.Time{}, 9, nil},
			"no half of a local part":   {"ob@example.org", time.Time{}, 9, nil},
			"refused sender":            {"spammer@evil.example", time.Time{}, 9, []mail.ID{999}},
			"no pattern":                {"%@example.org", time.Time{}, 9, nil},
		} {
			found, err := log.Search(t.Context(), c.address, c.since, c.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []mail.ID
			for _, f := range found {
				got = append(got, f.ID)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %d, want %d", name, got, c.want)
			}
		}
		found, err := log.Search(t.Context(), "user2@sub.example.net", noon.Add(29*time.Hour), 1)
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		if f := found[0]; f.From != "Alice@example.com" || !slices.Equal(f.To, []string{"bob@example.org", "user2@sub.example.net"}) ||
			f.Kind != trace.KindDelivered || f.Text != "250 2.0.0 Ok: queued as 1234" || !f.At.Equal(noon.Add(29*time.Hour)) {
			t.Errorf("summary %+v", f)
		}
	})
}

func TestSearchAcrossManyRows(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		log.SetSearchWindow(7)
		for i := range 50 {
			from := "other@example.com"
			if i%20 == 3 {
				from = "rare@example.com"
			}
			submit(t, s, trace.Record{ID: mail.ID(i + 1), At: noon.Add(time.Duration(i) * time.Minute), From: address(t, from)})
		}
		found, err := log.Search(t.Context(), "rare@example.com", time.Time{}, 10)
		if err != nil || len(found) != 3 || found[0].ID != 44 || found[2].ID != 4 {
			t.Errorf("%+v, %v", found, err)
		}
		found, err = log.Search(t.Context(), "rare@example.com", noon.Add(20*time.Minute), 10)
		if err != nil || len(found) != 2 {
			t.Errorf("since: %+v, %v", found, err)
		}
	})
}

func TestExpire(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		var batch []trace.Record
		for i := range 2500 {
			batch = append(batch, trace.Record{ID: mail.ID(i + 1), At: noon.Add(time.Duration(i) * time.Second)})
		}
		submit(t, s, batch...)
		if err := log.Expire(t.Context(), noon.Add(2200*time.Second)); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[mail.ID]error{1: trace.ErrUnknown, 2200: trace.ErrUnknown, 2201: nil, 2500: nil} {
			if _, err := log.Life(t.Context(), id); !errors.Is(err, want) {
				t.Errorf("%d: %v, want %v", id, err, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := log.Expire(ctx, noon.Add(time.Hour)); err == nil {
			t.Error("went on although the context had ended")
		}
	})
}

func TestLifeWithManyRows(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		var batch []trace.Record
		for i := range 450 { // a message that was tried for days
			at := noon.Add(time.Duration(i) * time.Minute)
			batch = append(batch, trace.Record{ID: 9, At: at, Events: []trace.Event{{At: at, Kind: trace.KindDeferred, Attempt: i + 1}}})
		}
		submit(t, s, batch...)
		life, err := log.Life(t.Context(), 9)
		if err != nil || len(life.Events) != 450 || life.Events[449].Attempt != 450 {
			t.Errorf("%d events, %v", len(life.Events), err)
		}
	})
}
