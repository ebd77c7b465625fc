// Package store keeps what must not be lost. It runs the same schema on
// SQLite, embedded in the gateway's data directory, and on PostgreSQL, shared
// by any number of gateways.
//
// Everything that changes enters through one door, Submit. A caller hands over
// the statements of one operation and waits; many callers share one commit,
// and one fsync pays for all of them. When Submit returns nil the operation is
// durable. When a batch fails it is rolled back and replayed operation by
// operation, so that only the faulty caller sees an error. A statement marked
// Must that changes no row rolls its own operation back with ErrConflict.
//
// There are no reads inside an operation. Select and Get read what is
// committed, on connections of their own.
//
// The package knows no words of mail. Each user brings a Schema: a name and
// its steps of DDL, written once with macros ({{key}}, {{int}}, {{text}},
// {{bytes}}, {{serial}}) that stand for what the two engines say differently.
// Integers are int64, times are int64 milliseconds, NULL does not exist.
package store
