package config

import (
	"fmt"
	"os"
	"strings"
)

// maxSecretFile bounds a file that is named by ${file:…}.
const maxSecretFile = 64 << 10

// expand replaces ${env:NAME} and ${file:/path} in s. One newline at the end
// of a file is trimmed.
func expand(s string) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "${")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return "", fmt.Errorf("'${' without '}'")
		}
		value, err := lookUp(name)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		s = after
	}
}

func lookUp(name string) (string, error) {
	if env, ok := strings.CutPrefix(name, "env:"); ok {
		v, ok := os.LookupEnv(env)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set", env)
		}
		return v, nil
	}
	file, ok := strings.CutPrefix(name, "file:")
	if !ok {
		return "", fmt.Errorf("'${%s}' is neither ${env:NAME} nor ${file:/path}", name)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the file of ${file:…}: %w", err)
	}
	if len(b) > maxSecretFile {
		return "", fmt.Errorf("%s is larger than %d octets", file, maxSecretFile)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}
