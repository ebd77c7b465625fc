package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const word = "correct horse"
	s := struct{ Password Secret }{NewSecret(word)}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("login", "password", s.Password, "all", s)
	slog.New(slog.NewTextHandler(&log, nil)).Info("login", "password", s.Password, "all", s)
	js, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%v %+v %#v %s %q %s", s, s, s, s.Password, s.Password, js) + log.String()
	if strings.Contains(out, word) {
		t.Errorf("secret printed: %s", out)
	}
	if got := s.Password.Reveal(); got != word {
		t.Errorf("Reveal = %q", got)
	}
	if got := (Secret{}).String(); got != "" {
		t.Errorf("empty secret prints %q", got)
	}
}
