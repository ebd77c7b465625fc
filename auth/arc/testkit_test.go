package arc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"gatepost/dnsx"
	"gatepost/mail"
)

// records is a Resolver of TXT records by name. A record "SERVFAIL" is trouble.
type records map[string]string

func (r records) TXT(_ context.Context, name string) (dnsx.Answer[string], error) {
	record, ok := r[name]
	switch {
	case !ok:
		return dnsx.Answer[string]{}, &dnsx.Error{Kind: dnsx.NXDomain, Name: name, Type: "TXT", Err: errors.New("no such name")}
	case record == "SERVFAIL":
		return dnsx.Answer[string]{}, &dnsx.Error{Kind: dnsx.Temporary, Name: name, Type: "TXT", Err: errors.New("server failure")}
	}
	return dnsx.Answer[string]{Records: []string{record}}, nil
}

// counting counts questions.
type counting struct {
	records
	asked atomic.Int64
}

func (c *counting) TXT(ctx context.Context, name string) (dnsx.Answer[string], error) {
	c.asked.Add(1)
	return c.records.TXT(ctx, name)
}

func domain(t testing.TB, s string) mail.Domain {
	t.Helper()
	d, err := mail.ParseDomain(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
