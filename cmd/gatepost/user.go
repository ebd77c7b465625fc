package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gatepost/auth/sasl"
)

type userCommand struct {
	Hash userHashCommand `cmd:"" help:"Read a password from standard input and print its hash for users[].password_hash."`
}

type userHashCommand struct{}

// Help shows an example.
func (userHashCommand) Help() string {
	return "Example: printf %s 'the password' | gatepost user hash"
}

// maxPassword bounds what is read as a password.
const maxPassword = 1024

// Run prints an argon2id hash.
func (userHashCommand) Run(a *app) error {
	fmt.Fprintln(a.err, "Password (one line on standard input):")
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, maxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the password: %w", err)
	}
	password := strings.TrimRight(line, "\r\n")
	if password == "" || len(password) > maxPassword {
		return fmt.Errorf("expected a password of 1 to %d octets on standard input", maxPassword)
	}
	hash, err := sasl.Hash(rand.Reader, password)
	if err != nil {
		return err
	}
	return a.print(map[string]string{"password_hash": hash}, func(w io.Writer) { fmt.Fprintln(w, hash) })
}
