package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
)

// UnreachableError says that no answer came from Prometheus.
type UnreachableError struct {
	Address string
	Err     error
}

func (e *UnreachableError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("Prometheus at %s did not answer in time; check its pod's state and log: %v", e.Address, e.Err)
	}
	return fmt.Sprintf("could not reach Prometheus at %s; check that its pod is ready and the address is right: %v", e.Address, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// StatusError says that something answered at Prometheus' address, but not
// with an answer of its API.
type StatusError struct {
	Address string
	Status  int // HTTP status
	Detail  string
}

func (e *StatusError) Error() string {
	what := fmt.Sprintf("Prometheus at %s answered HTTP %d %s", e.Address, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		what += " (" + e.Detail + ")"
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return what + "; it is behind an authenticating proxy: reach its pod or Service directly"
	case http.StatusNotFound:
		return what + "; check that this is Prometheus and, if it is served under a path prefix, give the prefix in the address"
	case http.StatusServiceUnavailable:
		return what + "; it may still be replaying its log: wait for its pod to be ready and try again"
	}
	return what + "; check its pod's log"
}

// APIError says that Prometheus understood the request and refused it.
type APIError struct {
	Address string
	Type    string // Prometheus' error type, e.g. bad_data, execution, timeout
	Message string
}

func (e *APIError) Error() string {
	what := fmt.Sprintf("Prometheus at %s refused a query (%s): %s", e.Address, e.Type, e.Message)
	switch v1.ErrorType(e.Type) {
	case v1.ErrTimeout, v1.ErrCanceled:
		return what + "; it is overloaded, or its --query.timeout is too short: try again or ask for a shorter window"
	case v1.ErrExec:
		return what + "; ask for a shorter window or raise its --query.max-samples"
	}
	return what + "; check that its version is 2.x or newer"
}

// badAnswerError says that an answer could not be understood.
type badAnswerError struct {
	address, what string
	err           error
}

func (e *badAnswerError) Error() string {
	return fmt.Sprintf("the answer of Prometheus at %s to %s makes no sense; check that this is Prometheus: %v", e.address, e.what, e.err)
}

func (e *badAnswerError) Unwrap() error { return e.err }

// explain turns an error of the API client into one of the errors above.
func (p *Prometheus) explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	var api *v1.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("gave up asking Prometheus at %s for %s: %w", p.address, doing, context.Cause(ctx))
	case errors.As(err, &api):
		var status int
		if _, scanErr := fmt.Sscanf(lastField(api.Msg), "%d", &status); scanErr == nil && (api.Type == v1.ErrServer || api.Type == v1.ErrClient) {
			return &StatusError{Address: p.address, Status: status, Detail: firstLine(api.Detail)}
		}
		if api.Type == v1.ErrBadResponse {
			return &badAnswerError{address: p.address, what: doing, err: err}
		}
		return &APIError{Address: p.address, Type: string(api.Type), Message: firstLine(api.Msg)}
	}
	return &UnreachableError{Address: p.address, Err: err}
}

func lastField(s string) string {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

// firstLine keeps a foreign message short; an HTML page says nothing to anyone.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if strings.HasPrefix(s, "<") {
		return ""
	}
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.TrimSpace(s)
}
