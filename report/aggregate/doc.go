// Package aggregate reads and writes DMARC aggregate reports, of RFC 7489
// appendix C and of RFC 9990; it reads the drafts between them too.
//
// The reader is strict about what could hurt us (document types, entities,
// depth, sizes, numbers) and forgiving about what reporters get wrong: missing
// parts, wrong order, words in capitals, foreign elements around the report,
// octets that are no UTF-8.
//
// The writer is the other way round: whatever strangers put into the facts, it
// writes what the schema of its format allows, and what the reader reads.
package aggregate
