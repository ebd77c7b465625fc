package integration

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Published base images cannot be had everywhere. The functions here make
// stand-ins for them of what this machine has, so that the Dockerfiles
// themselves are built and not copies of them.

// Stand-ins stay in the engine between runs; a change of what goes into them
// changes the tag.
const (
	goBaseName      = "gatepost-test/golang"
	unboundBaseName = "gatepost-test/debian"
	baseRecipe      = "3"
)

// dockerWait bounds every call of docker; building the image takes longest.
const dockerWait = 3 * time.Minute

// docker runs docker and returns its standard output.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := tryDocker(nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryDocker(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dockerWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, diagnostics bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdin, &out, &diagnostics, time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s%s", strings.Join(args, " "), err, tail(out.String()), tail(diagnostics.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// dockerEngine skips the test loudly where no engine answers.
func dockerEngine(t testing.TB) {
	t.Helper()
	tool(t, "docker")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no docker engine answers, so no container was tested: %v\n%s", err, out)
	}
}

// baseImage makes the image name:hash by fill, unless it is there.
func baseImage(t testing.TB, name, hash string, changes []string, fill func(*rootfs)) string {
	t.Helper()
	tag := name + ":" + hash[:16]
	if _, err := tryDocker(nil, "image", "inspect", tag); err == nil {
		return tag
	}
	if old, err := tryDocker(nil, "images", "--quiet", name); err == nil && old != "" {
		tryDocker(nil, append([]string{"rmi", "--force"}, strings.Fields(old)...)...) // of another recipe; in use is in use
	}
	args := []string{"import"}
	for _, c := range changes {
		args = append(args, "--change", c)
	}
	r, w := io.Pipe()
	imported := make(chan error, 1)
	go func() {
		_, err := tryDocker(r, append(args, "-", tag)...)
		r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		imported <- err
	}()
	defer w.CloseWithError(errors.New("the stand-in was not finished")) // when fill ends the test
	root := &rootfs{w: tar.NewWriter(w), have: map[string]bool{}}
	fill(root)
	filled := errors.Join(root.err, root.w.Close())
	w.CloseWithError(filled)
	if err := errors.Join(filled, <-imported); err != nil {
		t.Fatal(err)
	}
	return tag
}

// rootfs is the tar of an image's file system. The first error stays.
type rootfs struct {
	w    *tar.Writer
	have map[string]bool
	err  error
}

func (r *rootfs) write(h *tar.Header, content io.Reader) {
	if r.err != nil || r.have[h.Name] {
		return
	}
	r.have[h.Name] = true
	if r.err = r.w.WriteHeader(h); r.err == nil && content != nil {
		_, r.err = io.Copy(r.w, content)
	}
}

// dir adds a directory and those above it.
func (r *rootfs) dir(name string, mode int64) {
	name = strings.Trim(name, "/")
	if parent := filepath.Dir(name); parent != "." {
		r.dir(parent, 0o755)
	}
	r.write(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (r *rootfs) link(name, target string) {
	r.dir(filepath.Dir(name), 0o755)
	r.write(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.Trim(name, "/"), Linkname: target}, nil)
}

func (r *rootfs) text(name string, mode int64, text string) {
	r.dir(filepath.Dir(name), 0o755)
	r.write(&tar.Header{Typeflag: tar.TypeReg, Name: strings.Trim(name, "/"), Mode: mode, Size: int64(len(text))}, strings.NewReader(text))
}

// file adds a file of this machine, what a link leads to as a file.
func (r *rootfs) file(name, from string) {
	f, err := os.Open(from)
	if err != nil {
		r.err = errors.Join(r.err, err)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		r.err = errors.Join(r.err, err)
		return
	}
	r.dir(filepath.Dir(name), 0o755)
	r.write(&tar.Header{Typeflag: tar.TypeReg, Name: strings.Trim(name, "/"), Mode: int64(st.Mode().Perm()), Size: st.Size()}, f)
}

// tree adds the files below a directory that want chooses.
func (r *rootfs) tree(name, from string, want func(path string) bool) {
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.Type().IsRegular() && want(rel) {
			r.file(filepath.Join(name, rel), path)
		}
		return r.err
	})
	r.err = errors.Join(r.err, err)
}

// shell adds a shell and the tools that the Dockerfiles use.
func (r *rootfs) shell() {
	r.file("/bin/busybox", "/bin/busybox")
	for _, applet := range []string{"sh", "mkdir", "cp", "rm", "chown"} {
		r.link("/bin/"+applet, "busybox")
	}
	r.dir("/tmp", 0o1777)
	r.text("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
}

// goEnv asks the go command about itself.
func goEnv(t testing.TB, name string) string {
	t.Helper()
	return strings.TrimSpace(goCommand(t, ".", nil, "env", name))
}

func goCommand(t testing.TB, dir string, env []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), dockerWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out)
}

// goBase stands in for golang:1.26-bookworm. It has the toolchain, the
// modules as a file proxy, and what the packages of other modules compile to,
// so that building the image takes seconds and needs no network.
func goBase(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("SKIPPED: the stand-in for the build image needs busybox-static; 'make deps' installs it")
	}
	key := sha256.New()
	fmt.Fprintln(key, baseRecipe, runtime.Version(), runtime.GOARCH)
	for _, f := range []string{"../go.mod", "../go.sum"} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		key.Write(b)
	}
	changes := []string{
		"ENV PATH=/usr/local/go/bin:/bin", "ENV GOPATH=/go", "ENV GOCACHE=/cache", "ENV GOTOOLCHAIN=local",
		"ENV GOPROXY=file:///modules", "ENV GOSUMDB=off",
	}
	return baseImage(t, goBaseName, hex.EncodeToString(key.Sum(nil)), changes, func(r *rootfs) {
		r.shell()
		toolchain(r, goEnv(t, "GOROOT"))
		modules(t, r)
		r.tree("/cache", compiledModules(t), func(string) bool { return true })
	})
}

// toolchain adds what 'go build' reads.
func toolchain(r *rootfs, goroot string) {
	for _, f := range []string{"bin/go", "VERSION", "go.env"} {
		r.file("/usr/local/go/"+f, filepath.Join(goroot, f))
	}
	for _, program := range []string{"asm", "compile", "link"} {
		p := filepath.Join("pkg/tool", runtime.GOOS+"_"+runtime.GOARCH, program)
		r.file("/usr/local/go/"+p, filepath.Join(goroot, p))
	}
	r.tree("/usr/local/go/pkg/include", filepath.Join(goroot, "pkg/include"), func(string) bool { return true })
	r.tree("/usr/local/go/src", filepath.Join(goroot, "src"), func(path string) bool {
		return !strings.HasPrefix(path, "cmd/") && !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/testdata/")
	})
}

// modules adds the modules that 'go mod download' asks for, as a proxy of files.
func modules(t testing.TB, r *rootfs) {
	dir := t.TempDir()
	for _, f := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile("../" + f)
		r.err = errors.Join(r.err, err)
		writeFile(t, dir, f, string(b))
	}
	cache := filepath.Join(goEnv(t, "GOMODCACHE"), "cache/download")
	list := json.NewDecoder(strings.NewReader(goCommand(t, dir, nil, "mod", "download", "-json")))
	for {
		var m struct{ Zip string }
		err := list.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		r.err = errors.Join(r.err, err)
		if r.err != nil {
			return
		}
		r.file("/modules/"+strings.TrimPrefix(m.Zip, cache), m.Zip)
	}
	r.tree("/modules", cache, func(path string) bool {
		return strings.HasSuffix(path, ".mod") || strings.HasSuffix(path, ".info")
	})
}

// compiledModules is a build cache that holds packages of other modules, and
// none of ours: those are compiled in the container.
func compiledModules(t testing.TB) string {
	cache := t.TempDir()
	env := []string{"CGO_ENABLED=0", "GOCACHE=" + cache}
	var others []string
	for _, p := range strings.Fields(goCommand(t, "..", env, "list", "-deps", "./cmd/gatepost")) {
		if p != "unsafe" && !strings.HasPrefix(p, "gatepost/") && !strings.HasPrefix(p, "vendor/") {
			others = append(others, p)
		}
	}
	goCommand(t, "..", env, append([]string{"build", "-trimpath", "-buildvcs=false"}, others...)...)
	return cache
}

// unboundBase stands in for debian:bookworm-slim with the package unbound and
// a package manager that has nothing left to do.
func unboundBase(t testing.TB) string {
	t.Helper()
	programs := map[string]string{}
	key := sha256.New()
	fmt.Fprintln(key, baseRecipe)
	for _, name := range []string{"unbound", "unbound-checkconf", "unbound-control"} {
		path := peer(t, "unbound/usr/sbin/"+name)
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = path
		fmt.Fprintln(key, name, st.Size(), st.ModTime())
	}
	const anchor = "/usr/share/dns/root.key"
	if _, err := os.Stat(anchor); err != nil {
		t.Skip("SKIPPED: the stand-in for the resolver's base needs dns-root-data; 'make deps' installs it")
	}
	changes := []string{"ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return baseImage(t, unboundBaseName, hex.EncodeToString(key.Sum(nil)), changes, func(r *rootfs) {
		r.shell()
		r.text("/usr/bin/apt-get", 0o755, "#!/bin/sh\nexit 0\n")
		r.file(anchor, anchor)
		for name, path := range programs {
			r.file("/usr/sbin/"+name, path)
			for _, lib := range libraries(t, path) {
				r.file(lib, lib)
			}
		}
	})
}

// libraries are the shared libraries of a program, by the loader's word.
func libraries(t testing.TB, program string) []string {
	out, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Errorf("ldd %s: %v", program, err)
		return nil
	}
	var libs []string
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			libs = append(libs, word)
		}
	}
	return libs
}
