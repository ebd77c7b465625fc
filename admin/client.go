package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// ErrNotRunning tells that nobody answers on the socket.
var ErrNotRunning = errors.New("the gateway is not running")

// dialTimeout bounds the wait for the socket; a call itself may take longer.
const dialTimeout = 5 * time.Second

// Client asks a gateway.
type Client struct {
	ask  func(ctx context.Context, name string, question []byte) (status int, answer []byte, err error)
	idle func()
}

// Dial makes a client of the socket. It fails with ErrNotRunning when nobody
// listens there.
func Dial(socket string) (*Client, error) {
	c, err := net.DialTimeout("unix", socket, dialTimeout)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: nobody listens on %s", ErrNotRunning, socket)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the gateway on %s: %w", socket, err)
	}
	c.Close()
	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
	}}}
	post := func(ctx context.Context, name string, question []byte) (int, []byte, error) {
		return post(ctx, h, name, question)
	}
	return &Client{post, h.CloseIdleConnections}, nil
}

func post(ctx context.Context, h *http.Client, name string, question []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gatepost/v1/"+name, bytes.NewReader(question))
	if err != nil {
		return 0, nil, err
	}
	resp, err := h.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the gateway: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	return resp.StatusCode, body, nil
}

// Local makes a client of functions in this process.
func Local(functions map[string]Function) *Client {
	call := func(ctx context.Context, name string, question []byte) (int, []byte, error) {
		f, ok := functions[name]
		if !ok {
			return http.StatusNotFound, nil, nil
		}
		status, answer := outcome(f(ctx, question))
		b, err := json.Marshal(answer)
		return status, b, err
	}
	return &Client{call, func() {}}
}

// Close lets go of the client's connections.
func (c *Client) Close() { c.idle() }

// Ask calls name and reads its answer into answer, which may be nil.
func (c *Client) Ask(ctx context.Context, name string, question, answer any) error {
	b, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("write the question: %w", err)
	}
	status, body, err := c.ask(ctx, name, b)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return problem(status, name, body)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

func problem(status int, name string, body []byte) error {
	p := &Problem{Status: status}
	if json.Unmarshal(body, p) != nil || p.Message == "" {
		p.Message = fmt.Sprintf("the running gateway does not know %q (HTTP %d); is it another version?", name, status)
	}
	return p
}
