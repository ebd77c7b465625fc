package integration

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Forms in which docs/security.md names code: a file, perhaps with a function
// behind it, and further functions of the file named last.
var (
	namedFile = regexp.MustCompile(`[a-zA-Z0-9_/]+\.go(:(Test|Fuzz)[A-Za-z0-9]+)?`)
	namedTest = regexp.MustCompile(`\b(Test|Fuzz)[A-Z][A-Za-z0-9]*\b`)
)

// shortened are the abbreviations that docs/security.md explains.
var shortened = map[string]string{"wire/": "gateway/intake/wire/", "intake/": "gateway/intake/"}

func inFull(file string) string {
	for short, long := range shortened {
		if strings.HasPrefix(file, short) {
			return long + strings.TrimPrefix(file, short)
		}
	}
	return file
}

// TestSecurityTables: every guard against a fault of a library, and every test
// of it, that docs/security.md names is there.
func TestSecurityTables(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	functions := testFunctions(t)
	inPackage := func(dir, name string) bool {
		for file, names := range functions {
			if path.Dir(file) == dir && slices.Contains(names, name) {
				return true
			}
		}
		return false
	}
	tests, rows := 0, 0
	for line := range strings.Lines(string(text)) {
		line = strings.ReplaceAll(line, "{", "")
		dir := ""
		for _, at := range namedFile.FindAllString(line, -1) {
			file, name, _ := strings.Cut(at, ":")
			file = inFull(file)
			if dir == "" || strings.HasSuffix(file, "_test.go") {
				dir = path.Dir(file)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil && strings.Contains(file, "/") {
				t.Errorf("there is no %s: %s", file, line)
			} else if name != "" && !slices.Contains(functions[file], name) {
				t.Errorf("%s has no %s: %s", file, name, line)
			}
		}
		for _, name := range namedTest.FindAllString(line, -1) {
			tests++
			if dir != "" && !inPackages(line, name, inPackage) {
				t.Errorf("no package of this row has %s: %s", name, line)
			}
		}
		if cells := strings.Split(strings.Trim(line, "|\n "), " | "); strings.HasPrefix(line, "| ") && len(cells) == 3 && cells[0] != "fault" {
			rows++
			if cells[1] == "" || !namedTest.MatchString(cells[2]) && !strings.Contains(cells[1], "not ") {
				t.Errorf("a fault without guard or test: %s", line)
			}
		}
	}
	if tests < 90 || rows < 70 {
		t.Errorf("only %d tests in %d rows are named", tests, rows)
	}
}

// inPackages looks for a test in the packages of all files of a row.
func inPackages(line, name string, inPackage func(dir, name string) bool) bool {
	for _, at := range namedFile.FindAllString(line, -1) {
		file, _, _ := strings.Cut(at, ":")
		if inPackage(path.Dir(inFull(file)), name) {
			return true
		}
	}
	return false
}
