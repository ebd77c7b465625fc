// Package aggregate reads DMARC aggregate reports, of RFC 7489 appendix C and
// of RFC 9990, and of the drafts between them. It is strict about what could
// hurt us (document types, entities, depth, sizes, numbers) and forgiving about
// what reporters get wrong: missing parts, wrong order, words in capitals,
// foreign elements around the report, octets that are no UTF-8.
package aggregate
