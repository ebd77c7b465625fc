package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// WriteReference writes docs/config.md: every key with its type, default and
// meaning, in the order of the types.
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Configuration\n\nMade from the types of package `config` by `gatepost config reference`; do not edit.\n\n" +
		"One YAML file. Durations: `30s`, `5m`, `4h`, `5d`. Sizes: `64KiB`, `25MiB`. Dates: `2027-03-31`. `${env:NAME}` and `${file:/path}` (one\n" +
		"newline at the end is trimmed) are replaced in any string. Only `hostname` and one listener are required.\n" +
		"`gatepost check` shows everything that is wrong with a file, and what it means with all defaults.\n\n" +
		"| key | type | default | meaning |\n|---|---|---|---|\n")
	writeKeys(&b, reflect.TypeFor[Config](), "")
	_, err := io.WriteString(w, b.String())
	return err
}

func writeKeys(b *strings.Builder, t reflect.Type, path string) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		at, inner := join(path, key), f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct && !isScalar(reflect.New(inner.Elem()).Elem()) {
			at, inner = at+"[]", inner.Elem()
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", at, cell(typeName(f)), cell(defaultOf(f)), cell(f.Tag.Get("doc")))
		if f.Tag.Get("inherit") == "" && inner.Kind() == reflect.Struct && !isScalar(reflect.New(inner).Elem()) {
			writeKeys(b, inner, at)
		}
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func typeName(f reflect.StructField) string {
	if values := f.Tag.Get("values"); values != "" {
		text := strings.ReplaceAll(values, "|", ", ")
		if f.Type.Kind() == reflect.Slice {
			return "list of " + text
		}
		return text
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice {
		return "list of " + shortName(t.Elem())
	}
	return shortName(t)
}

func shortName(t reflect.Type) string {
	switch t.Name() {
	case "Duration", "Size", "Date", "Secret", "Prefix", "Addr", "URL":
		return strings.NewReplacer("Prefix", "CIDR", "Addr", "address").Replace(t.Name())
	}
	switch t.Kind() {
	case reflect.Struct:
		return "mapping"
	case reflect.Int:
		return "number"
	case reflect.Bool:
		return "true, false"
	}
	return "text"
}

func defaultOf(f reflect.StructField) string {
	if f.Tag.Get("need") != "" {
		return "required"
	}
	if d, ok := f.Tag.Lookup("default"); ok {
		return "`" + d + "`"
	}
	return ""
}

// Effective writes the configuration with all defaults as YAML; secrets are redacted.
func (c *Loaded) Effective() ([]byte, error) {
	b, err := yaml.Dump(&c.Config)
	if err != nil {
		return nil, fmt.Errorf("print the effective configuration: %w", err)
	}
	return b, nil
}
