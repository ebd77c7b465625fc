package tally

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"gatepost/auth/dkim"
	"gatepost/auth/dmarc"
)

// heap is what is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRowsKeepHeadersInMemory: a name is a part of the field that it stood in,
// and 5,000 rows of one domain must not keep 5,000 headers until midnight.
func TestRowsKeepHeadersInMemory(t *testing.T) {
	const rows, octets = 300, 200 << 10
	x := newTally(t, &memory{}, nil)
	before := heap()
	for i := range rows {
		m := from(t, fmt.Sprintf("10.0.%d.%d", i/200, i%200))
		field := strings.Repeat("x", octets) + fmt.Sprintf("d=d%03d.example.com", i)
		record, err := dmarc.ParseRecord("v=DMARC1; p=none; rua=mailto:d@example.com; x=" + strings.Repeat("x", 8000))
		if err != nil {
			t.Fatal(err)
		}
		name := domain(t, field[octets+2:])
		m.Facts.DKIM = []dkim.Result{{Value: "fail", Domain: name, Selector: name.String()}}
		m.Facts.DMARC.Record, m.Facts.DMARC.PolicyDomain = record, name
		x.Add(m)
	}
	flush(t, x)
	x.o.Store.(*memory).sent = nil
	if grown := (heap() - before) / rows; grown > 4<<10 {
		t.Errorf("%d octets are kept for each row", grown)
	}
	equal(t, "rows", len(x.days[DayOf(noon())].rows), fmt.Sprint(rows))
}

// TestLongNamesMakeLargeRows: ten signatures with names of 253 octets.
func TestLongNamesMakeLargeRows(t *testing.T) {
	m := failing(t)
	m.Facts.DKIM = nil
	for i := range 50 {
		long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + fmt.Sprintf("x%d.test", i)
		m.Facts.DKIM = append(m.Facts.DKIM, dkim.Result{Value: "fail", Domain: domain(t, long), Selector: long})
	}
	detail, err := json.Marshal(m.evaluate())
	if n := len(m.evaluate().Signatures); err != nil || n != 2 || len(detail) > 2<<10 || len(m.append(nil)) > 2<<10 {
		t.Errorf("%d signatures, %d octets, %v", n, len(detail), err)
	}
}

// TestKnownRowsAreWrittenWithoutDetail: it is gone from memory.
func TestKnownRowsAreWrittenWithoutDetail(t *testing.T) {
	s := &memory{}
	x := newTally(t, s, nil)
	for range 3 {
		x.Add(failing(t))
		flush(t, x)
	}
	if s.messages() != 3 || s.sent[0].SQL != upsert || s.sent[1].SQL != update || s.sent[2].SQL != update {
		t.Errorf("%d messages, %+v", s.messages(), s.sent)
	}
}
