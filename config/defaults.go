package config

import (
	"fmt"
	"reflect"
	"strings"
)

// setDefaults fills a struct from the default tags of its fields, and of the
// structs inside it.
func setDefaults(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		field := v.Field(i)
		text, ok := f.Tag.Lookup("default")
		switch {
		case ok && field.Kind() == reflect.Slice:
			words := strings.Fields(text)
			field.Set(reflect.MakeSlice(field.Type(), len(words), len(words)))
			for j, w := range words {
				mustSet(field.Index(j), w, f.Name)
			}
		case ok:
			mustSet(field, text, f.Name)
		case field.Kind() == reflect.Struct && !isScalar(field):
			setDefaults(field)
		}
	}
}

// mustSet sets a default; one that does not fit its own type is a fault of
// the program that any test finds.
func mustSet(v reflect.Value, text, name string) {
	if err := setScalar(v, text); err != nil {
		panic(fmt.Sprintf("default of %s: %v", name, err))
	}
}
