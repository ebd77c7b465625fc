package trace_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"gatepost/mail"
	"gatepost/store"
	"gatepost/trace"
)

func TestJudged(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store, log *trace.Log) {
		facts := json.RawMessage(`{"verdict":{"action":"accept"}}`)
		accepted := func(id mail.ID, at time.Time) trace.Record {
			return trace.Record{ID: id, At: noon, Accepted: &trace.Accepted{At: at, Facts: facts}}
		}
		submit(t, s,
			accepted(1, noon),
			accepted(2, noon.Add(-time.Hour)), // ended since, but judged before
			trace.Record{ID: 3, At: noon, Events: []trace.Event{{At: noon, Kind: trace.KindDeferred}}},
			trace.Record{ID: 4, At: noon, Refusal: &trace.Refusal{At: noon, Stage: "content", From: "a@b.example", Facts: facts}},
			trace.Record{ID: 5, At: noon, Refusal: &trace.Refusal{At: noon, Stage: "rcpt", Facts: facts}},
			trace.Record{ID: 6, At: noon, Refusal: &trace.Refusal{At: noon, Stage: "content"}},
			accepted(7, noon),
		)
		for limit := 1; limit < 9; limit++ {
			var got []mail.ID
			for after := int64(0); ; {
				page, next, err := log.Judged(t.Context(), noon.Add(-time.Minute), after, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, j := range page {
					got = append(got, j.ID)
				}
				if after = next; next == 0 {
					break
				}
			}
			if !slices.Equal(got, []mail.ID{1, 4, 7}) {
				t.Errorf("pages of %d rows: got %v", limit, got)
			}
		}
	})
}
