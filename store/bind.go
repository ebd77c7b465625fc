package store

import (
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// value turns an argument into int64, string or []byte. Text that one of the
// engines would refuse is refused here, before it can spoil a batch.
func value(arg any) (any, error) {
	switch v := arg.(type) {
	case int64:
		return v, nil
	case int:
		return int64(v), nil
	case bool:
		return truth(v), nil
	case string:
		return v, checkText(v)
	case []byte:
		if v == nil {
			return []byte{}, nil
		}
		return v, nil
	case nil:
		return nil, fmt.Errorf("store: NULL as argument")
	}
	return kindValue(reflect.ValueOf(arg))
}

// kindValue is value for types made of the basic ones.
func kindValue(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(v.Uint()), nil
	case reflect.Bool:
		return truth(v.Bool()), nil
	case reflect.String:
		return v.String(), checkText(v.String())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return value(v.Bytes())
		}
	}
	return nil, fmt.Errorf("store: argument of type %s", v.Type())
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func checkText(s string) error {
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("store: text argument is not UTF-8 without NUL")
	}
	return nil
}

func valueSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []byte:
		return len(v)
	}
	return argumentsCost
}

// values is value for all arguments.
func values(args []any) (out []any, size int, err error) {
	out = make([]any, len(args))
	for i, arg := range args {
		if out[i], err = value(arg); err != nil {
			return nil, 0, fmt.Errorf("argument %d: %w", i+1, err)
		}
		size += valueSize(out[i])
	}
	return out, size, nil
}
