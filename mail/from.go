package mail

// AddressReason says in words why an address field cannot be judged. Every
// shape that is refused has exactly one of them.
type AddressReason string

// The reasons. Whoever writes two of these shapes hopes that two programs read
// two different authors; a field with one plain address never needs them.
const (
	// ReasonMissing: there is no From field.
	ReasonMissing AddressReason = "no From field"
	// ReasonRepeated: more than one From field, "From :" counted.
	ReasonRepeated AddressReason = "more than one From field"
	// ReasonEmpty: nothing but white space and comments.
	ReasonEmpty AddressReason = "no address"
	// ReasonSeveral: two addresses, also where the first stands where a display name should.
	ReasonSeveral AddressReason = "more than one address"
	// ReasonGroup: a group (RFC 6854 allows it, DMARC cannot judge it), and any
	// other unquoted colon.
	ReasonGroup AddressReason = "a group instead of an address"
	// ReasonNull: "<>".
	ReasonNull AddressReason = "an empty address"
	// ReasonRoute: "<@a,@b:c@d>" (RFC 5322 section 4.4).
	ReasonRoute AddressReason = "a source route"
	// ReasonControl: NUL, bare CR or LF, or another control octet.
	ReasonControl AddressReason = "a control octet"
	// ReasonEncoded: an encoded word inside an address, with unencoded
	// specials, or hiding NUL, CR or LF (RFC 2047 section 5).
	ReasonEncoded AddressReason = "an encoded word where none is allowed"
	// ReasonText: words behind an address, or around it without brackets.
	ReasonText AddressReason = "text around the address"
	// ReasonComment: a comment that holds something like another address.
	ReasonComment AddressReason = "a comment that looks like an address"
	// ReasonObsolete: syntax of RFC 5322 section 4: white space or comments
	// inside an address, "From :", empty list elements, words joined by dots.
	ReasonObsolete AddressReason = "obsolete syntax"
	// ReasonNoDomain: a word without "@".
	ReasonNoDomain AddressReason = "an address without a domain"
	// ReasonBadAddress: an address that RFC 5321 does not know.
	ReasonBadAddress AddressReason = "a malformed address"
	// ReasonSyntax: anything else, such as a quote, comment or bracket without end.
	ReasonSyntax AddressReason = "malformed syntax"
)

// FromError tells that a message has no single author that can be judged.
type FromError struct{ Reason AddressReason }

func (e *FromError) Error() string { return "From field: " + string(e.Reason) }

// HeaderFrom is the one address of the one From field (RFC 5322 section 3.6.2,
// narrowed as RFC 9989 asks of what DMARC judges). The error is a *FromError.
// Display names may be atoms, quoted, encoded words or raw 8-bit, with dots and
// square brackets; comments may stand before and behind the address.
func HeaderFrom(h Header) (Address, error) {
	fields := h.All("From")
	switch len(fields) {
	case 0:
		return Address{}, &FromError{ReasonMissing}
	case 1:
	default:
		return Address{}, &FromError{ReasonRepeated}
	}
	raw := fields[0].Raw
	if n := len(fields[0].Name); n < len(raw) && raw[n] != ':' {
		return Address{}, &FromError{ReasonObsolete}
	}
	list, reason := parseAddressList(fields[0].Value())
	switch {
	case reason != "":
		return Address{}, &FromError{reason}
	case len(list) > 1:
		return Address{}, &FromError{ReasonSeveral}
	}
	return list[0].Address, nil
}
