package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// 'quarantine show' let a held message write to the administrator's clipboard.
func TestHeldMailDoesNotCommandTheTerminal(t *testing.T) {
	hostile := []byte("Subject: \x1b]52;c;ZXZpbA==\x07\r\n\r\n\ttext \u009b2J \x9b2J gr\u00fcn\x7f\r\n")
	want := "Subject: ?]52;c;ZXZpbA==?\n\n\ttext ?2J \ufffd2J gr\u00fcn?\n"
	if got := string(harmless(hostile)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	terminal, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device too
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if got := string(contentFor(terminal, hostile)); got != want {
		t.Errorf("to a terminal: %q", got)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "saved.eml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !bytes.Equal(contentFor(file, hostile), hostile) || !bytes.Equal(contentFor(&bytes.Buffer{}, hostile), hostile) {
		t.Error("a saved message is not what was held")
	}
}
