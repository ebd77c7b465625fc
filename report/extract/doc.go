// Package extract takes the reports out of a mail message: through MIME
// (RFC 2045), its encodings, gzip (RFC 1952) and zip, with a bound on
// everything that a stranger could make large. It looks at what a part is made
// of rather than at its type or file name, for reporters write all kinds of
// those: gzip as application/octet-stream, zip named .xml, XML as text/plain.
//
// It does not read the reports. That is done by aggregate, failure and tlsrpt.
package extract
