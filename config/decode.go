package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"gatepost/telemetry"
)

// maxDepth bounds nesting, so that no file can exhaust the stack.
const maxDepth = 20

// decoder lays a YAML tree over a Config and notes every error on its way.
type decoder struct {
	file   string
	root   *Config
	lines  map[string]int
	errors Errors
	// secrets are the paths of secrets that stand in the file itself.
	secrets []string
}

func (d *decoder) fail(line int, path, format string, args ...any) {
	d.errors = append(d.errors, Error{d.file, line, path, fmt.Sprintf(format, args...)})
}

// value decodes n into v. tag holds the tags of the field that v belongs to.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	d.lines[path] = n.Line
	if strings.Count(path, ".") > maxDepth {
		d.fail(n.Line, path, "nested too deep")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // "key:" without a value is the default
	}
	switch {
	case isScalar(v):
		d.scalar(n, v, path, tag)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		d.value(n, v.Elem(), path, tag)
	case v.Kind() == reflect.Slice:
		d.list(n, v, path, tag)
	default:
		d.mapping(n, v, path)
	}
}

// isScalar tells whether v stands for one YAML scalar.
func isScalar(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Int, reflect.Bool:
		return true
	}
	return false
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, path, "expected a list, found %s", describe(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	seen := map[string]int{}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if v.Index(i).Kind() == reflect.Struct {
			setDefaults(v.Index(i))
		}
		d.value(item, v.Index(i), at, tag)
		d.unique(item, v.Index(i), at, seen)
	}
}

// unique notes a name that an earlier item of the list has.
func (d *decoder) unique(n *yaml.Node, item reflect.Value, path string, seen map[string]int) {
	if item.Kind() != reflect.Struct {
		return
	}
	for i := range item.NumField() {
		f := item.Type().Field(i)
		if f.Tag.Get("unique") == "" {
			continue
		}
		name := item.Field(i).String()
		if line, ok := seen[name]; ok && name != "" {
			d.fail(n.Line, path+"."+f.Tag.Get("yaml"), "%q stands already in line %d", name, line)
		}
		seen[name] = n.Line
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, path, "expected a mapping (key: value), found %s", describe(n))
		return
	}
	given := d.keys(n, v.Type(), path)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		if f.Tag.Get("inherit") != "" {
			v.Field(i).Set(reflect.ValueOf(d.root.Limits))
		}
		item, ok := given[key]
		if !ok || isNull(item) {
			if f.Tag.Get("need") != "" {
				d.fail(n.Line, join(path, key), "missing; expected %s", expected(f))
			}
			continue
		}
		d.value(item, v.Field(i), join(path, key), f.Tag)
	}
}

// keys indexes a mapping and notes unknown and repeated keys.
func (d *decoder) keys(n *yaml.Node, t reflect.Type, path string) map[string]*yaml.Node {
	var known []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("yaml"); key != "" {
			known = append(known, key)
		}
	}
	given := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		at := join(path, k.Value)
		if !slices.Contains(known, k.Value) {
			hint := "known keys: " + strings.Join(known, ", ")
			if near := nearest(k.Value, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			d.fail(k.Line, at, "unknown key; %s", hint)
			continue
		}
		if _, ok := given[k.Value]; ok {
			d.fail(k.Line, at, "stands twice")
			continue
		}
		given[k.Value] = n.Content[i+1]
	}
	return given
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// describe names what the file has at n.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n.Line, path, "expected %s, found %s", kindName(v), describe(n))
		return
	}
	text, err := expand(n.Value)
	if err != nil {
		d.fail(n.Line, path, "%v", err)
		return
	}
	if _, secret := v.Interface().(telemetry.Secret); secret && text == n.Value && text != "" {
		d.secrets = append(d.secrets, path)
	}
	if err := setScalar(v, text); err != nil {
		d.fail(n.Line, path, "%v, found %q", err, safeValue(v, n.Value))
		return
	}
	if text == "" && tag.Get("default") == "" && tag.Get("need") == "" {
		return // the same as absent
	}
	if values := tag.Get("values"); values != "" && !slices.Contains(strings.Split(values, "|"), text) {
		hint := ""
		if near := nearest(text, strings.Split(values, "|")); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		d.fail(n.Line, path, "expected one of %s, found %q%s", strings.ReplaceAll(values, "|", ", "), text, hint)
	}
}

// safeValue keeps secrets out of error texts.
func safeValue(v reflect.Value, text string) string {
	if strings.Contains(v.Type().Name(), "Secret") || strings.Contains(text, "${") {
		return "[redacted]"
	}
	return text
}

func setScalar(v reflect.Value, text string) error {
	switch p := v.Addr().Interface().(type) {
	case *netip.Prefix:
		return setPrefix(p, text)
	case *netip.Addr:
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("expected an IP address")
		}
		*p = a
		return nil
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("expected true or false")
		}
		v.SetBool(text == "true")
	case reflect.Int:
		i, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fmt.Errorf("expected a whole number from 0 to 2147483647")
		}
		v.SetInt(int64(i))
	default:
		v.SetString(text)
	}
	return nil
}

// setPrefix reads a CIDR or a lone address; octets behind the prefix are an error.
func setPrefix(p *netip.Prefix, text string) error {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		*p = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	x, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("expected an address or CIDR such as 192.0.2.10 or 10.0.0.0/8")
	}
	if x != x.Masked() {
		return fmt.Errorf("CIDR with bits behind the prefix; did you mean %s?", x.Masked())
	}
	*p = x
	return nil
}

// kindName says what a value of v's type looks like.
func kindName(v reflect.Value) string {
	switch v.Interface().(type) {
	case Duration:
		return "a duration such as 30s, 5m, 4h or 5d"
	case Size:
		return "a size such as 64KiB or 25MiB"
	case Date:
		return "a day such as 2027-03-31"
	case netip.Prefix:
		return "an address or CIDR"
	case netip.Addr:
		return "an IP address"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	case reflect.Struct:
		if isScalar(v) {
			return "text"
		}
		return "a mapping"
	}
	return "text"
}

// expected says what a missing field should have been.
func expected(f reflect.StructField) string {
	if values := f.Tag.Get("values"); values != "" {
		return "one of " + strings.ReplaceAll(values, "|", ", ")
	}
	return kindName(reflect.New(f.Type).Elem())
}
