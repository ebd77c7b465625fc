package integration

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/dnsx/zone"
)

// stack is docker-compose.yml as this test runs it: the file itself, its
// gatepost.yaml with another port of the mailbox server, and a zone that
// unbound asks us for, and validates.
type stack struct {
	t       *testing.T
	command []string
	env     []string
	subnet  string
}

// composeCommand is docker-compose or the plugin, or skips the test loudly.
func composeCommand(t testing.TB) []string {
	t.Helper()
	if path, err := exec.LookPath("docker-compose"); err == nil {
		return []string{path}
	}
	if _, err := tryDocker(nil, "compose", "version"); err == nil {
		return []string{"docker", "compose"}
	}
	t.Skip("SKIPPED: neither docker-compose nor 'docker compose' is there, so docker-compose.yml was not tried")
	return nil
}

func (s *stack) try(args ...string) (string, error) {
	all := append(append([]string{}, s.command[1:]...), args...)
	return output(nil, s.env, s.command[0], all...)
}

func (s *stack) compose(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("docker-compose %s: %v\n%s", strings.Join(args, " "), err, tail(out))
	}
	return out
}

// testCompose brings the whole stack up and relays a message to a server
// whose address unbound finds.
func testCompose(t *testing.T, image string) {
	command := composeCommand(t)
	resolver := buildUnbound(t)
	t.Log("UNVERIFIED: unbound's image was built from a stand-in for debian:bookworm-slim, whose apt-get had nothing left to install")
	_, host := bridge(t)
	sink := startSinkAt(t, host+":0", nil)
	names, anchor := startSignedZone(t, host, fmt.Sprintf(signedZone, host))
	s := newStack(t, command, image, resolver)
	s.files(sink.Addr, names, anchor)
	t.Cleanup(s.down)
	s.compose("up", "--detach", "--no-build")
	s.validates()
	gateway := strings.TrimSpace(s.compose("ps", "--quiet", "gateway"))
	waitHealthy(t, gateway)

	address := docker(t, "port", gateway, "2525/tcp")
	code, text, err := deliver(address, "client.example.com", "a@world.example.com", []string{"b@example.com"},
		letter("a@world.example.com", "b@example.com", "through the stack", "x"))
	if err != nil || code != 250 {
		t.Fatalf("delivery to the stack: %d %s %v", code, text, err)
	}
	contains(t, unfolded(sink.wait(t, "through the stack").Data), "Authentication-Results: example.com", "spf=pass")
	s.restricted(gateway)
}

// buildUnbound builds the resolver's image and removes it at the end.
func buildUnbound(t *testing.T) string {
	t.Helper()
	image := fmt.Sprintf("gatepost-test/unbound:%d", os.Getpid())
	t.Cleanup(func() { tryDocker(nil, "rmi", image) })
	docker(t, "build", "--force-rm", "--build-arg", "BASE="+unboundBase(t), "--tag", image, "../deploy/unbound")
	return image
}

func newStack(t *testing.T, command []string, image, resolver string) *stack {
	s := &stack{t: t, subnet: fmt.Sprintf("10.213.%d", os.Getpid()%250)}
	s.env = []string{
		"GATEPOST_IMAGE=" + image, "GATEPOST_UNBOUND_IMAGE=" + resolver, "GATEPOST_SUBNET=" + s.subnet,
		"GATEPOST_MX=127.0.0.1:0", "GATEPOST_SUBMISSION=127.0.0.1:0", "GATEPOST_SUBMISSIONS=127.0.0.1:0", "GATEPOST_METRICS=127.0.0.1:0",
	}
	s.command = append(command, "--project-name", fmt.Sprintf("gateposttest%d", os.Getpid()), "--file", "../docker-compose.yml")
	return s
}

// files writes what an administrator would, and unbound's way to the zone.
func (s *stack) files(sink, names, anchor string) {
	s.t.Helper()
	dir := s.t.TempDir()
	config, err := os.ReadFile("../deploy/container/gatepost.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	const mailbox = "mailbox.example.com:25"
	if !strings.Contains(string(config), "smtp://"+mailbox) {
		s.t.Fatalf("deploy/container/gatepost.yaml has no next hop %s any more", mailbox)
	}
	port := sink[strings.LastIndex(sink, ":"):]
	writeFile(s.t, dir, "etc/gatepost.yaml", strings.Replace(string(config), mailbox, "mailbox.example.com"+port, 1))
	writeFile(s.t, dir, "secrets/seal_key", base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n")
	makeCertificate(s.t, filepath.Join(dir, "secrets/tls.crt"), filepath.Join(dir, "secrets/tls.key"), "mx.example.com")
	writeFile(s.t, dir, "unbound/test.conf", fmt.Sprintf("server:\n  trust-anchor: %q\nstub-zone:\n  name: example.com\n  stub-addr: %s\n",
		anchor, strings.Replace(names, ":", "@", 1)))
	for _, d := range []string{"etc", "secrets", "unbound"} {
		readable(s.t, filepath.Join(dir, d))
	}
	override := writeFile(s.t, dir, "override.yml", fmt.Sprintf(`
services:
  gateway:
    healthcheck: {interval: 1s}
    volumes: ["%[1]s/etc:/etc/gatepost:ro", "%[1]s/secrets:/run/secrets:ro"]
  unbound:
    healthcheck: {interval: 1s}
    volumes: ["%[1]s/unbound:/etc/unbound/unbound.conf.d:ro"]
`, dir))
	s.compose("config", "--quiet") // docker-compose.yml alone
	s.command = append(s.command, "--file", override)
}

func (s *stack) down() {
	if s.t.Failed() {
		out, err := s.try("logs", "--no-color")
		s.t.Logf("log of the stack: %v\n%s", err, tail(out))
	}
	s.compose("down", "--volumes", "--timeout", "20")
}

// validates asks unbound itself: what is signed is authentic, what was
// tampered with is no answer.
func (s *stack) validates() {
	s.t.Helper()
	resolver := strings.TrimSpace(s.compose("ps", "--quiet", "unbound"))
	waitHealthy(s.t, resolver)
	for name, want := range map[string]struct {
		code      int
		authentic bool
	}{"mailbox.example.com.": {dns.RcodeSuccess, true}, "tampered.example.com.": {dns.RcodeServerFailure, false}} {
		query := new(dns.Msg)
		query.SetQuestion(name, dns.TypeA)
		query.AuthenticatedData = true
		client := &dns.Client{Timeout: 10 * time.Second}
		answer, _, err := client.Exchange(query, s.subnet+".53:5335")
		if err != nil {
			s.t.Fatalf("unbound, asked for %s: %v", name, err)
		}
		if answer.Rcode != want.code || answer.AuthenticatedData != want.authentic {
			s.t.Errorf("%s: %s, authentic %t; want %s, %t", name, dns.RcodeToString[answer.Rcode], answer.AuthenticatedData, dns.RcodeToString[want.code], want.authentic)
		}
	}
}

// restricted looks at what the engine holds both containers to.
func (s *stack) restricted(gateway string) {
	s.t.Helper()
	for _, id := range []string{gateway, strings.TrimSpace(s.compose("ps", "--quiet", "unbound"))} {
		got := docker(s.t, "inspect", "--format", "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{gt .HostConfig.Memory 0}}", id)
		if got != "65532:65532 true [ALL] [no-new-privileges:true] true" {
			s.t.Errorf("user, read-only, capabilities dropped, options and memory bound of %s: %s", id, got)
		}
	}
	s.compose("exec", "-T", "gateway", "/usr/bin/gatepost", "check", "--quiet") // deploy/container/gatepost.yaml has no errors
}

// signedZone is what unbound finds; tampered's signature will not fit.
const signedZone = `
$TTL 300
example.com.            SOA  ns.example.com. postmaster.example.com. 1 3600 600 86400 300
example.com.            NS   ns.example.com.
ns.example.com.         A    %[1]s
mx.example.com.         A    192.0.2.25
mailbox.example.com.    A    %[1]s
tampered.example.com.   A    192.0.2.66
world.example.com.      TXT  "v=spf1 +all"
world.example.com.      MX   10 mx.example.com.
`

// signer serves a zone with DNSSEC: every set signed, every lack proved by an
// NSEC that covers no other name (RFC 4470), names that are not there as
// names without data.
type signer struct {
	zones   zone.Zones
	key     *dns.DNSKEY
	private crypto.Signer
}

// startSignedZone returns the server's address and the trust anchor.
func startSignedZone(t *testing.T, host, text string) (address, anchor string) {
	t.Helper()
	z, err := zone.ParseString(text)
	if err != nil {
		t.Fatal(err)
	}
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 300},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	if err != nil {
		t.Fatal(err)
	}
	server, err := zone.Listen(host+":0", &signer{zone.Zones{z}, key, private.(crypto.Signer)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.Addr(), strings.ReplaceAll(key.ToDS(dns.SHA256).String(), "\t", " ")
}

// ServeDNS implements dns.Handler.
func (s *signer) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := s.zones.Answer(query)
	q := query.Question[0]
	if q.Qtype == dns.TypeDNSKEY && strings.EqualFold(q.Name, s.key.Hdr.Name) {
		reply.Rcode, reply.Answer, reply.Ns = dns.RcodeSuccess, []dns.RR{s.key}, nil
	}
	if len(reply.Answer) == 0 {
		reply.Rcode = dns.RcodeSuccess
		reply.Ns = append(reply.Ns, s.denial(q.Name))
	}
	reply.Answer, reply.Ns = s.sign(reply.Answer), s.sign(reply.Ns)
	zone.Send(w, query, reply)
}

// denial proves that a name has no data but what it has.
func (s *signer) denial(name string) dns.RR {
	types := []uint16{}
	for _, rrtype := range []uint16{dns.TypeA, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeTXT} {
		if a := s.zones.Answer(new(dns.Msg).SetQuestion(name, rrtype)); len(a.Answer) > 0 {
			types = append(types, rrtype)
		}
	}
	types = append(types, dns.TypeRRSIG, dns.TypeNSEC)
	if strings.EqualFold(name, s.key.Hdr.Name) {
		types = append(types, dns.TypeDNSKEY)
	}
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300},
		NextDomain: "\\000." + name, TypeBitMap: types,
	}
}

// sign adds a signature to each set.
func (s *signer) sign(records []dns.RR) []dns.RR {
	sets := map[string][]dns.RR{}
	for _, r := range records {
		id := fmt.Sprint(strings.ToLower(r.Header().Name), r.Header().Rrtype)
		sets[id] = append(sets[id], r)
	}
	for _, set := range sets {
		now := uint32(time.Now().Unix())
		signature := &dns.RRSIG{
			Hdr:       dns.RR_Header{Name: set[0].Header().Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 300},
			Algorithm: s.key.Algorithm, KeyTag: s.key.KeyTag(), SignerName: s.key.Hdr.Name,
			Inception: now - 3600, Expiration: now + 3600,
		}
		if err := signature.Sign(s.private, set); err != nil {
			continue // unbound will not accept the set, which the test then says
		}
		if strings.HasPrefix(set[0].Header().Name, "tampered.") {
			set[0].(*dns.A).A[3]++
		}
		records = append(records, signature)
	}
	return records
}
