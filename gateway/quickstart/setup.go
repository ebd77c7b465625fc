package quickstart

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gatepost/auth/sasl"
	"gatepost/dnsx/zone"
)

// The demo login of the submission listener.
const (
	demoUser     = "demo"
	demoPassword = "quickstart"
)

const configText = `# Written anew by each 'gatepost quickstart'. Copy it to begin a configuration of your own; docs/config.md explains every key.
hostname: mx.gatepost.test
authserv_id: gatepost.test
postmaster: postmaster@gatepost.test
data_dir: %[1]q
store: {min_free: 64MiB}
log: {level: info, format: text}
tls:
  certificates:
    - {cert: %[8]q, key: %[9]q}
dns:
  servers:
    - {address: "%[2]s"}          # the built-in zone; yours: leave dns out, or name your resolver

users:
  - name: demo
    password_hash: "%[3]s"   # of 'quickstart', made by 'gatepost user hash'
    send_as: ["@gatepost.test"]

listeners:
  - name: mx                       # the world comes in here: port 25 of a real site
    address: "%[4]s"
    role: mx
  - name: submission               # users and applications: port 587
    address: "%[5]s"
    role: smarthost
    tls: {mode: required}
    auth: {mechanisms: [PLAIN, LOGIN]}

next_hops:
  - name: mailbox                  # the built-in server that keeps mail in a Maildir; yours: Exchange
    urls: ["smtp://%[6]s"]
    tls: {policy: "off"}

domains:
  - {name: gatepost.test, next_hop: mailbox, recipients: {accept: all}}

routes:
  - {match: {recipients: ["*"]}, next_hop: mailbox}   # so that nothing leaves this machine; yours: next_hop: mx

dkim:
  sign:
    - {domains: [gatepost.test], algorithms: [rsa-2048, ed25519]}

health: {address: "%[7]s"}
`

const zoneText = `
$TTL 300
mx.gatepost.test.        A    127.0.0.1
gatepost.test.           MX   10 mx.gatepost.test.
gatepost.test.           TXT  "v=spf1 ip4:127.0.0.1 -all"
_dmarc.gatepost.test.    TXT  "v=DMARC1; p=reject"
client.world.test.       A    127.0.0.1
1.0.0.127.in-addr.arpa.  PTR  client.world.test.
world.test.              MX   10 client.world.test.
world.test.              TXT  "v=spf1 ip4:127.0.0.1 -all"
_dmarc.world.test.       TXT  "v=DMARC1; p=reject"
`

// setup writes what the gateway needs into the directory.
func (q *quick) setup() error {
	if err := os.MkdirAll(q.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := writeCertificate(q.path("tls.crt"), q.path("tls.key"), "mx.gatepost.test", q.o.Now()); err != nil {
		return err
	}
	hash, err := sasl.Hash(rand.Reader, demoPassword)
	if err != nil {
		return fmt.Errorf("hash the demo password: %w", err)
	}
	text := configuration(q.o, q.dns.Addr(), hash)
	if err := os.WriteFile(q.path("gatepost.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

// configuration is the text of gatepost.yaml. Paths are quoted: a directory may
// be called anything.
func configuration(o Options, dns, hash string) string {
	return fmt.Sprintf(configText, o.Dir, dns, hash, o.MX, o.Submission, o.NextHop, o.Health,
		filepath.Join(o.Dir, "tls.crt"), filepath.Join(o.Dir, "tls.key"))
}

// startDNS serves the zone, with a key for the mail of world.test.
func (q *quick) startDNS() error {
	z, err := zone.ParseString(zoneText)
	if err != nil {
		return fmt.Errorf("read the built-in zone: %w", err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key for world.test: %w", err)
	}
	q.worldKey, q.zone = private, z
	record := fmt.Sprintf("w1._domainkey.world.test. 300 TXT \"v=DKIM1; k=ed25519; p=%s\"\n", base64.StdEncoding.EncodeToString(public))
	if err := z.Add(record); err != nil {
		return fmt.Errorf("publish the key of world.test: %w", err)
	}
	q.dns, err = zone.NewServer(q.o.DNS, z)
	if err != nil {
		return fmt.Errorf("serve the built-in zone: %w", err)
	}
	return nil
}

func (q *quick) path(name string) string { return filepath.Join(q.o.Dir, name) }

// publish adds zone lines to the built-in zone.
func (q *quick) publish(lines []string) error { return q.zone.Add(strings.Join(lines, "\n") + "\n") }
