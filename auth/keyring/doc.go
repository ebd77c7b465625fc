// Package keyring keeps the DKIM keys (RFC 6376, RFC 8463): made here,
// imported, or mounted as files.
//
// A key is named by domain and selector. It is born pending, for a signature
// is worthless while its public half is not in DNS; Check looks it up there,
// says in plain words what is wrong, and activates what matches. A newer
// active key of the same kind retires the older one, whose record has to stay
// in DNS as long as mail signed with it is on its way.
//
// Private keys stand in the store sealed with XChaCha20-Poly1305 under the
// seal key, bound to their domain and selector. All nodes share the store: a
// version counter in it tells each to read again. Parsed keys are kept in
// memory, and the ring goes on signing with them while the store is away.
package keyring
