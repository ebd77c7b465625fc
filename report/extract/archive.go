package extract

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
)

// gzip takes the members of a file; what stands behind them is padding that
// some reporters add.
func (w *walker) gzip(name string, b []byte) {
	if int64(len(b)) > w.limits.Compressed {
		w.add(Document{Kind: kindOf(name), Name: name, Err: refuse("the archive is larger than %d octets", w.limits.Compressed)})
		return
	}
	in := bytes.NewReader(b)
	z, err := gzip.NewReader(in)
	if err != nil {
		w.add(Document{Kind: kindOf(name), Name: name, Err: refuse("the gzip file is broken")})
		return
	}
	z.Multistream(false)
	w.unpacked(name, &members{in, z}, int64(len(b)))
}

// members reads the members of a gzip file one after the other (RFC 1952
// section 2.2), up to what is none.
type members struct {
	in *bytes.Reader // gzip reads no octet too many from it
	z  *gzip.Reader
}

func (m *members) Read(p []byte) (int, error) {
	n, err := m.z.Read(p)
	if err == io.EOF && m.z.Reset(m.in) == nil {
		m.z.Multistream(false)
		err = nil
	}
	return n, err
}

// zip takes every file of an archive.
func (w *walker) zip(name string, b []byte) {
	fail := func(format string, args ...any) {
		w.add(Document{Kind: kindOf(name), Name: name, Err: refuse(format, args...)})
	}
	if int64(len(b)) > w.limits.Compressed {
		fail("the archive is larger than %d octets", w.limits.Compressed)
		return
	}
	// The list of files is not read where it is too long.
	if zipEntries(b) > w.limits.Entries {
		fail("the zip file has more than %d entries", w.limits.Entries)
		return
	}
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // nothing is written under these names
		fail("the zip file is broken")
		return
	}
	if len(z.File) > w.limits.Entries {
		fail("the zip file has more than %d entries", w.limits.Entries)
		return
	}
	files := 0
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		files++
		r, err := f.Open()
		if err != nil {
			fail("the zip file has an entry that cannot be read: encrypted, or packed in an unknown way")
			continue
		}
		w.unpacked(f.Name, r, int64(f.CompressedSize64))
		r.Close()
	}
	if files == 0 {
		fail("the zip file is empty")
	}
}

// zipEntries counts the headers of the list of files.
func zipEntries(b []byte) int {
	var mark [4]byte
	binary.LittleEndian.PutUint32(mark[:], 0x02014b50)
	return bytes.Count(b, mark[:])
}

// unpacked reads what an archive holds, within the bounds.
func (w *walker) unpacked(name string, r io.Reader, compressed int64) {
	bound := w.budget
	byRatio := max(ratioFrom, compressed*w.limits.Ratio)
	out, err := io.ReadAll(io.LimitReader(r, min(bound, byRatio)+1))
	w.budget -= min(int64(len(out)), w.budget)
	switch {
	case int64(len(out)) > byRatio:
		err = refuse("the archive grows more than %d times", w.limits.Ratio)
	case int64(len(out)) > bound:
		err = refuse("the archives become larger than %d octets", w.limits.Uncompressed)
	case err != nil:
		err = refuse("the archive is broken")
	case bytes.HasPrefix(out, gzipMagic) || bytes.HasPrefix(out, zipMagic):
		err = refuse("there is an archive inside the archive")
	default:
		w.plain(name, nameless(name), out)
		return
	}
	w.add(Document{Kind: kindOf(name), Name: name, Err: err})
}

// nameless is the type of a file whose name claims nothing: reporters send
// nothing but reports in archives.
func nameless(name string) string {
	if claimed(name, "") == TLS {
		return "application/tlsrpt+json"
	}
	return "application/xml"
}

// kindOf is what an archive that cannot be read was meant to be.
func kindOf(name string) Kind {
	if k := claimed(name, ""); k != "" {
		return k
	}
	return Aggregate
}
