package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 3 * time.Second
)

// persist calls f again while the API server is away or asks for patience, as
// during its restart, until ctx ends.
func persist(ctx context.Context, f func(context.Context) error) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := f(ctx)
		if err == nil || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// transient says whether the same request may succeed a little later.
func transient(err error) bool {
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err), apierrors.IsTimeout(err):
		return true
	case utilnet.IsConnectionRefused(err), utilnet.IsConnectionReset(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	case errors.As(err, &network) && network.Timeout():
		return true
	}
	// Helm keeps only the text of what failed.
	text := err.Error()
	for _, sign := range []string{"connection refused", "connection reset by peer", "unexpected EOF", ": EOF", "apiserver not ready", "client connection lost", "http2: server sent GOAWAY", "the server is currently unable to handle the request", "etcdserver: "} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
