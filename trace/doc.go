// Package trace keeps what happened to every message, so that one question
// can be answered: why was this message refused, and where is it now?
//
// A message's life is written by the queue in the same batch that changes the
// queue, so that what the trace says is true after any crash. Most messages
// get one row, at their end: who handed them over, what the proofs and the
// policy said, and how each recipient ended. Attempts that failed on the way
// get rows of their own. While a message is under way its acceptance stands in
// the queue; Life and the queue together tell all.
//
// Mail that was refused never enters the queue. Log.Refused keeps it in a
// bounded buffer that Log.Run writes out: under attack some refusals go
// unrecorded, but mail does not wait for them.
//
// Every recipient of an accepted message ends in exactly one way: delivered,
// bounced, failed, consumed, discarded or deleted. Until then it is queued or
// held. Log.Account counts it.
package trace
