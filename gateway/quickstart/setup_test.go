package quickstart

import (
	"testing"

	"gatepost/config"
)

// A data directory called "my mail #1: test" broke the configuration that
// quickstart wrote into it.
func TestDirectoryMayBeCalledAnything(t *testing.T) {
	for _, dir := range []string{"/srv/plain", "/srv/my mail #1: test", `/srv/"quoted" {braces}, \\back`, "/srv/grün"} {
		o := Options{Dir: dir, MX: "127.0.0.1:2525", Submission: "127.0.0.1:2587", NextHop: "127.0.0.1:2526", Health: "127.0.0.1:8026"}
		c, _ := config.Parse("gatepost.yaml", []byte(configuration(o, "127.0.0.1:2553", "$argon2id$x"))) // the certificates are not there
		if c == nil || c.DataDir != dir || len(c.TLS.Certificates) != 1 || c.TLS.Certificates[0].Key != dir+"/tls.key" {
			t.Errorf("%s: %+v", dir, c)
		}
	}
}
