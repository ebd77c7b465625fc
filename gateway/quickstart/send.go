package quickstart

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const sampleText = "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%d.quickstart@%s>\r\nMIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n\r\nHello from the quickstart.\r\n"

func (q *quick) sample(from, to, subject string) []byte {
	now := q.o.Now()
	_, domain, _ := strings.Cut(from, "@")
	return fmt.Appendf(nil, sampleText, from, to, subject, now.Format(time.RFC1123Z), now.UnixNano(), domain)
}

// sendInbound plays a server of world.test that brings us mail.
func (q *quick) sendInbound() error {
	message := q.sample("alice@world.test", "bob@gatepost.test", "Quickstart, inbound")
	var signed bytes.Buffer
	err := dkim.Sign(&signed, bytes.NewReader(message), &dkim.SignOptions{
		Domain: "world.test", Selector: "w1", Signer: q.worldKey,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return fmt.Errorf("sign as world.test: %w", err)
	}
	c, err := smtp.Dial(q.o.MX)
	if err != nil {
		return fmt.Errorf("connect to the mx listener: %w", err)
	}
	defer c.Close()
	if err := c.Hello("client.world.test"); err != nil {
		return fmt.Errorf("EHLO on the mx listener: %w", err)
	}
	if err := c.SendMail("alice@world.test", []string{"bob@gatepost.test"}, &signed); err != nil {
		return fmt.Errorf("send through the mx listener: %w", err)
	}
	return c.Quit()
}

// sendOutbound plays a user who submits mail.
func (q *quick) sendOutbound() error {
	c, err := smtp.DialStartTLS(q.o.Submission, &tls.Config{ServerName: "mx.gatepost.test", InsecureSkipVerify: true}) // our own certificate on loopback
	if err != nil {
		return fmt.Errorf("connect to the submission listener: %w", err)
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", demoUser, demoPassword)); err != nil {
		return fmt.Errorf("AUTH on the submission listener: %w", err)
	}
	message := q.sample("bob@gatepost.test", "alice@world.test", "Quickstart, outbound")
	if err := c.SendMail("bob@gatepost.test", []string{"alice@world.test"}, bytes.NewReader(message)); err != nil {
		return fmt.Errorf("send through the submission listener: %w", err)
	}
	return c.Quit()
}

// arrival waits for a message whose Subject contains subject and that was not
// in the Maildir before.
func (q *quick) arrival(ctx context.Context, subject string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, q.o.Wait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		files, err := filepath.Glob(filepath.Join(q.hop.maildir, "new", fmt.Sprintf("%d_*", os.Getpid())))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil && bytes.Contains(b, []byte("\r\nSubject: "+subject)) {
				return b, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the message %q did not arrive within %s; the log above says why", subject, q.o.Wait)
		case <-tick.C:
		}
	}
}

// freePort tells early and plainly that an address is taken.
func freePort(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%s cannot be used: %w; choose another (gatepost quickstart --help)", address, err)
	}
	return l.Close()
}
