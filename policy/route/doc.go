// Package route chooses where a recipient's mail goes.
//
// Recipients of our own domains go to the next hop of that domain. For
// everything else the routes are asked in order and the first that matches
// wins; where none does, mail goes to the MX of the recipient's domain. The
// answer is a string that the queue keeps with the recipient and groups by:
// "hop:NAME" for a configured next hop, "mx:DOMAIN" for the hosts of a domain,
// "mx:[192.0.2.1]" for an address literal (RFC 5321 section 4.1.3).
package route
