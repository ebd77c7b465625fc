package store_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/mail"
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
		if want := []int64{1, 1, 2, 0}; !slices.Equal(affected, want) {
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

func TestSelectGivesRowsInOrderUntilError(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		if _, err := s.Submit(t.Context(), insert(1, "a"), insert(2, "B"), insert(3, "c")); err != nil {
			t.Fatal(err)
		}
		var names []string
		read := func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			names = append(names, name)
			return err
		}
		// Text is compared octet by octet: upper case comes first.
		if err := s.Select(t.Context(), read, "SELECT name FROM thing ORDER BY name"); err != nil {
			t.Fatal(err)
		}
		if want := []string{"B", "a", "c"}; !slices.Equal(names, want) {
			t.Errorf("got %v, want %v", names, want)
		}
		stop := errors.New("enough")
		calls := 0
		err := s.Select(t.Context(), func(func(...any) error) error { calls++; return stop }, "SELECT name FROM thing")
		if !errors.Is(err, stop) || calls != 1 {
			t.Errorf("%v after %d rows", err, calls)
		}
	})
}

func TestMustWithoutRowUndoesOnlyItsOperation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		must := store.Statement{SQL: "UPDATE thing SET number = 0 WHERE id = ?", Args: []any{99}, Must: true}
		errs, err := s.CommitBatch(t.Context(),
			[]store.Statement{insert(1, "before")},
			[]store.Statement{insert(2, "undone"), must},
			[]store.Statement{insert(3, "after")},
		)
		if err != nil || errs[0] != nil || !errors.Is(errs[1], store.ErrConflict) || errs[2] != nil {
			t.Fatalf("%v, %v", errs, err)
		}
		if n := count(t, s, "id IN (1, 3)"); n != 2 {
			t.Errorf("%d of the 2 others are there", n)
		}
		if n := count(t, s, "id = 2"); n != 0 {
			t.Error("the operation was not undone")
		}
		if _, err := s.Submit(t.Context(), must); !errors.Is(err, store.ErrConflict) {
			t.Errorf("alone: %v", err)
		}
		must.Args = []any{1}
		if affected, err := s.Submit(t.Context(), must); err != nil || affected[0] != 1 {
			t.Errorf("with its row: %v, %v", affected, err)
		}
	})
}

func TestFaultyOperationAloneSeesItsError(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		for name, faulty := range map[string]store.Statement{
			"key taken":       insert(1, "other"),
			"unknown table":   {SQL: "DELETE FROM nothing"},
			"type of column":  {SQL: "UPDATE thing SET number = ?", Args: []any{"text"}},
			"missing value":   {SQL: "INSERT INTO thing (id) VALUES (?)", Args: []any{7}},
			"too few":         {SQL: "DELETE FROM thing WHERE id = ?"},
			"not SQL":         {SQL: "nonsense"},
			"division by nil": {SQL: "UPDATE thing SET number = NULL"},
		} {
			t.Run(name, func(t *testing.T) {
				id := time.Now().UnixNano()
				errs, err := s.CommitBatch(t.Context(),
					[]store.Statement{{SQL: "DELETE FROM thing"}, insert(1, "one")},
					[]store.Statement{insert(id, "x"), faulty},
					[]store.Statement{insert(2, "two")},
				)
				if err != nil || errs[0] != nil || errs[1] == nil || errs[2] != nil {
					t.Fatalf("%v, %v", errs, err)
				}
				if isConflict := errors.Is(errs[1], store.ErrConflict); isConflict != (name == "key taken") {
					t.Errorf("conflict: %v", errs[1])
				}
				if n := count(t, s, "id IN (1, 2)"); n != 2 || count(t, s, "id = ?", id) != 0 {
					t.Error("others lost, or the faulty one not undone")
				}
				if err := s.Usable(t.Context()); err != nil {
					t.Errorf("one faulty operation makes the store unusable: %v", err)
				}
			})
		}
	})
}

func TestArguments(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		for _, refused := range []any{nil, "\xff", "nul\x00", 1.5, time.Now(), []int{1}, struct{}{}} {
			_, err := s.Submit(t.Context(), store.Statement{SQL: "UPDATE thing SET name = ?", Args: []any{refused}})
			if err == nil {
				t.Errorf("%#v was taken", refused)
			}
		}
		_, err := s.Submit(t.Context(),
			store.Statement{SQL: "INSERT INTO thing (id, number, name, octets) VALUES (?, ?, ?, ?)",
				Args: []any{mail.ID(5), true, mail.RoleMX, []byte(nil)}},
			store.Statement{SQL: "INSERT INTO thing (id, number, name, octets) VALUES (?, ?, ?, ?)",
				Args: []any{uint16(6), false, "it's – ?", []byte{0xff, 0, '?'}}},
		)
		if err != nil {
			t.Fatal(err)
		}
		if count(t, s, "id = 5 AND number = 1 AND name = 'mx' AND length(octets) = 0") != 1 {
			t.Error("kinds made of the basic ones, nil octets")
		}
		if count(t, s, "id = 6 AND number = 0 AND name = ? AND octets = ?", "it's – ?", []byte{0xff, 0, '?'}) != 1 {
			t.Error("text and octets as they were")
		}
	})
}

func TestMacrosInStatements(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		if _, err := s.Submit(t.Context(), insert(1, "one"), insert(2, "two")); err != nil {
			t.Fatal(err)
		}
		_, err := s.Submit(t.Context(), store.Statement{
			SQL: `UPDATE thing SET number = {{least}}(number, {{greatest}}(?, 3)) WHERE id IN (
				SELECT id FROM thing WHERE {{find}}(name, ?) > 0 LIMIT 1 {{skip_locked}})`,
			Args: []any{2, "wo"}})
		if err != nil || count(t, s, "id = 2 AND number = 3") != 1 || count(t, s, "id = 1 AND number = 10") != 1 {
			t.Errorf("least, greatest, find, skip_locked: %v", err)
		}
		var now int64
		if err := s.Get(t.Context(), "SELECT {{now}}", nil, &now); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(time.UnixMilli(now)).Abs(); d > time.Minute {
			t.Errorf("now is %v off", d)
		}
		if got, err := s.Now(t.Context()); err != nil || time.Since(got).Abs() > time.Minute {
			t.Errorf("Now: %v, %v", got, err)
		}
	})
}

func TestNumber(t *testing.T) {
	for sql, want := range map[string]string{
		"SELECT 1":                           "SELECT 1",
		"a = ? AND b = ?":                    "a = $1 AND b = $2",
		"a = '?' AND b = ? AND c = 'it''s?'": "a = '?' AND b = $1 AND c = 'it''s?'",
		strings.Repeat("?,", 10) + "?":       "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11",
	} {
		if got := store.Number(sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

func TestEndedContext(t *testing.T) {
	storetest.Each(t, func(t *testing.T, open storetest.Opener) {
		s := open(things())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var n int64
		if err := s.Get(ctx, "SELECT count(*) FROM thing", nil, &n); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		for id := range int64(50) {
			if _, err := s.Submit(ctx, insert(id, "late")); !errors.Is(err, context.Canceled) {
				t.Fatalf("submitted %d all the same: %v", id, err)
			}
		}
	})
}
