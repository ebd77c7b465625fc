package sasl

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzServer plays what a client may say in an exchange of each mechanism: who
// is let in gave exactly the user and the password, within the bounds, and it
// is over after a few responses.
func FuzzServer(f *testing.F) {
	f.Add(true, []byte("\x00joe\x00secret"), []byte{}, []byte{})
	f.Add(true, []byte("joe\x00joe\x00secret"), []byte{}, []byte{})
	f.Add(true, []byte("ann\x00joe\x00secret"), []byte{}, []byte{})
	f.Add(true, []byte("\x00joe\x00secret\x00"), []byte{}, []byte{})
	f.Add(false, []byte("joe"), []byte("secret"), []byte{})
	f.Add(false, []byte{}, []byte("joe"), []byte("secret"))
	f.Add(false, []byte("joe"), []byte("wrong"), []byte("secret"))
	f.Fuzz(func(t *testing.T, plain bool, first, second, third []byte) {
		var user, password string
		mechanism := Login
		if plain {
			mechanism = Plain
		}
		server, err := NewServer(mechanism, func(u, p string) error {
			if user, password = u, p; u != "joe" || p != "secret" {
				return ErrCredentials
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		responses := [][]byte{first, second, third}
		if len(first) == 0 {
			responses[0] = nil // AUTH without an initial response
		}
		done := false
		for _, response := range responses {
			var err error
			if _, done, err = server.Next(response); err != nil || done {
				break
			}
		}
		if len(user) > maxUser || len(password) > maxPassword {
			t.Fatalf("%q: %d and %d octets were looked up", responses, len(user), len(password))
		}
		if whole := string(first); done && plain && len(first) > 0 && whole != "\x00joe\x00secret" && whole != "joe\x00joe\x00secret" {
			t.Fatalf("%q let joe in", whole)
		}
		if said := bytes.Join(responses, nil); done && (user != "joe" || password != "secret" || !bytes.Contains(said, []byte("joe")) || !bytes.Contains(said, []byte("secret"))) {
			t.Fatalf("%q let %q in", responses, user)
		}
	})
}

// FuzzClient: whatever a server asks, it hears the password once at most, and
// never more than user and password.
func FuzzClient(f *testing.F) {
	f.Add(Login, []byte("Username:"), []byte("Password:"), []byte("Again:"))
	f.Add(Plain, []byte(""), []byte("x"), []byte(""))
	f.Add(Login, []byte("User Name\x00"), []byte(nil), []byte("\xff"))
	f.Fuzz(func(t *testing.T, mechanism string, a, b, c []byte) {
		client, err := NewClient(mechanism, "joe", "secret")
		if err != nil {
			return
		}
		_, said, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		all, answers := string(said), 0
		for _, challenge := range [][]byte{a, b, c} {
			answer, err := client.Next(challenge)
			if err != nil {
				break
			}
			all += string(answer)
			answers++
		}
		if mechanism == Login && answers > 1 && all != "joesecret" {
			t.Fatalf("LOGIN heard %q", all)
		}
		if strings.Count(all, "secret") > 1 || len(all) > len("joe")+len("secret")+2 {
			t.Fatalf("%s heard %q", mechanism, all)
		}
	})
}
