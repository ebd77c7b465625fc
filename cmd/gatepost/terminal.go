package main

import (
	"bytes"
	"io"
	"os"
)

// contentFor is a message as w may see it: octet for octet, but for a terminal
// without control octets. Held mail comes from strangers, and escape sequences
// in it would command the terminal of whoever looks at it.
func contentFor(w io.Writer, content []byte) []byte {
	f, ok := w.(*os.File)
	if !ok {
		return content
	}
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return content
	}
	return harmless(content)
}

// harmless leaves line ends and tabs of the controls (C0, DEL and C1).
func harmless(content []byte) []byte {
	return bytes.Map(func(r rune) rune {
		switch {
		case r == '\r':
			return -1
		case r < ' ' && r != '\n' && r != '\t', r >= 0x7f && r < 0xa0:
			return '?'
		}
		return r
	}, content)
}
