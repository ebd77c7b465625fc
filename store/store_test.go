package store_test

import (
	"bytes"
	"errors"
	"testing"

	"gatepost/store"
	"gatepost/store/storetest"
)

// things is a table with a column of every kind.
func things() store.Schema {
	return store.Schema{Name: "things", Steps: []string{
		`CREATE TABLE thing (id {{key}}, number {{int}}, name {{text}}, octets {{bytes}}) {{strict}};
		 CREATE UNIQUE INDEX thing_name ON thing (name)`,
	}}
}

func insert(id int64, name string) store.Statement {
	return store.Statement{SQL: "INSERT INTO thing (id, number, name, octets) VALUES (?, ?, ?, ?)", Args: []any{id, id * 10, name, []byte(name)}}
}

func count(t *testing.T, s *store.Store, where string, args ...any) int64 {
	t.Helper()
	var n int64
	if err := s.Get(t.Context(), "SELECT count(*) FROM thing WHERE "+where, args, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSubmitThenRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		affected, err := s.Submit(t.Context(),
			insert(1, "one"), insert(2, "two"),
			store.Statement{SQL: "UPDATE thing SET number = number + ?", Args: []any{1}},
			store.Statement{SQL: "DELETE FROM thing WHERE id = ?", Args: []any{99}},
		)
		if err != nil {
			t.Fatal(err)
		}
		if want := []int64{1, 1, 2, 0}; !equal(affected, want) {
			t.Errorf("affected %v, want %v", affected, want)
		}
		var (
			number int64
			name   string
			octets []byte
		)
		err = s.Get(t.Context(), "SELECT number, name, octets FROM thing WHERE id = ?", []any{2}, &number, &name, &octets)
		if err != nil || number != 21 || name != "two" || !bytes.Equal(octets, []byte("two")) {
			t.Errorf("got %d %q %q, %v", number, name, octets, err)
		}
		if err := s.Get(t.Context(), "SELECT number FROM thing WHERE id = ?", []any{3}, &number); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("missing row: %v", err)
		}
	})
}

func equal(a, b []int64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
