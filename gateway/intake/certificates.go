package intake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// CertificateFiles name a certificate chain and its private key in PEM.
type CertificateFiles struct{ Cert, Key string }

// Certificates are what the gateway shows to clients. Their files are read
// again when they change; a broken new file leaves the old certificate in use.
type Certificates struct {
	logger *slog.Logger

	mu      sync.Mutex // of those who read files
	files   []CertificateFiles
	seen    []fileStamps
	current atomic.Pointer[[]tls.Certificate]
}

// fileStamps tell whether files have changed.
type fileStamps [2]os.FileInfo

// LoadCertificates reads all files; one that cannot be used is a *FieldError.
func LoadCertificates(files []CertificateFiles, logger *slog.Logger) (*Certificates, error) {
	c := &Certificates{logger: logger}
	if err := c.Replace(files); err != nil {
		return nil, err
	}
	return c, nil
}

// Replace takes other files into use, all or none.
func (c *Certificates) Replace(files []CertificateFiles) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	certs, seen := make([]tls.Certificate, len(files)), make([]fileStamps, len(files))
	var errs []error
	for i, f := range files {
		seen[i] = stampsOf(f)
		var err error
		if certs[i], err = tls.LoadX509KeyPair(f.Cert, f.Key); err != nil {
			errs = append(errs, fieldError(fmt.Sprintf("tls.certificates[%d]", i), "%v", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.files, c.seen = files, seen
	c.current.Store(&certs)
	return nil
}

// Poll reads the files that have changed since it last looked. Every problem
// is logged once, and in the error.
func (c *Certificates) Poll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	certs := append([]tls.Certificate{}, *c.current.Load()...)
	changed := false
	var errs []error
	for i, f := range c.files {
		stamps := stampsOf(f)
		if stamps.same(c.seen[i]) {
			continue
		}
		c.seen[i] = stamps
		cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("certificate %s stays as it was: %w", f.Cert, err))
			c.logger.Error("certificate changed and cannot be used, the old one stays", "cert", f.Cert, "key", f.Key, "error", err)
			continue
		}
		certs[i], changed = cert, true
		c.logger.Info("certificate reread", "cert", f.Cert, "not_after", cert.Leaf.NotAfter)
	}
	if changed {
		c.current.Store(&certs)
	}
	return errors.Join(errs...)
}

// Watch polls until ctx is done.
func (c *Certificates) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = c.Poll() // it has logged what is wrong
		}
	}
}

// Get chooses by SNI and by what the client can verify, in the order of the
// files; the first certificate is for all others.
func (c *Certificates) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certs := *c.current.Load()
	if len(certs) == 0 {
		return nil, errors.New("no certificate is configured")
	}
	nameless := *hello
	nameless.ServerName = ""
	for _, h := range []*tls.ClientHelloInfo{hello, &nameless} {
		for i := range certs {
			if h.SupportsCertificate(&certs[i]) == nil {
				return &certs[i], nil
			}
		}
	}
	return &certs[0], nil
}

// Leaves are the certificates in use, for their dates of expiry.
func (c *Certificates) Leaves() []*x509.Certificate {
	var out []*x509.Certificate
	for _, cert := range *c.current.Load() {
		out = append(out, cert.Leaf)
	}
	return out
}

func (c *Certificates) empty() bool { return c == nil || len(*c.current.Load()) == 0 }

// stampsOf follows symbolic links, as the mounted secrets of containers are.
func stampsOf(f CertificateFiles) fileStamps {
	var s fileStamps
	for i, name := range []string{f.Cert, f.Key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = info
		}
	}
	return s
}

func (s fileStamps) same(t fileStamps) bool {
	for i := range s {
		if (s[i] == nil) != (t[i] == nil) {
			return false
		}
		if s[i] != nil && (!os.SameFile(s[i], t[i]) || !s[i].ModTime().Equal(t[i].ModTime()) || s[i].Size() != t[i].Size()) {
			return false
		}
	}
	return true
}

// tlsVersions are the values of min_version.
var tlsVersions = map[string]uint16{
	"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// tlsConfig is the server's side of one listener; nil without TLS.
func tlsConfig(l Listener, certs *Certificates, clientCA *x509.CertPool) *tls.Config {
	if l.TLS.Mode == TLSOff || certs.empty() {
		return nil
	}
	config := &tls.Config{
		GetCertificate: certs.Get,
		MinVersion:     tlsVersions[l.TLS.MinVersion],
		// Exchange Online aborts STARTTLS where Go sends a ticket.
		SessionTicketsDisabled: true,
		ClientCAs:              clientCA,
	}
	switch l.TLS.ClientCert {
	case CertRequest:
		config.ClientAuth = tls.RequestClientCert
	case CertRequire:
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if config.MinVersion < tls.VersionTLS12 {
		config.CipherSuites = withLegacySuites()
	}
	return config
}

// withLegacySuites adds AES with RSA key exchange, which Go leaves out and
// which is all that a device from the time of TLS 1.0 knows.
func withLegacySuites() []uint16 {
	ids := []uint16{}
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	return append(ids, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA)
}
