package sasl

import (
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
)

// only accepts one user and password.
func only(user, password string) Check {
	return func(u, p string) error {
		if u != user || p != password {
			return ErrCredentials
		}
		return nil
	}
}

func TestServer(t *testing.T) {
	long := strings.Repeat("x", maxPassword+1)
	tests := []struct {
		name      string
		mechanism string
		responses []string // "-" is none
		want      error
		steps     []string // challenges
	}{
		{"plain initial", Plain, []string{"\x00u\x00p"}, nil, nil},
		{"plain asked", Plain, []string{"-", "\x00u\x00p"}, nil, []string{""}},
		{"plain own identity", Plain, []string{"u\x00u\x00p"}, nil, nil},
		{"plain foreign identity", Plain, []string{"root\x00u\x00p"}, ErrIdentity, nil},
		{"plain wrong", Plain, []string{"\x00u\x00q"}, ErrCredentials, nil},
		{"plain one part", Plain, []string{"u"}, ErrSyntax, nil},
		{"plain four parts", Plain, []string{"\x00u\x00p\x00p"}, ErrSyntax, nil},
		{"plain empty", Plain, []string{""}, ErrSyntax, nil},
		{"plain no user", Plain, []string{"\x00\x00p"}, ErrSyntax, nil},
		{"plain long password", Plain, []string{"\x00u\x00" + long}, ErrSyntax, nil},
		{"login asked", Login, []string{"-", "u", "p"}, nil, []string{"Username:", "Password:"}},
		{"login initial", Login, []string{"u", "p"}, nil, []string{"Password:"}},
		{"login wrong", Login, []string{"u", "q"}, ErrCredentials, []string{"Password:"}},
		{"login no user", Login, []string{"", "p"}, ErrSyntax, []string{"Password:"}},
		{"login long user", Login, []string{long}, ErrSyntax, nil},
		{"login long password", Login, []string{"u", long}, ErrSyntax, []string{"Password:"}},
		{"login four responses", Login, []string{"-", "u", "p", "more"}, ErrSyntax, []string{"Username:", "Password:"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewServer(tt.mechanism, only("u", "p"))
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			var done bool
			for _, r := range tt.responses {
				response := []byte(r)
				if r == "-" {
					response = nil
				}
				var challenge []byte
				challenge, done, err = s.Next(response)
				if err != nil {
					break
				}
				if !done {
					steps = append(steps, string(challenge))
				}
			}
			if !errors.Is(err, tt.want) || tt.want == nil && (err != nil || !done) {
				t.Errorf("got error %v, done %v, want %v", err, done, tt.want)
			}
			if strings.Join(steps, "|") != strings.Join(tt.steps, "|") || len(steps) != len(tt.steps) {
				t.Errorf("challenges %q, want %q", steps, tt.steps)
			}
		})
	}
}

func TestUnknownMechanism(t *testing.T) {
	if _, err := NewServer("CRAM-MD5", nil); !errors.Is(err, ErrMechanism) {
		t.Errorf("server: %v", err)
	}
	if _, err := NewClient("CRAM-MD5", "u", "p"); !errors.Is(err, ErrMechanism) {
		t.Errorf("client: %v", err)
	}
}

// Servers word the challenges of LOGIN as they like.
func TestLoginClientTakesAnyChallenge(t *testing.T) {
	c, err := NewClient(Login, "u", "p")
	if err != nil {
		t.Fatal(err)
	}
	mechanism, initial, err := c.Start()
	if mechanism != Login || initial != nil || err != nil {
		t.Fatalf("Start: %q %q %v", mechanism, initial, err)
	}
	for _, step := range []struct{ challenge, want string }{{"User Name\x00", "u"}, {"passwd?", "p"}} {
		got, err := c.Next([]byte(step.challenge))
		if err != nil || string(got) != step.want {
			t.Errorf("Next(%q) = %q, %v; want %q", step.challenge, got, err, step.want)
		}
	}
	if _, err := c.Next([]byte("and your PIN?")); !errors.Is(err, sasl.ErrUnexpectedServerChallenge) {
		t.Errorf("third challenge: %v", err)
	}
}

func TestPlainClient(t *testing.T) {
	c, err := NewClient(Plain, "u", "p")
	if err != nil {
		t.Fatal(err)
	}
	mechanism, initial, err := c.Start()
	if mechanism != Plain || string(initial) != "\x00u\x00p" || err != nil {
		t.Fatalf("Start: %q %q %v", mechanism, initial, err)
	}
}
