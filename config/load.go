package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds the configuration file.
const maxFile = 16 << 20

const emptyFile = "empty; at least hostname and one listener are required"

// Loaded is a configuration with the places of its keys.
type Loaded struct {
	Config
	File  string
	lines map[string]int
	// secrets are the paths of secrets that stand in the file itself.
	secrets []string
}

// Load reads and checks the file. Its error is an Errors with everything that
// is wrong. The configuration is returned beside it where the file is YAML at
// all, so that other packages can add what they find; it must not be used then.
func Load(file string) (*Loaded, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(file, b)
}

// Parse is Load for octets that are at hand; file is for error texts.
func Parse(file string, b []byte) (*Loaded, error) {
	if len(b) > maxFile {
		return nil, Errors{{File: file, Msg: fmt.Sprintf("larger than %d octets", maxFile)}}
	}
	var doc yaml.Node
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, Errors{{File: file, Msg: emptyFile}}
	}
	if err := yaml.Load(b, &doc); err != nil {
		return nil, syntaxErrors(file, err)
	}
	c := &Loaded{File: file}
	setDefaults(reflect.ValueOf(&c.Config).Elem())
	d := &decoder{file: file, root: &c.Config, lines: map[string]int{}}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	if isNull(root) || root.Kind == 0 {
		return nil, Errors{{File: file, Msg: emptyFile}}
	}
	d.value(root, reflect.ValueOf(&c.Config).Elem(), "", "")
	c.lines, c.secrets = d.lines, d.secrets
	c.fill()
	d.errors = append(d.errors, c.validate()...)
	return c, d.errors.OrNil()
}

var lineOf = regexp.MustCompile(`line (\d+)`)

// syntaxErrors maps what the YAML parser says to our form.
func syntaxErrors(file string, err error) error {
	var list *yaml.LoadErrors
	texts := []string{err.Error()}
	if errors.As(err, &list) {
		texts = texts[:0]
		for _, e := range list.Errors {
			texts = append(texts, e.Error())
		}
	}
	var out Errors
	for _, text := range texts {
		e := Error{File: file, Msg: "not YAML: " + strings.TrimPrefix(text, "yaml: ")}
		if m := lineOf.FindStringSubmatch(text); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
		}
		out = append(out, e)
	}
	return out.OrNil()
}

// Line gives the line of a key path such as "listeners[0].address", or of the
// nearest key above it that the file has.
func (c *Loaded) Line(path string) int {
	for path != "" {
		if line, ok := c.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

// At makes an Error for a key path.
func (c *Loaded) At(path, format string, args ...any) Error {
	return Error{c.File, c.Line(path), path, fmt.Sprintf(format, args...)}
}

// fill sets the defaults that depend on other keys.
func (c *Config) fill() {
	setIfEmpty(&c.AuthservID, c.Hostname)
	setIfEmpty(&c.Report.DMARC.Org, c.Hostname)
	setIfEmpty(&c.Report.Failure.Org, c.Hostname)
	setIfEmpty(&c.Postmaster, "postmaster@"+c.Hostname)
	setIfEmpty(&c.Delivery.EHLO, c.Hostname)
	setIfEmpty(&c.Delivery.TLS.Policy, "opportunistic")
	for i := range c.NextHops {
		h := &c.NextHops[i]
		setIfEmpty(&h.TLS.Policy, c.Delivery.TLS.Policy)
		setIfEmpty(&h.EHLO, c.Delivery.EHLO)
		if h.Connections == 0 {
			h.Connections = c.Delivery.ConnectionsPerDestination
		}
	}
}

func setIfEmpty(s *string, value string) {
	if *s == "" {
		*s = value
	}
}
