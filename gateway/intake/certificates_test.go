package intake

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writeCertificate makes a self-signed certificate for name in dir.
func writeCertificate(t testing.TB, dir, name string) CertificateFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := CertificateFiles{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	replace(t, files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	replace(t, files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return files
}

// replace writes a file the way tools do: beside it, then over it.
func replace(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func loadCertificates(t testing.TB, names ...string) (*Certificates, []CertificateFiles, *bytes.Buffer) {
	t.Helper()
	var files []CertificateFiles
	for _, n := range names {
		files = append(files, writeCertificate(t, t.TempDir(), n))
	}
	var log bytes.Buffer
	c, err := LoadCertificates(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c, files, &log
}

// shown does a handshake and tells whose certificate was shown.
func shown(t *testing.T, c *Certificates, sni string) string {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(a, tlsConfig(Listener{TLS: TLS{Mode: TLSOptional, MinVersion: "1.2"}}, c, nil))
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(b, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func TestCertificateBySNI(t *testing.T) {
	c, _, _ := loadCertificates(t, "a.example", "b.example")
	for sni, want := range map[string]string{"a.example": "a.example", "b.example": "b.example", "c.example": "a.example", "": "a.example"} {
		if got := shown(t, c, sni); got != want {
			t.Errorf("SNI %q: %s, want %s", sni, got, want)
		}
	}
}

func TestCertificateReload(t *testing.T) {
	c, files, log := loadCertificates(t, "old.example", "other.example")
	if err := c.Poll(); err != nil || log.Len() != 0 {
		t.Errorf("nothing changed: %v, log %q", err, log)
	}
	dir := filepath.Dir(files[0].Cert)
	writeCertificate(t, dir, "new.example")
	if err := c.Poll(); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, ""); got != "new.example" {
		t.Errorf("after the change: %s", got)
	}
	replace(t, files[0].Cert, []byte("broken"))
	log.Reset()
	if err := c.Poll(); err == nil || !strings.Contains(log.String(), files[0].Cert) {
		t.Errorf("broken file: %v, log %q", err, log)
	}
	if got := shown(t, c, ""); got != "new.example" {
		t.Errorf("after the broken file: %s", got)
	}
	log.Reset()
	if err := c.Poll(); err != nil || log.Len() != 0 {
		t.Errorf("the broken file was told of twice: %v, %q", err, log)
	}
	if err := os.Remove(files[0].Cert); err != nil {
		t.Fatal(err)
	}
	if err := c.Poll(); err == nil {
		t.Error("a missing file is a problem")
	}
	writeCertificate(t, dir, "mended.example")
	if err := c.Poll(); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, ""); got != "mended.example" {
		t.Errorf("after it was mended: %s", got)
	}
	if leaves := c.Leaves(); len(leaves) != 2 || leaves[0].DNSNames[0] != "mended.example" {
		t.Error("Leaves are not the certificates in use")
	}
}

func TestCertificatesRefuse(t *testing.T) {
	files := writeCertificate(t, t.TempDir(), "a.example")
	_, err := LoadCertificates([]CertificateFiles{files, {"missing", "missing"}}, slog.Default())
	var field *FieldError
	if !errors.As(err, &field) || field.Path != "tls.certificates[1]" {
		t.Errorf("%v, want an error at tls.certificates[1]", err)
	}
}

func TestWatchPolls(t *testing.T) {
	c, files, _ := loadCertificates(t, "old.example")
	dir := filepath.Dir(files[0].Cert)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Watch(ctx, 5*time.Second) }()
		writeCertificate(t, dir, "new.example")
		time.Sleep(6 * time.Second) // of the bubble
		synctest.Wait()
		if got := c.Leaves()[0].DNSNames[0]; got != "new.example" {
			t.Errorf("after a poll: %s", got)
		}
		cancel()
		<-done
	})
}

func TestTLSConfig(t *testing.T) {
	c, _, _ := loadCertificates(t, "a.example")
	pool := x509.NewCertPool()
	got := tlsConfig(Listener{TLS: TLS{Mode: TLSRequired, MinVersion: "1.3", ClientCert: CertRequire}}, c, pool)
	if got.MinVersion != tls.VersionTLS13 || got.ClientAuth != tls.RequireAndVerifyClientCert || got.ClientCAs != pool || !got.SessionTicketsDisabled {
		t.Errorf("%+v", got)
	}
	got = tlsConfig(Listener{TLS: TLS{Mode: TLSOptional, MinVersion: "1.0", ClientCert: CertRequest}}, c, nil)
	if got.MinVersion != tls.VersionTLS10 || got.ClientAuth != tls.RequestClientCert || len(got.CipherSuites) == 0 {
		t.Errorf("%+v", got)
	}
	if tlsConfig(Listener{TLS: TLS{Mode: TLSOff}}, c, nil) != nil || tlsConfig(Listener{TLS: TLS{Mode: TLSOptional}}, nil, nil) != nil {
		t.Error("no TLS must give no configuration")
	}
}
