package integration

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"gatepost/auth/sasl"
	"gatepost/dnsx/zone"
)

// containerConfig is the gateway of these tests; the sink and the DNS server
// run on this machine, at the address by which containers reach it.
const containerConfig = `
hostname: mx.example.test
authserv_id: example.test
store: {min_free: 16MiB}
log: {level: debug, format: text}
tls: {certificates: [{cert: /etc/gatepost/tls.crt, key: /etc/gatepost/tls.key}]}
dns: {servers: [{address: "{{dns}}"}]}
users: [{name: demo, password_hash: "{{hash}}", send_as: ["@example.test"]}]
listeners:
  - {name: mx, address: ":2525", role: mx}
  - {name: submission, address: ":2587", role: smarthost, tls: {mode: required}, auth: {mechanisms: [PLAIN]}}
next_hops: [{name: sink, urls: ["smtp://{{sink}}"], tls: {policy: "off"}}]
domains: [{name: example.test, next_hop: sink, recipients: {accept: all}}]
routes: [{match: {recipients: ["*"]}, next_hop: sink}]
dkim: {sign: [{domains: [example.test]}]}
delivery: {retry: [2s]}
health: {address: ":8026"}
metrics: {address: ":9125"}
shutdown_grace: 15s
`

const containerZone = `
$TTL 300
mx.example.test.      A    192.0.2.25
world.test.           TXT  "v=spf1 +all"
world.test.           MX   10 mx.world.test.
mx.world.test.        A    192.0.2.26
_dmarc.world.test.    TXT  "v=DMARC1; p=reject"
`

// TestContainer builds the image by the Dockerfile, from a stand-in for its
// base, and runs it as docker-compose.yml does: without root, on a read-only
// root file system, without capabilities.
func TestContainer(t *testing.T) {
	dockerEngine(t)
	image := buildImage(t)
	t.Log("UNVERIFIED: the image was built from a stand-in for golang:1.26-bookworm; the published base image cannot be had here")
	if out, err := tryDocker(nil, "buildx", "version"); err != nil {
		t.Log("UNVERIFIED: the image was not built by BuildKit, which is not installed here; the older builder made it", out)
	}
	t.Run("image", func(t *testing.T) { testImage(t, image) })
	t.Run("relays", func(t *testing.T) { testContainerRelays(t, image) })
	t.Run("stops", func(t *testing.T) { testContainerStops(t, image) })
	t.Run("killed", func(t *testing.T) { testContainerKilled(t, image) })
	t.Run("compose", func(t *testing.T) { testCompose(t, image) })
}

const testVersion = "v0.0.0-container"

// buildImage builds the image and removes it, and what led to it, at the end.
func buildImage(t *testing.T) string {
	t.Helper()
	base := goBase(t)
	image := fmt.Sprintf("gatepost-test/gateway:%d", os.Getpid())
	t.Cleanup(func() {
		tryDocker(nil, "rmi", image)
		removeUnnamed(base)
	})
	docker(t, "build", "--force-rm", "--build-arg", "GO_IMAGE="+base, "--build-arg", "VERSION="+testVersion, "--tag", image, "..")
	return image
}

// removeUnnamed removes what builds on base left without a name: their first
// stages, which the older builder keeps.
func removeUnnamed(base string) {
	layer := func(image string) string {
		out, err := tryDocker(nil, "image", "inspect", "--format", "{{index .RootFS.Layers 0}}", image)
		if err != nil {
			return ""
		}
		return out
	}
	unnamed, _ := tryDocker(nil, "images", "--quiet", "--filter", "dangling=true")
	for _, id := range strings.Fields(unnamed) {
		if l := layer(id); l != "" && l == layer(base) {
			tryDocker(nil, "rmi", id)
		}
	}
}

func testImage(t *testing.T, image string) {
	out := docker(t, "run", "--rm", "--read-only", "--network", "none", image, "version")
	if out != "gatepost "+testVersion {
		t.Errorf("version: %q, want the build argument", out)
	}
	id := docker(t, "create", "--network", "none", image)
	defer docker(t, "rm", "--volumes", id)
	listing, err := output(nil, nil, "sh", "-c", "docker export "+id+" | tar -t")
	if err != nil {
		t.Fatalf("list the files of the image: %v\n%s", err, listing)
	}
	engine := map[string]bool{".dockerenv": true, "etc/hostname": true, "etc/hosts": true, "etc/mtab": true, "etc/resolv.conf": true, "dev/console": true}
	for _, f := range strings.Fields(listing) {
		if !strings.HasSuffix(f, "/") && !engine[f] && f != "usr/bin/gatepost" {
			t.Errorf("the image holds %s; it should hold the binary alone", f)
		}
	}
	user := docker(t, "image", "inspect", "--format", "{{.Config.User}} {{.Config.Healthcheck.Test}} {{.Config.Volumes}}", image)
	if user != "65532:65532 [CMD /usr/bin/gatepost health] map[/var/lib/gatepost:{}]" {
		t.Errorf("user, health check and volumes of the image: %s", user)
	}
}

// boxed is a gateway in a container with its surroundings.
type boxed struct {
	t       *testing.T
	image   string
	network string
	dir     string // mounted as /etc/gatepost
	volume  string
	name    string
	sink    *sink
}

// bridge makes a network for containers; address is this machine on it.
func bridge(t testing.TB) (network, address string) {
	t.Helper()
	network = docker(t, "network", "create", fmt.Sprintf("gateposttest-%d-%d", os.Getpid(), time.Now().UnixNano()))
	t.Cleanup(func() { docker(t, "network", "rm", network) })
	address = docker(t, "network", "inspect", network, "--format", "{{(index .IPAM.Config 0).Gateway}}")
	if net.ParseIP(address) == nil {
		t.Fatalf("the network of containers has no gateway: %q", address)
	}
	return network, address
}

// newBoxed prepares everything but the container.
func newBoxed(t *testing.T, image string) *boxed {
	t.Helper()
	network, _ := bridge(t)
	_, host := bridge(t) // another address than the one that clients come from: mail never goes back to where it came from
	z, err := zone.ParseString(containerZone)
	if err != nil {
		t.Fatal(err)
	}
	names, err := zone.NewServer(host+":0", z)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	hash, err := sasl.Hash(rand.Reader, "container")
	if err != nil {
		t.Fatal(err)
	}
	b := &boxed{t: t, image: image, network: network, dir: t.TempDir(), sink: startSinkAt(t, host+":0", nil)}
	b.volume = docker(t, "volume", "create")
	t.Cleanup(func() { docker(t, "volume", "rm", b.volume) })
	text := strings.NewReplacer("{{dns}}", names.Addr(), "{{sink}}", b.sink.Addr, "{{hash}}", hash).Replace(containerConfig)
	writeFile(t, b.dir, "gatepost.yaml", text)
	makeCertificate(t, filepath.Join(b.dir, "tls.crt"), filepath.Join(b.dir, "tls.key"), "mx.example.test")
	readable(t, b.dir)
	return b
}

// readable gives the files of a directory to the user of the container.
func readable(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, dir) {
		if err := os.Chmod(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts a container; remove is called by the test or its end.
func (b *boxed) run() {
	b.t.Helper()
	b.name = docker(b.t, "run", "--detach", "--network", b.network, "--read-only", "--user", "65532:65532", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--health-interval", "1s", "--volume", b.dir+":/etc/gatepost:ro",
		"--volume", b.volume+":/var/lib/gatepost", "--publish", "127.0.0.1::2525", "--publish", "127.0.0.1::2587",
		"--publish", "127.0.0.1::8026", b.image)
	b.t.Cleanup(b.remove)
	waitHealthy(b.t, b.name)
}

// waitHealthy waits for what HEALTHCHECK says.
func waitHealthy(t testing.TB, name string) {
	t.Helper()
	waitFor(t, 40*time.Second, "the container to be healthy", func() bool {
		state := docker(t, "inspect", "--format", "{{.State.Status}} {{.State.Health.Status}}", name)
		if strings.HasPrefix(state, "exited") {
			t.Fatalf("the container ended:\n%s", containerLog(name))
		}
		return state == "running healthy"
	})
}

func (b *boxed) remove() {
	if b.name == "" {
		return
	}
	if b.t.Failed() {
		b.t.Logf("log of the container:\n%s", tail(containerLog(b.name)))
	}
	docker(b.t, "rm", "--force", b.name)
	b.name = ""
}

func containerLog(name string) string {
	out, err := output(nil, nil, "docker", "logs", name)
	if err != nil {
		out += err.Error()
	}
	return out
}

// address is where a port of the container is published.
func (b *boxed) address(port string) string {
	b.t.Helper()
	return docker(b.t, "port", b.name, port+"/tcp")
}

// state is a field of what the engine knows about the container.
func (b *boxed) state(field string) string {
	b.t.Helper()
	return docker(b.t, "inspect", "--format", "{{.State."+field+"}}", b.name)
}

func (b *boxed) deliver(subject string) string {
	b.t.Helper()
	code, text, err := deliver(b.address("2525"), "client.world.test", "a@world.test", []string{"b@example.test"},
		letter("a@world.test", "b@example.test", subject, "through the container"))
	if err != nil || code != 250 {
		b.t.Fatalf("delivery to the container: %d %s %v", code, text, err)
	}
	return queuedID(b.t, text)
}

// testContainerRelays sends a message each way: judged from the world, signed
// from a user, with a key made by the command line in the container.
func testContainerRelays(t *testing.T, image string) {
	b := newBoxed(t, image)
	b.run()
	id := b.deliver("judged in a container")
	got := b.sink.wait(t, "judged in a container")
	contains(t, unfolded(got.Data), "Authentication-Results: example.test", "spf=pass", "dmarc=pass", "by mx.example.test")

	r, err := http.Get("http://" + b.address("8026") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s", r.Status)
	}
	inside := func(args ...string) string {
		return docker(t, append([]string{"exec", b.name, "/usr/bin/gatepost"}, args...)...)
	}
	contains(t, inside("trace", id), "delivered")
	inside("dkim", "create", "example.test", "--selector", "box", "--activate")

	d := mustDial(t, b.address("2587"))
	d.expect(t, 250, "EHLO client.example.test")
	if err := d.startTLS(); err != nil {
		t.Fatal(err)
	}
	d.expect(t, 250, "EHLO client.example.test")
	d.expect(t, 235, "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00demo\x00container")))
	code, text, err := d.transaction("demo@example.test", []string{"x@world.test"}, letter("demo@example.test", "x@world.test", "signed in a container", "x"))
	if err != nil || code != 250 {
		t.Fatalf("submission: %d %s %v", code, text, err)
	}
	contains(t, unfolded(b.sink.wait(t, "signed in a container").Data), "DKIM-Signature:", "d=example.test", "s=box")
	b.restarted()
}

// restarted shows that the key is kept in the volume.
func (b *boxed) restarted() {
	b.t.Helper()
	docker(b.t, "restart", "--time", "20", b.name)
	waitHealthy(b.t, b.name)
	contains(b.t, docker(b.t, "exec", b.name, "/usr/bin/gatepost", "dkim", "list"), "box")
}

// testContainerStops stops it while a client idles.
func testContainerStops(t *testing.T, image string) {
	const grace = 20 * time.Second
	b := newBoxed(t, image)
	b.run()
	d := mustDial(t, b.address("2525"))
	d.expect(t, 250, "EHLO client.world.test")
	begin := time.Now()
	docker(t, "stop", "--time", fmt.Sprint(int(grace.Seconds())), b.name)
	if took := time.Since(begin); took >= grace {
		t.Errorf("docker stop took %s: the gateway was killed, it did not end", took)
	}
	if code := b.state("ExitCode"); code != "0" {
		t.Errorf("exit code %s, want 0", code)
	}
	if code, text, err := d.reply(); code != 421 {
		t.Errorf("an idle client got %q, %v; want 421", text, err)
	}
}

// testContainerKilled kills it while a message waits, and takes up the queue
// in another container.
func testContainerKilled(t *testing.T, image string) {
	b := newBoxed(t, image)
	var open atomic.Bool
	var tries atomic.Int64
	b.sink.OnMail = func(string) error {
		tries.Add(1)
		if open.Load() {
			return nil
		}
		return smtpError(451, smtp.EnhancedCode{4, 3, 0}, "not now")
	}
	b.run()
	b.deliver("outlives its container")
	waitFor(t, 20*time.Second, "a first attempt", func() bool { return tries.Load() > 0 })
	docker(t, "kill", "--signal", "KILL", b.name)
	if code := b.state("ExitCode"); code != "137" {
		t.Errorf("exit code %s after SIGKILL, want 137", code)
	}
	b.remove()
	if n := len(b.sink.all()); n != 0 {
		t.Fatalf("the sink has %d messages before it took one", n)
	}
	open.Store(true)
	b.run()
	contains(t, unfolded(b.sink.wait(t, "outlives its container").Data), "spf=pass")
}
