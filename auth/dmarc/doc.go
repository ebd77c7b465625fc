// Package dmarc tells whether the domain in a message's From field is proved
// by an aligned SPF or DKIM result, and what the domain's owner wishes to
// happen when it is not.
//
// Records of both generations are read: RFC 7489 (pct, rf, ri) and RFC 9989
// (np, psd, t). Policy and organizational domains are found by walking up the
// tree of names (RFC 9989 section 4.10), with at most eight queries for each
// name. Options.Discovery may ask for the list of public suffixes instead
// (RFC 7489 section 3.2), or for a comparison of the two.
//
// Where the generations differ, RFC 9989 counts: several records at one name
// are as none, and the walk goes on above them; a record without p= asks for
// nothing. A record whose p=, sp= or np= is not a known policy counts as
// p=none if it names an address for reports, else it is a permanent error and
// no policy applies (RFC 7489 section 6.6.3, RFC 9989 section 4.10.1).
package dmarc
