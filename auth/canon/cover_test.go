package canon

import (
	"fmt"
	"strings"
	"testing"

	"gatepost/mail"
)

func TestCoveredFields(t *testing.T) {
	for want, c := range map[string][2][]string{
		"[{From false} {To true} {Subject false}]":  {{"Subject"}, {"To"}},
		"[{From true} {subject true} {Date false}]": {{"Subject", "from", "Date", "date"}, {"from", "subject"}},
		"[{From false}]": {nil, nil},
	} {
		if got := fmt.Sprint(CoveredFields(c[0], c[1])); got != want {
			t.Errorf("%v: %s, want %s", c, got, want)
		}
	}
}

// TestCover: each name once before any comes twice, none beyond the limit.
func TestCover(t *testing.T) {
	h, err := mail.ParseHeader([]byte("A: 1\r\na: 2\r\nB: 1\r\nC: 1\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	fields := []Covered{{"A", true}, {"B", false}, {"D", false}, {"E", true}}
	for limit, want := range map[int]string{100: "A B E A A", 8: "A B E A", 6: "A B E", 5: "A B", 1: ""} {
		if got := strings.Join(Cover(h, fields, limit), " "); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
	if got := Cover(h, nil, 100); len(got) != 0 {
		t.Errorf("without fields: %v", got)
	}
}
