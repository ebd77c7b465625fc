package wire_test
import ("testing";"time";"os";"fmt")
func slow(t *testing.T, octets, cuts []byte) func() {
	s := time.Now()
	return func(){ if d := time.Since(s); d > 500*time.Millisecond { f,_ := os.OpenFile("/tmp/slow.txt", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); fmt.Fprintf(f, "%v %q %v\n", d, octets, cuts); f.Close() } }
}
