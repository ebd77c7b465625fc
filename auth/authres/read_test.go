package authres

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	for _, c := range []struct {
		value   string
		id      string
		methods string // name=result(props), by spaces
	}{
		{"mx.example.org; none", "mx.example.org", ""},
		{"mx.example.org 1; none", "mx.example.org", ""},
		{"mx.example.org", "mx.example.org", ""},
		{` "mx.example.org" (c);` + "\r\n\tspf=pass (google.com: domain of a@b.test; dmarc=pass) smtp.mailfrom=a@b.test;\r\n dkim = pass header.i=@b.test header.b=ab/c+d==",
			"mx.example.org", "spf=pass(smtp.mailfrom:a@b.test) dkim=pass(header.i:@b.test)(header.b:ab/c+d==)"},
		{"mx 1; dmarc=pass action=none header.from=b.test;arc=none;", "mx", "dmarc=pass(header.from:b.test) arc=none"},
		{"mx; DMARC/1=Pass(p=REJECT) reason=\"it; is\" header.From=b.test", "mx", "dmarc=pass(header.from:b.test)"},
		{`mx; spf=pass smtp.mailfrom="a; dmarc=pass header.from=b.test"@c.test`, "mx", "spf=pass(smtp.mailfrom:a; dmarc=pass header.from=b.test@c.test)"},
	} {
		id, methods, err := Read(c.value)
		var got []string
		for _, m := range methods {
			text := m.Name + "=" + m.Result
			for _, p := range m.Props {
				text += "(" + p.PType + "." + p.Property + ":" + p.Value + ")"
			}
			got = append(got, text)
		}
		if err != nil || id != c.id || strings.Join(got, " ") != c.methods {
			t.Errorf("%q: %q, %q, %v", c.value, id, got, err)
		}
	}
}

func TestReadMalformed(t *testing.T) {
	for _, value := range []string{
		"", ";", "; dmarc=pass", "mx dmarc=pass", "mx 1 2; dmarc=pass", "mx; dmarc", "mx; dmarc=", "mx; dmarc=pass header.from", "mx; dmarc=pass header.from=",
		"mx; (dmarc=pass", `mx; dmarc=pass header.from="b.test`, "mx; dmarc=pass header.from=b.test)", `mx; dmarc=pass header.from=b\.test`,
		"mx; dmarc=pass none", "mx; spf=pass; none", "mx; dmarc=pass \x00", "mx; dmarc=pass header.from=b\x01.test", "mx; dmarc=pass header.=b.test",
		"mx; dmarc=pass .from=b.test", "mx; dmarc=p.ass", "mx; dmarc/a=pass", "mx" + strings.Repeat("; spf=pass", maxMethods+1),
		"mx; spf=pass" + strings.Repeat(" smtp.helo=a", maxProps+1),
	} {
		if id, methods, err := Read(value); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %q, %v, %v", value, id, methods, err)
		}
	}
}

func TestReadInstance(t *testing.T) {
	for value, want := range map[string]string{
		" i=1; mx; none": "1| mx; none", "\r\n i (x) = 12 ;mx": "12|mx", "i=;x": "|x",
	} {
		instance, rest, err := ReadInstance(value)
		if got := instance + "|" + rest; got != want || err != nil {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
	for _, value := range []string{"", "mx; i=1", "I=1;", "i=1 mx", "i=1", "i 1;", "i=1 1;"} {
		if _, _, err := ReadInstance(value); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestReadRefusesControlOctets(t *testing.T) {
	for _, value := range []string{"mx; spf=pass reason=\"a\x07b\"", "mx; spf=pass smtp.mailfrom=\"a\x00\"@b.test", "mx; spf=pass smtp.mailfrom=a\x7f@b.test", "m\x01x; none", "mx; spf\x02=pass"} {
		if _, _, err := Read(value); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestProp(t *testing.T) {
	m := Method{Props: []Prop{{"header", "d", "a.test"}, {"header", "s", "x"}, {"header", "d", "b.test"}}}
	if v, ok := m.Prop("header", "s"); v != "x" || !ok {
		t.Errorf("header.s: %q, %v", v, ok)
	}
	if _, ok := m.Prop("header", "d"); ok {
		t.Error("a property that comes twice was taken")
	}
}

// FuzzRead: what is read can be written, and reads as the same again.
func FuzzRead(f *testing.F) {
	f.Add("mx.example.org; spf=pass (c) smtp.mailfrom=a@b.test; dkim=pass header.d=b.test; dmarc=pass header.from=b.test")
	f.Add("mx 1; dmarc=pass action=none header.from=\"b.test\";")
	f.Fuzz(func(t *testing.T, value string) {
		_, methods, err := Read(value)
		if err != nil {
			return
		}
		for i := range methods { // values are changed where they could not be written
			methods[i].Reason = ""
			for j := range methods[i].Props {
				methods[i].Props[j].Value = "x"
			}
			if len(methods[i].Props) == 0 {
				methods[i].Props = nil
			}
		}
		field := string(Format("mx", methods))
		id, again, err := Read(strings.TrimPrefix(field, FieldName+":"))
		if err != nil || id != "mx" || len(again) != len(methods) || len(again) > 0 && !reflect.DeepEqual(again, methods) {
			t.Errorf("%q was written as %q and read as %v, %v", value, field, again, err)
		}
	})
}
