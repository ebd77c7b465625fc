package arc

import (
	"crypto"
	"crypto/ed25519"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestFolding: lines are short where they can be, and never too long; names
// break behind colons, b= only where it must.
func TestFolding(t *testing.T) {
	long := strings.Repeat("X", 100)
	f := newFolder("Name")
	f.word("one;")
	f.names([]string{long, "From", long, "To", strings.Repeat("Y", 60), "Date", strings.Repeat("Z", 20)})
	f.signature(strings.Repeat("b", 400))
	f.word("t=1")
	want := "Name: one;\r\n h=" + long + ":\r\n From:\r\n " + long + ":\r\n To:" + strings.Repeat("Y", 60) + ":Date:\r\n " + strings.Repeat("Z", 20) + ";\r\n b=" + strings.Repeat("b", 400) + ";\r\n t=1\r\n"
	if got := f.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	f = newFolder("Name")
	f.signature(strings.Repeat("b", 2000))
	f.names([]string{long})
	for line := range strings.SplitSeq(f.String(), "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if got := strings.NewReplacer("\r\n", "", " ", "").Replace(f.String()); got != "Name:b="+strings.Repeat("b", 2000)+";h="+long+";" {
		t.Errorf("got %s", got)
	}
	for n := 60; n < 80; n++ {
		f = newFolder("Name")
		f.word(strings.Repeat("w", n))
		f.word("x")
		for line := range strings.SplitSeq(f.String(), "\r\n") {
			if len(line) > 78 && n <= lineLength {
				t.Errorf("a line of %d octets", len(line))
			}
		}
	}
}

// slowKey counts how many signatures are being made.
type slowKey struct {
	crypto.Signer
	running, most *atomic.Int32
}

func (k slowKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	n := k.running.Add(1)
	for most := k.most.Load(); n > most && !k.most.CompareAndSwap(most, n); most = k.most.Load() {
	}
	synctest.Wait() // until all others wait for a slot
	k.running.Add(-1)
	return nil, nil
}

func TestSignaturesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		key := bounded{slowKey{ed25519.PrivateKey{}, &running, &most}, make(chan struct{}, 1)}
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() { key.Sign(nil, nil, crypto.SHA256) })
		}
		group.Wait()
		if most.Load() != 1 {
			t.Errorf("%d at once", most.Load())
		}
	})
}
