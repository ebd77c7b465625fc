package quickstart

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"gatepost/admin"
	"gatepost/auth/dkim"
	"gatepost/auth/keyring"
	"gatepost/dnsx"
	"gatepost/dnsx/zone"
	"gatepost/gateway"
	"gatepost/mail"
)

// Options say where the quickstart runs. All addresses are on the loopback network.
type Options struct {
	Dir        string // absolute
	MX         string // address of the mx listener
	Submission string
	NextHop    string
	DNS        string
	Health     string
	Once       bool          // end after the two messages
	Wait       time.Duration // for each message to arrive
	Version    string
	Out        io.Writer
	Logger     *slog.Logger
	Now        func() time.Time
}

// quick is one run.
type quick struct {
	o        Options
	zone     *zone.Zone
	dns      *zone.Server
	hop      *nextHop
	worldKey crypto.Signer
	client   *admin.Client
}

// Run does everything until ctx ends, or until both messages have arrived and
// verified with Once. An error says what did not work.
func Run(ctx context.Context, o Options) error {
	q := &quick{o: o}
	for _, a := range []string{o.MX, o.Submission, o.NextHop, o.Health} {
		if err := freePort(a); err != nil {
			return err
		}
	}
	if err := q.startDNS(); err != nil {
		return err
	}
	defer q.dns.Close()
	hop, err := startNextHop(o.NextHop, q.path("Maildir"))
	if err != nil {
		return err
	}
	q.hop = hop
	defer hop.Close()
	if err := q.setup(); err != nil {
		return err
	}
	return q.withGateway(ctx)
}

// withGateway runs the gateway around the demonstration.
func (q *quick) withGateway(ctx context.Context) error {
	c, wrong, _, err := gateway.CheckFile(ctx, q.path("gatepost.yaml"))
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return wrong
	}
	g, err := gateway.New(ctx, c, gateway.Options{Logger: q.o.Logger, Version: q.o.Version, Now: q.o.Now})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- g.Run(running) }()
	q.client = admin.Local(g.Functions())
	err = q.demonstrate(running)
	if err == nil && !q.o.Once {
		q.next()
		<-ctx.Done()
	}
	stop()
	return errors.Join(err, <-done)
}

// demonstrate sends one message each way and shows what arrived.
func (q *quick) demonstrate(ctx context.Context) error {
	if err := q.keys(ctx); err != nil {
		return err
	}
	q.title("Inbound: alice@world.test -> mx listener %s -> judged -> next hop", q.o.MX)
	if err := q.sendInbound(); err != nil {
		return err
	}
	in, err := q.arrival(ctx, "Quickstart, inbound")
	if err != nil {
		return err
	}
	q.headers(in)
	if !bytes.Contains(in, []byte("dmarc=pass")) {
		return errors.New("the inbound message arrived without dmarc=pass")
	}
	q.title("Outbound: bob@gatepost.test -> submission listener %s (STARTTLS, AUTH) -> signed -> next hop", q.o.Submission)
	if err := q.sendOutbound(); err != nil {
		return err
	}
	out, err := q.arrival(ctx, "Quickstart, outbound")
	if err != nil {
		return err
	}
	q.headers(out)
	return q.verify(ctx, out)
}

// keys makes the DKIM keys, publishes them in the zone and lets the gateway
// find them there, as an administrator would.
func (q *quick) keys(ctx context.Context) error {
	var have []keyring.Key // of an earlier run
	if err := q.client.Ask(ctx, "dkim/list", gateway.KeyQuestion{Domain: "gatepost.test"}, &have); err != nil {
		return fmt.Errorf("list the DKIM keys: %w", err)
	}
	for _, algorithm := range []string{"rsa-2048", "ed25519"} {
		if slices.ContainsFunc(have, func(k keyring.Key) bool { return string(k.Algorithm) == algorithm && k.State != keyring.Retired }) {
			continue
		}
		question := gateway.KeyQuestion{Domain: "gatepost.test", Algorithm: algorithm}
		if err := q.client.Ask(ctx, "dkim/create", question, nil); err != nil {
			return fmt.Errorf("make a DKIM key: %w", err)
		}
	}
	var lines []string
	if err := q.client.Ask(ctx, "dkim/dns", gateway.KeyQuestion{Domain: "gatepost.test"}, &lines); err != nil {
		return fmt.Errorf("ask for the DNS records: %w", err)
	}
	if err := q.publish(lines); err != nil {
		return fmt.Errorf("publish the DKIM keys: %w", err)
	}
	if err := q.client.Ask(ctx, "dkim/check", gateway.KeyQuestion{Domain: "gatepost.test"}, nil); err != nil {
		return fmt.Errorf("check the DKIM keys: %w", err)
	}
	return nil
}

// verify checks our own signatures as a receiver would.
func (q *quick) verify(ctx context.Context, message []byte) error {
	r, err := dnsx.New(dnsx.Options{Servers: []dnsx.Server{{Address: q.dns.Addr()}}})
	if err != nil {
		return err
	}
	defer r.Close()
	results, err := dkim.NewVerifier(dkim.Options{Resolver: r, Now: q.o.Now}).Verify(ctx, mail.MemoryBody(message))
	if err != nil {
		return fmt.Errorf("verify our signature: %w", err)
	}
	passed := 0
	for _, x := range results {
		fmt.Fprintf(q.o.Out, "our signature: dkim=%s header.d=%s header.s=%s header.a=%s %s\n", x.Value, x.Domain, x.Selector, x.Algorithm, x.Reason)
		if x.Value == "pass" {
			passed++
		}
	}
	if passed == 0 || passed != len(results) {
		return fmt.Errorf("%d of %d signatures of the outbound message verify", passed, len(results))
	}
	return nil
}
