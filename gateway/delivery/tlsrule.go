package delivery

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
)

// tlsRule is a TLS option, ready for use.
type tlsRule struct {
	policy       string
	name         string
	roots        *x509.CertPool
	certificates []tls.Certificate
}

// compileTLS reads the files of a rule. A rule without a policy takes that of
// delivery.tls and, if it says nothing of its own, all of it.
func compileTLS(t, fallback TLS, at string) (*tlsRule, []error) {
	if t == (TLS{}) {
		t = fallback
	}
	setDefault(&t.Policy, fallback.Policy)
	problems := oneOf(at+".policy", t.Policy, TLSOff, TLSOpportunistic, TLSRequire, TLSVerify)
	rule := &tlsRule{policy: t.Policy, name: t.Name}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		rule.roots = x509.NewCertPool()
		switch {
		case err != nil:
			problems = append(problems, &FieldError{at + ".ca", err.Error()})
		case !rule.roots.AppendCertsFromPEM(pem):
			problems = append(problems, &FieldError{at + ".ca", "no certificate in " + t.CA})
		}
	}
	if t.ClientCert != "" || t.ClientKey != "" {
		pair, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			problems = append(problems, &FieldError{at + ".client_cert", fmt.Sprintf("load certificate and key: %v", err)})
		}
		rule.certificates = []tls.Certificate{pair}
	}
	return rule, problems
}

// must tells whether mail must not leave in plaintext.
func (r *tlsRule) must() bool { return r.policy == TLSRequire || r.policy == TLSVerify }

// config is what a handshake with host needs. Opportunistic TLS takes all that
// is better than plaintext (RFC 7435); a rule that demands TLS demands TLS 1.2
// (RFC 8996).
func (r *tlsRule) config(host string) *tls.Config {
	config := &tls.Config{
		ServerName: host, RootCAs: r.roots, Certificates: r.certificates, MinVersion: tls.VersionTLS12,
		// Full records at once: one write per small message.
		DynamicRecordSizingDisabled: true,
	}
	if r.name != "" {
		config.ServerName = r.name
	}
	if r.policy != TLSVerify {
		config.InsecureSkipVerify = true
	}
	if !r.must() {
		config.MinVersion = tls.VersionTLS10
		config.CipherSuites = oldCipherSuites()
	}
	return config
}

// oldCipherSuites is what Go knows without RC4 (RFC 7465): RSA key exchange
// and CBC too, for servers of the time of TLS 1.0.
func oldCipherSuites() (ids []uint16) {
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !strings.Contains(suite.Name, "RC4") {
			ids = append(ids, suite.ID)
		}
	}
	return ids
}
