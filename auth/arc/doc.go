// Package arc verifies and seals the Authenticated Received Chain (RFC 8617):
// what each forwarder on the way found when it looked at a message.
//
// A forwarder adds a set of three fields. ARC-Authentication-Results holds its
// findings, ARC-Message-Signature signs the message as it sent it on, and
// ARC-Seal signs all sets so far. A Verifier collects the sets (chain.go),
// reads their tags (signature.go), and judges them cheapest first (verify.go):
// the structure, the body hash and signature of the newest message signature,
// then every seal from the newest on. So a chain that cannot hold costs no
// DNS, and the first key that is missing ends the look-ups.
//
// Forms and the octets that are signed come from auth/canon, keys from
// auth/dkim. Everything a stranger can make big is bounded: sets, names in h=,
// keys. The body is read once for all message signatures, and the seals are
// hashed in one pass over the fields, since each covers what the one before
// covered.
//
// A Sealer makes the next set of a message in its final form (seal.go), once
// for each message, form and key (sealer.go). What the set tells was found when
// the message came in: the results are copied from our own field, and whether
// the chain held is an argument. Where that is not known, or the fields are
// other ones, there is no set. The same code gives a Verifier and a Sealer the
// octets under a seal.
//
// A chain says who vouches, not that the message is good. Whom to believe is
// the policy's decision.
package arc
