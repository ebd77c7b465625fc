// Package peertest holds other programs' answers against ours, for the
// differential tests of auth and policy: programs that run once over all cases,
// the rspamd daemon, and the account of answers that are the same and of those
// that differ for a named reason. docs/conformance.md has a row for each name.
package peertest
