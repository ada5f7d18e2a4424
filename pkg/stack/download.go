package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// limits bound a download in time and size.
type limits struct {
	connect time.Duration // to open a connection, and again for TLS
	answer  time.Duration // from the request to the first byte of the answer
	stall   time.Duration // without a byte in the middle of an answer
	bytes   int64         // of one answer
}

func defaultLimits() limits {
	return limits{connect: 10 * time.Second, answer: 30 * time.Second, stall: 30 * time.Second, bytes: 64 << 20}
}

// downloader makes HTTP requests that end with a context and within limits,
// also those of libraries that know no context.
type downloader struct {
	client    *http.Client
	transport *http.Transport
}

func newDownloader(ctx context.Context, l limits) *downloader {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: l.connect}).DialContext,
		TLSHandshakeTimeout:   l.connect,
		ResponseHeaderTimeout: l.answer,
		ForceAttemptHTTP2:     true,
	}
	return &downloader{
		client:    &http.Client{Transport: &guard{ctx: ctx, base: transport, limits: l}},
		transport: transport,
	}
}

func (d *downloader) close() { d.transport.CloseIdleConnections() }

// get reads one address. accept "" leaves the encoding of the answer to the
// client; "identity" takes the bytes as they are.
func (d *downloader) get(ctx context.Context, u *url.URL, encoding string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kubectl-triton")
	if encoding != "" {
		req.Header.Set("Accept-Encoding", encoding)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &statusError{resp.StatusCode}
	}
	data, err := io.ReadAll(resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("the connection broke off in the middle of the answer")
	}
	return data, err
}

// statusError is an answer that is not a success.
type statusError struct{ code int }

func (e *statusError) Error() string {
	text := fmt.Sprintf("it answered %d %s", e.code, http.StatusText(e.code))
	switch e.code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return text + ": it wants credentials, or others"
	case http.StatusProxyAuthRequired:
		return text + ": the proxy wants credentials"
	}
	return text
}

// withoutURL leaves out the address that the caller names anyway.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// guard binds each request to one context and ends answers that stall or don't
// end.
type guard struct {
	ctx    context.Context
	base   http.RoundTripper
	limits limits
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(g.ctx)
	resp, err := g.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &guardedBody{body: resp.Body, cancel: cancel, stall: g.limits.stall, limit: g.limits.bytes, left: g.limits.bytes}
	return resp, nil
}

type guardedBody struct {
	body    io.ReadCloser
	cancel  context.CancelFunc
	stall   time.Duration
	limit   int64
	left    int64
	stalled atomic.Bool
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the answer is larger than %d MB", b.limit>>20)
	}
	timer := time.AfterFunc(b.stall, func() {
		b.stalled.Store(true)
		b.cancel()
	})
	n, err := b.body.Read(p)
	timer.Stop()
	b.left -= int64(n)
	if err != nil && b.stalled.Load() {
		return n, fmt.Errorf("no data came for %s in the middle of the answer", b.stall)
	}
	return n, err
}

func (b *guardedBody) Close() error {
	b.cancel()
	return b.body.Close()
}
