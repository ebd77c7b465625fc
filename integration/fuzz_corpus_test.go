package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Bounds on the committed corpora: they run with every go test.
const (
	corpusFiles  = 15
	corpusOctets = 1 << 20
)

// root is the top of the tree.
const root = ".."

// testFunctions gives the functions of every test file of the tree: their
// names by the file's path from the root.
func testFunctions(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				found[filepath.ToSlash(name)] = append(found[filepath.ToSlash(name)], f.Name.Name)
			}
		}
		return err
	})
	if err != nil || len(found) < 100 {
		t.Fatalf("%d test files, %v", len(found), err)
	}
	return found
}

// named is a file of a corpus that somebody gave a name; the fuzzer names by a hash.
var named = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*$`)
var hash = regexp.MustCompile(`^[0-9a-f]{16}$`)

// TestFuzzCorpora: every fuzz target has its committed corpus, small enough to
// run with every test, of files that say what they are; and every corpus has
// its target.
func TestFuzzCorpora(t *testing.T) {
	targets, octets := map[string]bool{}, int64(0)
	for file, functions := range testFunctions(t) {
		for _, name := range functions {
			if strings.HasPrefix(name, "Fuzz") {
				dir := filepath.Join(root, filepath.Dir(file), "testdata", "fuzz", name)
				targets[dir] = true
				octets += corpusSize(t, dir)
			}
		}
	}
	if len(targets) < 50 || octets > corpusOctets {
		t.Errorf("%d targets with %d octets of corpora", len(targets), octets)
	}
	dirs, err := filepath.Glob(filepath.Join(root, "*", "testdata", "fuzz", "*"))
	for depth := "*/*"; depth != "*/*/*/*/*" && err == nil; depth += "/*" {
		var more []string
		more, err = filepath.Glob(filepath.Join(root, depth, "testdata", "fuzz", "*"))
		dirs = append(dirs, more...)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !targets[dir] {
			t.Errorf("%s is the corpus of no fuzz target", dir)
		}
	}
}

// corpusSize looks at the files of one corpus.
func corpusSize(t *testing.T, dir string) (octets int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 || len(entries) > corpusFiles {
		t.Errorf("%s has %d files, want 3 to %d; %v", dir, len(entries), corpusFiles, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		octets += info.Size()
		if !named.MatchString(e.Name()) || hash.MatchString(e.Name()) {
			t.Errorf("%s/%s has no name that says what it is", dir, e.Name())
		}
	}
	return octets
}
