// Package dnsx asks the domain name system what a mail gateway needs to know:
// TXT, MX, A, AAAA, PTR, CNAME and TLSA records (RFC 1035, RFC 2782 style
// names, RFC 6698).
//
// It is a stub resolver with a cache. A question goes to the configured
// servers in their order, over UDP with EDNS0 (RFC 6891) and again over TCP
// when the answer was truncated (RFC 7766); a reply counts only if its id,
// its response bit and its question are ours. Equal questions asked at the
// same time share one exchange. Answers, and answers that there is nothing
// (RFC 2308), are kept for their time to live within bounds.
//
// Three ways to find nothing are told apart, because mail rules differ on
// them: NXDOMAIN (the name does not exist), NODATA (the name exists, the type
// does not), and Temporary (nobody could say). A loop of CNAME records or a
// chain that is too long is Temporary too: it is what full resolvers answer
// (SERVFAIL), and its owner may mend it before the message expires.
//
// Whether an answer was proved by DNSSEC is believed only of servers that the
// configuration calls validating, never of /etc/resolv.conf.
//
// Package zone serves zone files to the quickstart and to tests; package
// dnstest adds faults to such a server.
package dnsx
