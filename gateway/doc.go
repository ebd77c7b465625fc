// Package gateway puts the house together: it turns the configuration into the
// small Options of each package, joins them by the interfaces that their users
// declare, and runs them. It is the only package that knows them all.
//
// New opens the store and makes everything; Run takes mail in and carries it
// on until its context ends, then stops in an order that loses nothing:
// unready, no new mail, running DATA finished, deliveries stopped at a safe
// point, outcomes written, store closed. Reload takes a new configuration into
// use without dropping a session.
package gateway
