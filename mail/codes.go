package mail

// Reply is what SMTP answers: a code (RFC 5321 section 4.2), an enhanced code
// (RFC 3463) and a text. The same record serves as our own words in a Status.
type Reply struct {
	Code     int
	Enhanced Enhanced
	Text     string
}

// WithText is the reply with another text.
func (r Reply) WithText(text string) Reply {
	r.Text = text
	return r
}

// IsZero tells whether there is no reply.
func (r Reply) IsZero() bool { return r == Reply{} }

// Temporary tells whether the client may try again.
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Status is the reply as our own words about a recipient.
func (r Reply) Status(scope Scope) Status {
	return Status{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Scope: scope}
}

// String is the reply as one line.
func (r Reply) String() string { return r.Status("").String() }

// Success and the life of a session (RFC 5321 section 4.2.3, RFC 3463).
var (
	ReplyOK                 = Reply{250, Enhanced{2, 0, 0}, "Ok"}
	ReplyBye                = Reply{221, Enhanced{2, 0, 0}, "Bye"}
	ReplyShuttingDown       = Reply{421, Enhanced{4, 3, 2}, "Service is shutting down, try again later"}
	ReplyTooManyConnections = Reply{421, Enhanced{4, 7, 0}, "Too many connections, try again later"}
	ReplyTooManyErrors      = Reply{421, Enhanced{4, 7, 0}, "Too many errors, closing the connection"}
	ReplyTimeout            = Reply{421, Enhanced{4, 4, 2}, "Timeout, closing the connection"}
	ReplyTooSlow            = Reply{421, Enhanced{4, 4, 2}, "Too slow, closing the connection"}
)

// Commands and their arguments.
var (
	ReplySyntax          = Reply{500, Enhanced{5, 5, 2}, "Syntax error"}
	ReplyLineTooLong     = Reply{500, Enhanced{5, 5, 2}, "Line too long"}
	ReplyUnknownCommand  = Reply{500, Enhanced{5, 5, 1}, "Unknown command"}
	ReplyArguments       = Reply{501, Enhanced{5, 5, 4}, "Syntax error in the arguments"}
	ReplyNotImplemented  = Reply{502, Enhanced{5, 5, 1}, "Command not offered here"}
	ReplyBadSequence     = Reply{503, Enhanced{5, 5, 1}, "Bad sequence of commands"}
	ReplyParameter       = Reply{555, Enhanced{5, 5, 4}, "Parameter not known"}
	ReplyNoValidRcpt     = Reply{554, Enhanced{5, 5, 1}, "No valid recipients"}
	ReplyBadMailbox      = Reply{553, Enhanced{5, 1, 3}, "Mailbox name not allowed"}
	ReplyBadSender       = Reply{553, Enhanced{5, 1, 7}, "Sender address not allowed"}
	ReplyNeedsSMTPUTF8   = Reply{553, Enhanced{5, 6, 7}, "Non-ASCII address needs SMTPUTF8"}
	ReplyStartTLSPipe    = Reply{554, Enhanced{5, 5, 1}, "Data behind STARTTLS, closing the connection"}
	ReplyTLSUnavailable  = Reply{454, Enhanced{4, 7, 0}, "TLS not available for a temporary reason"}
	ReplyProxyOnly       = Reply{554, Enhanced{5, 7, 1}, "No mail over this connection"}
	ReplyUnknownEncoding = Reply{504, Enhanced{5, 5, 4}, "Parameter value not implemented"}
)

// Recipients and resources.
var (
	ReplyRelayDenied       = Reply{550, Enhanced{5, 7, 1}, "Relaying denied"}
	ReplyNoSuchUser        = Reply{550, Enhanced{5, 1, 1}, "No such recipient here"}
	ReplyTooManyRecipients = Reply{452, Enhanced{4, 5, 3}, "Too many recipients"}
	ReplyStorage           = Reply{452, Enhanced{4, 3, 1}, "Insufficient storage, try again later"}
	ReplyLocalError        = Reply{451, Enhanced{4, 3, 0}, "Local error, try again later"}
	ReplyTooBig            = Reply{552, Enhanced{5, 3, 4}, "Message too big"}
	ReplyHeaderTooBig      = Reply{552, Enhanced{5, 3, 4}, "Message header too big"}
	ReplyLoop              = Reply{554, Enhanced{5, 4, 6}, "Mail loop: too many Received fields"}
)

// Bytes and shape of a message.
var (
	ReplyBareNewline     = Reply{550, Enhanced{5, 6, 0}, "Lines must end in CRLF"}
	ReplyNUL             = Reply{550, Enhanced{5, 6, 0}, "Message holds a NUL octet"}
	ReplyMalformedHeader = Reply{550, Enhanced{5, 6, 0}, "Malformed message header"}
	ReplyMessageLine     = Reply{550, Enhanced{5, 6, 0}, "Message holds a line that is too long"}
	ReplyBadFrom         = Reply{550, Enhanced{5, 7, 1}, "From field must hold exactly one address"}
)

// Authentication (RFC 4954) and TLS (RFC 3207).
var (
	ReplyAuthOK        = Reply{235, Enhanced{2, 7, 0}, "Authentication succeeded"}
	ReplyAuthRequired  = Reply{530, Enhanced{5, 7, 0}, "Authentication required"}
	ReplyMustTLS       = Reply{530, Enhanced{5, 7, 0}, "Must issue a STARTTLS command first"}
	ReplyAuthFailed    = Reply{535, Enhanced{5, 7, 8}, "Authentication failed"}
	ReplyAuthTemporary = Reply{454, Enhanced{4, 7, 0}, "Temporary authentication failure"}
	ReplyAuthMechanism = Reply{504, Enhanced{5, 5, 4}, "Authentication mechanism not supported"}
	ReplyAuthEncrypt   = Reply{538, Enhanced{5, 7, 11}, "Encryption required for authentication"}
	ReplyAuthTooMany   = Reply{421, Enhanced{4, 7, 0}, "Too many failed authentications"}
)

// Policy (RFC 7372 for SPF and DKIM, RFC 7489 section 10.3 for DMARC).
var (
	ReplyPolicy      = Reply{550, Enhanced{5, 7, 1}, "Refused by policy"}
	ReplyDefer       = Reply{451, Enhanced{4, 7, 1}, "Deferred by policy, try again later"}
	ReplySendAs      = Reply{550, Enhanced{5, 7, 1}, "Not allowed to send as this address"}
	ReplySPFFail     = Reply{550, Enhanced{5, 7, 23}, "SPF validation failed"}
	ReplySPFDefer    = Reply{451, Enhanced{4, 7, 24}, "SPF validation error, try again later"}
	ReplyDKIMFail    = Reply{550, Enhanced{5, 7, 20}, "No passing DKIM signature found"}
	ReplyDMARCReject = Reply{550, Enhanced{5, 7, 1}, "Refused by the DMARC policy of the author's domain"}
	ReplyDMARCDefer  = Reply{451, Enhanced{4, 7, 1}, "DMARC evaluation failed for a temporary reason, try again later"}
)

// Delivery: our own words where no remote host spoke.
var (
	ReplyDNSTrouble     = Reply{451, Enhanced{4, 4, 3}, "DNS lookup failed for a temporary reason"}
	ReplyNoSuchDomain   = Reply{550, Enhanced{5, 1, 2}, "Recipient domain does not exist"}
	ReplyNoMailHost     = Reply{550, Enhanced{5, 4, 4}, "Recipient domain has no mail host"}
	ReplyNullMX         = Reply{556, Enhanced{5, 1, 10}, "Recipient domain accepts no mail (null MX)"} // RFC 7505
	ReplyMailLoop       = Reply{554, Enhanced{5, 4, 6}, "Mail for this domain loops back to this host"}
	ReplyConnectFailed  = Reply{421, Enhanced{4, 4, 1}, "Connection to the next hop failed"}
	ReplyConnectionLost = Reply{421, Enhanced{4, 4, 2}, "Connection to the next hop was lost"}
	ReplyTLSFailed      = Reply{451, Enhanced{4, 7, 5}, "TLS with the next hop failed"}
	ReplyTLSNotOffered  = Reply{451, Enhanced{4, 7, 4}, "Next hop does not offer TLS, which is required"}
	ReplyNextHopAuth    = Reply{454, Enhanced{4, 7, 0}, "Authentication at the next hop failed"}
	ReplyNextHopSize    = Reply{552, Enhanced{5, 3, 4}, "Message is bigger than the next hop takes"}
	ReplyNextHopUTF8    = Reply{553, Enhanced{5, 6, 7}, "Next hop does not offer SMTPUTF8"}
	ReplyNotConverted   = Reply{554, Enhanced{5, 6, 3}, "8-bit message must not be converted, and the next hop does not offer 8BITMIME"}
	ReplyNextHopReply   = Reply{451, Enhanced{4, 5, 0}, "Next hop sent a reply that is not SMTP"}
	ReplyExpired        = Reply{554, Enhanced{5, 4, 7}, "Message expired in the queue"}
	ReplyDeleted        = Reply{554, Enhanced{5, 7, 1}, "Message was deleted by an administrator"}
	ReplyInternal       = Reply{451, Enhanced{4, 3, 0}, "Internal error, will try again"}
)
