// Package queue keeps messages from the moment the gateway has said 250 until
// each of their recipients has come to an end: delivered, bounced, failed
// without a notice, or deleted by a named administrator.
//
// The way in is Accept. It returns nil only when the whole message and its
// recipients are committed (RFC 5321 section 6.1). Large bodies are written in
// chunks beforehand, under an id that has no message row yet; the last commit
// makes them a message, and what never became one is swept away.
//
// Where a recipient is going is a destination, an opaque string that the
// Router gives ("hop:exchange", "mx:example.com"). Back-off lives in the
// destination's row, never in the rows of the recipients that wait for it: a
// site that is down costs one update, whether one message waits or a hundred
// thousand. When its time has come, one message probes it.
//
// A row is delivered by the node that owns it. Nodes lease themselves, by the
// database's clock, and not messages: a row's owner is the incarnation of a
// node, every outcome is written only where the owner is still the writer, and
// the rows of an incarnation whose lease ran out are freed. Mail that has just
// arrived for a healthy destination is written as owned and handed over in
// memory, without a query.
//
// Who is next is decided by the scheduler (scheduler.go), which does no input
// or output and knows no clock: events go in, actions come out. It keeps a
// ring of destinations and in each a ring of senders, so that a newsletter
// does not hold up a letter, and it keeps a bounded number of rows.
//
// The outcome of an attempt is one batch: the recipients' state, the trace,
// the delivery status notice where one is due (RFC 3461, package dsn), and the
// end of the message with its last recipient. While the store is in trouble
// the outcome waits in memory, and its place among the running deliveries
// stays taken.
package queue
