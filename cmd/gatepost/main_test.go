package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// Every command that runs has a help text of its own with an example.
func TestEveryCommandHasAnExample(t *testing.T) {
	var c commands
	parser, err := kong.New(&c, kong.Name("gatepost"))
	if err != nil {
		t.Fatal(err)
	}
	leaves := parser.Model.Leaves(false)
	if len(leaves) < 25 {
		t.Fatalf("only %d commands found", len(leaves))
	}
	for _, leaf := range leaves {
		h, ok := leaf.Target.Addr().Interface().(interface{ Help() string })
		if !ok || !strings.Contains(h.Help(), "Example") || !strings.Contains(h.Help(), "gatepost ") {
			t.Errorf("%s: no example in its help", leaf.FullPath())
		}
	}
}

func TestVersion(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run([]string{"version", "--json"}, &out, &errs); code != 0 || !strings.Contains(out.String(), `"version"`) {
		t.Errorf("version: %d %q %q", code, &out, &errs)
	}
}

// A missing or broken configuration ends with 1 and words that help.
func TestProblemsAreExplained(t *testing.T) {
	file := t.TempDir() + "/none.yaml"
	for _, args := range [][]string{{"check"}, {"serve"}, {"queue", "stats"}, {"trace", "a@b.test"}, {"health"}, {"reload"}, {"dkim", "list"}} {
		var out, errs bytes.Buffer
		if code := run(append(args, "--config", file), &out, &errs); code != 1 || !strings.Contains(errs.String(), file) {
			t.Errorf("%v: %d %q", args, code, &errs)
		}
	}
}

func TestMessageFilesGetCRLF(t *testing.T) {
	name := t.TempDir() + "/m.eml"
	for in, want := range map[string]string{"a\nb\r\nc\n": "a\r\nb\r\nc\r\n", "": ""} {
		if err := os.WriteFile(name, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := messageArg{File: name}.read()
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := (messageArg{File: name + ".none"}).read(); err == nil {
		t.Error("a missing file is no error")
	}
}
