package store

import (
	"strconv"
	"strings"
	"sync"
)

// dialect turns our SQL into that of one engine: macros are replaced and, on
// PostgreSQL, "?" placeholders numbered. Each text is translated once.
type dialect struct {
	macros   *strings.Replacer
	numbered bool
	done     sync.Map // string -> string
}

// The macros stand for what the engines say differently.
//
//	{{key}}      time-ordered key of a table, given by us
//	{{serial}}   growing key of a table, given by the database; the highest may
//	             be given again after its row was deleted
//	{{int}}      integer
//	{{text}}     text compared octet by octet
//	{{bytes}}    octets
//	{{strict}}   after the columns of a table: SQLite shall refuse wrong types
//	{{rowless}}  the same for a table of small rows whose primary key has
//	             several columns
//	{{find}}     function: position of the second text in the first, 0 if absent
//	{{least}}, {{greatest}}  smaller and greater of several values
//	{{skip_locked}}  at the end of a sub-select that claims rows
//	{{now}}      database time in milliseconds
func sqliteDialect() *dialect {
	return &dialect{macros: strings.NewReplacer(
		"{{key}}", "INTEGER PRIMARY KEY NOT NULL",
		"{{serial}}", "INTEGER PRIMARY KEY NOT NULL",
		"{{int}}", "INTEGER NOT NULL",
		"{{text}}", "TEXT NOT NULL",
		"{{bytes}}", "BLOB NOT NULL",
		"{{rowless}}", "WITHOUT ROWID, STRICT",
		"{{strict}}", "STRICT",
		"{{find}}", "instr",
		"{{least}}", "MIN",
		"{{greatest}}", "MAX",
		"{{skip_locked}}", "",
		"{{now}}", "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
	)}
}

func postgresDialect() *dialect {
	return &dialect{numbered: true, macros: strings.NewReplacer(
		"{{key}}", "BIGINT PRIMARY KEY",
		"{{serial}}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
		"{{int}}", "BIGINT NOT NULL",
		"{{text}}", `TEXT COLLATE "C" NOT NULL`,
		"{{bytes}}", "BYTEA NOT NULL",
		"{{rowless}}", "",
		"{{strict}}", "",
		"{{find}}", "strpos",
		"{{least}}", "LEAST",
		"{{greatest}}", "GREATEST",
		"{{skip_locked}}", "FOR UPDATE SKIP LOCKED",
		"{{now}}", "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
	)}
}

// translate gives the text for the engine. SQL comes from the program, never
// from outside, so the texts are few.
func (d *dialect) translate(sql string) string {
	if text, ok := d.done.Load(sql); ok {
		return text.(string)
	}
	text := d.macros.Replace(sql)
	if d.numbered {
		text = number(text)
	}
	d.done.Store(sql, text)
	return text
}

// number replaces each "?" outside of quotes by $1, $2 and so on.
func number(sql string) string {
	var b strings.Builder
	n, quoted := 0, false
	for i := range len(sql) {
		switch c := sql[i]; {
		case c == '\'':
			quoted = !quoted
			b.WriteByte(c)
		case c == '?' && !quoted:
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
