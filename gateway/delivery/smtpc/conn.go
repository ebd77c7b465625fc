package smtpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"gatepost/mail"
)

// Timeouts bound the waits for a server. Zero values mean the defaults, which
// are those of RFC 5321 section 4.5.3.2 where it names one.
type Timeouts struct {
	Greeting  time.Duration // 5 minutes
	Hello     time.Duration // 5 minutes: EHLO, HELO, LHLO, STARTTLS, each step of AUTH
	TLS       time.Duration // 1 minute: a handshake
	Mail      time.Duration // 5 minutes
	Rcpt      time.Duration // 5 minutes
	Data      time.Duration // 2 minutes
	DataBlock time.Duration // 3 minutes: one write of the message
	DataEnd   time.Duration // 10 minutes: the reply to the final dot
	Quit      time.Duration // 2 seconds
	// Interrupted is how long the reply to a final dot is still awaited when
	// the context has ended: 5 seconds. To give up there makes duplicates.
	Interrupted time.Duration
}

func (t *Timeouts) setDefaults() {
	for value, fallback := range map[*time.Duration]time.Duration{
		&t.Greeting: 5 * time.Minute, &t.Hello: 5 * time.Minute, &t.TLS: time.Minute,
		&t.Mail: 5 * time.Minute, &t.Rcpt: 5 * time.Minute, &t.Data: 2 * time.Minute,
		&t.DataBlock: 3 * time.Minute, &t.DataEnd: 10 * time.Minute,
		&t.Quit: 2 * time.Second, &t.Interrupted: 5 * time.Second,
	} {
		if *value == 0 {
			*value = fallback
		}
	}
}

// WithDefaults fills in the defaults.
func (t Timeouts) WithDefaults() Timeouts {
	t.setDefaults()
	return t
}

// Options of a Conn.
type Options struct {
	LMTP     bool
	Name     string // that we say in EHLO
	Timeouts Timeouts
	Buffers  *Buffers // shared by connections; nil: own ones
}

// Conn is one connection to a server. It serves one caller at a time.
type Conn struct {
	options Options
	raw     net.Conn // the socket, for deadlines
	stream  net.Conn // the socket or TLS over it
	replies *replyReader
	out     []byte // commands not yet written
	ext     Extensions
	host    string // what the server calls itself
	tls     string
	ctx     context.Context // of the operation under way
	broken  bool
	unclean bool // a transaction was begun and not ended by its final dot

	deadline sync.Mutex // between arm and interrupt
	patient  bool       // the final dot is sent: an ended context still waits a little
}

// New takes over a connected socket.
func New(nc net.Conn, o Options) *Conn {
	o.Timeouts.setDefaults()
	if o.Buffers == nil {
		o.Buffers = NewBuffers()
	}
	return &Conn{options: o, raw: nc, stream: nc, replies: newReplyReader(nc)}
}

// TLS tells the version and cipher, empty without TLS.
func (c *Conn) TLS() string { return c.tls }

// Usable tells whether another transaction may be tried.
func (c *Conn) Usable() bool { return !c.broken }

// Close ends the connection at once.
func (c *Conn) Close() error {
	c.broken = true
	return c.raw.Close()
}

// Quit ends the session and the connection (RFC 5321 section 4.1.1.10). It
// takes the Quit time-out at most.
func (c *Conn) Quit() {
	defer c.Close()
	if c.broken {
		return
	}
	c.setDeadline(c.options.Timeouts.Quit)
	if _, err := c.stream.Write([]byte("QUIT\r\n")); err == nil {
		_, _ = c.replies.next() // whatever it says, the session is over
	}
}

// begin starts an operation that ends early when ctx does. The function it
// returns ends the operation.
func (c *Conn) begin(ctx context.Context) (end func()) {
	c.ctx = ctx
	c.setPatient(false)
	stop := context.AfterFunc(ctx, c.interrupt)
	return func() {
		if !stop() {
			c.broken = true // interrupt may still be touching the deadline
		}
	}
}

// arm sets the deadline of the next reads and writes. It is the clock of the
// operating system that wakes us, so this is the real time.
func (c *Conn) arm(timeout time.Duration) {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	if c.ctx.Err() != nil {
		timeout = c.reprieve()
	}
	c.setDeadline(timeout)
}

// interrupt ends the wait under way.
func (c *Conn) interrupt() {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	c.setDeadline(c.reprieve())
}

// reprieve is how long an operation goes on when its context has ended.
func (c *Conn) reprieve() time.Duration {
	if c.patient {
		return c.options.Timeouts.Interrupted
	}
	return 0
}

func (c *Conn) setPatient(patient bool) {
	c.deadline.Lock()
	defer c.deadline.Unlock()
	c.patient = patient
}

func (c *Conn) setDeadline(timeout time.Duration) {
	// A socket that takes no deadline is closed; the read or write tells.
	_ = c.raw.SetDeadline(time.Now().Add(timeout))
}

// flush writes the commands that wait, in one write.
func (c *Conn) flush(timeout time.Duration) error {
	c.arm(timeout)
	_, err := c.stream.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return fmt.Errorf("write: %w", c.cause(err))
	}
	return nil
}

// reply reads one reply. Whatever ends the session is an error.
func (c *Conn) reply(stage Stage, timeout time.Duration) (mail.Reply, error) {
	c.arm(timeout)
	reply, err := c.replies.next()
	if err != nil {
		return mail.Reply{}, c.fail(stage, c.cause(err))
	}
	if reply.Code == 421 { // RFC 5321 section 3.8: the server closes the channel
		c.broken = true
		return reply, &Error{Stage: stage, Reply: reply}
	}
	return reply, nil
}

// command writes one command and reads its reply.
func (c *Conn) command(stage Stage, timeout time.Duration, line string) (mail.Reply, error) {
	c.out = append(append(c.out, line...), "\r\n"...)
	if err := c.flush(timeout); err != nil {
		return mail.Reply{}, c.fail(stage, err)
	}
	return c.reply(stage, timeout)
}

func (c *Conn) fail(stage Stage, err error) error {
	c.broken = true
	return &Error{Stage: stage, Err: err}
}

// cause names an ended context instead of the time-out that it provoked.
func (c *Conn) cause(err error) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

// describeTLS is the version and cipher, as they stand in Received fields and logs.
func describeTLS(state tls.ConnectionState) string {
	return tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
}
