// Package dkim verifies DKIM signatures (RFC 6376 with RFC 8301, 8463 and
// 8616). The words of its results are those of RFC 8601 section 2.7.1.
//
// A Verifier reads the header, takes the DKIM-Signature fields from the top,
// and judges each in the same order: can the field be understood (signature.go),
// is there a usable key (key.go), do its hashes and its signature fit
// (verify.go). Everything a stranger can make big is bounded: the number of
// signatures, of fields and of names in h=, the size of keys and records. The
// body is read once for all signatures, while the keys are being looked up.
//
// A signature that is cryptographically sound and yet must not count, because of
// l=, a weak key or an unsigned From field, is "policy": sound, but not
// acceptable here.
package dkim
