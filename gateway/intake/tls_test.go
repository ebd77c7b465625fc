package intake

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
)

// handshake connects to an implicit TLS listener and says QUIT.
func handshake(t *testing.T, r *rig, config *tls.Config) error {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config.InsecureSkipVerify = true
	tc := tls.Client(conn, config)
	if _, err := tc.Write([]byte("QUIT\r\n")); err != nil {
		return err
	}
	_, err = tc.Read(make([]byte, 1000)) // TLS 1.3 refuses a client behind its handshake
	return err
}

func TestMinVersion(t *testing.T) {
	for minimum, good := range map[string]bool{"1.0": true, "1.1": true, "1.2": false, "": false} {
		r := newRig(t, Listener{TLS: TLS{Mode: TLSImplicit, MinVersion: minimum}})
		r.observer.ended = make(chan struct{}, 1)
		r.start(t)
		err := handshake(t, r, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		if (err == nil) != good {
			t.Errorf("min_version %q, client of TLS 1.1: %v", minimum, err)
		}
		<-r.observer.ended
		if heard := strings.Contains(r.observer.text(), "handshake ok=false"); heard == good {
			t.Errorf("min_version %q: observer heard %q", minimum, r.observer.text())
		}
	}
}

func TestClientCertificateRequired(t *testing.T) {
	files := writeCertificate(t, t.TempDir(), "client.example")
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Listener{TLS: TLS{Mode: TLSImplicit, ClientCert: CertRequire}})
	r.options.ClientCA = x509.NewCertPool()
	r.options.ClientCA.AddCert(cert.Leaf)
	r.start(t)
	if err := handshake(t, r, &tls.Config{}); err == nil {
		t.Error("a client without certificate was let in")
	}
	if err := handshake(t, r, &tls.Config{Certificates: []tls.Certificate{cert}}); err != nil {
		t.Errorf("a client with certificate: %v", err)
	}
}
