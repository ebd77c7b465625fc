// Package tlsrpt reads SMTP TLS reports (RFC 8460): whether other servers could
// deliver to our domains by TLS, and what went wrong where they could not.
package tlsrpt
