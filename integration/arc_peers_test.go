package integration

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/auth/arc"
	"gatepost/dnsx"
	"gatepost/mail"
)

// oneKey is a zone with one key, whatever the name.
type oneKey string

func (k oneKey) TXT(context.Context, string) (dnsx.Answer[string], error) {
	return dnsx.Answer[string]{Records: []string{string(k)}}, nil
}

// dkimpySeals seals each file of a folder twice, as two forwarders do.
const dkimpySeals = `
import glob, os, sys
import dkim
folder = sys.argv[1]
key = open(os.path.join(folder, "key"), "rb").read()
for path in glob.glob(os.path.join(folder, "*.eml")):
    message = open(path, "rb").read()
    for server, results in ((b"mx.one.test", b"dmarc=pass header.from=sender.test"), (b"mx.two.test", b"arc=pass")):
        message = b"Authentication-Results: " + server + b"; " + results + b"\r\n" + message
        fields = dkim.arc_sign(message, b"k1", server[3:], key, server, linesep=b"\r\n")
        message = b"".join(fields) + message
    open(path, "wb").write(message)
print(dkim.__name__)
`

// TestChainsOfDkimpy: what another program sealed passes, for every odd
// message, and fails when it is changed.
func TestChainsOfDkimpy(t *testing.T) {
	t.Parallel()
	if out, err := output(nil, nil, "/usr/bin/python3", "-c", "import dkim, authres"); err != nil {
		t.Skipf("SKIPPED: dkimpy is absent; 'make deps' installs it: %v %s", err, out)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	for name, data := range corpus() {
		writeFile(t, dir, name+".eml", strings.ReplaceAll(data, "{{name}}", name))
	}
	if out, err := output(nil, nil, "/usr/bin/python3", "-c", dkimpySeals, dir); err != nil {
		t.Fatalf("dkimpy: %v %s", err, out)
	}
	v := arc.NewVerifier(arc.Options{Resolver: oneKey("v=DKIM1; p=" + base64.StdEncoding.EncodeToString(public))})
	n := 0
	for name := range corpus() {
		data, err := os.ReadFile(filepath.Join(dir, name+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		n++
		r, err := v.Verify(t.Context(), mail.MemoryBody(data))
		if err != nil || r.Value != arc.Pass || len(r.Sets) != 2 || r.OldestPass != 0 || !r.FromSigned || len(r.Sets[0].Findings) != 1 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		r, err = v.Verify(t.Context(), mail.MemoryBody([]byte(strings.Replace(string(data), "me@sender.test", "me@evil.test", 1))))
		if err != nil || r.Value != arc.Fail {
			t.Errorf("%s, changed: %+v, %v", name, r, err)
		}
	}
	t.Logf("%d chains of dkimpy", n)
}
