// Package quickstart runs a complete gateway on the loopback network of one
// machine: it writes a configuration, a certificate and a small DNS zone,
// starts the gateway with them, gives it a next hop that keeps mail in a
// Maildir, sends one message each way and shows what came of them. Nothing
// leaves the machine.
//
// Two made-up domains take part (RFC 2606): gatepost.test is ours, and
// world.test stands for everyone else.
package quickstart
