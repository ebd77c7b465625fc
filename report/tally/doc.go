// Package tally counts judged mail for the owners of the domains it claims to
// be from (DMARC aggregate reports: RFC 7489 section 7.2, RFC 9990).
//
// Add takes one judged message. Messages that a report could not tell apart
// share a row: same day (UTC), policy domain, source, identifiers, proofs,
// policy, disposition and reason. Add touches memory only: no store, and no
// encoding or allocation for an evaluation that was seen before. Run writes
// what has come to the store every few seconds, in one commit, by statements
// that add: several nodes count into the same rows. A crash loses what came
// since the last write, so that a report may show too little, never too much.
//
// Only mail whose policy record asks for aggregate reports is counted. What
// strangers can make it grow to is bounded by the rows of an organizational
// domain, the organizational domains of a day and the rows of a day; beyond
// that messages are dropped
// from the count, which the log and a metric tell. What they write is not kept
// in memory once it is in the store.
package tally
