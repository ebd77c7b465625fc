// Package downgrade re-encodes a message with 8-bit body octets for a server
// without 8BITMIME (RFC 6152 section 3, option 2): it walks the MIME parts
// (RFC 2045, RFC 2046) and writes those that hold such octets in
// quoted-printable or base64.
//
// Examine reads the message once and makes a Plan, or says why the message
// must stay as it is: a signed or encrypted part (RFC 1847 section 2.1) would
// break, a message/* part must not be encoded (RFC 2046 section 5.2). The
// Plan then re-encodes the same message while it is read, any number of times
// and with the same result, so that it can be measured, signed and sent.
//
// Header fields keep their octets: RFC 6152 is about bodies, and no encoding
// would do for a field whose charset is not known.
package downgrade
