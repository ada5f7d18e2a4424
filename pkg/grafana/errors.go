package grafana

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// AuthError says that Grafana did not accept the credentials (401) or that
// they don't suffice (403).
type AuthError struct {
	doing   string
	Address string
	Status  int
	As      string // whose credentials, without the secret
	Message string // Grafana's own words
}

func (e *AuthError) Error() string {
	what := fmt.Sprintf("could not %s at %s as %s: ", e.doing, e.Address, e.As)
	if e.Status == http.StatusUnauthorized {
		what += "it answered 401 Unauthorized" + said(e.Message)
		return what + "; the admin Secret may no longer match Grafana's database, which keeps the password of its first start: reset it with grafana-cli admin reset-admin-password in the pod, or give a service account token"
	}
	return what + "it answered 403 Forbidden" + said(e.Message) + "; the account needs the role Editor or the permission annotations:write for annotations, and Viewer for dashboards"
}

// StatusError says that Grafana, or something else at its address, answered
// with something else than a success.
type StatusError struct {
	doing   string
	Address string
	Status  int // HTTP status
	Message string
}

func (e *StatusError) Error() string {
	what := fmt.Sprintf("could not %s at %s: it answered %d %s%s", e.doing, e.Address, e.Status, http.StatusText(e.Status), said(e.Message))
	switch {
	case e.Status >= 300 && e.Status <= 399:
		return what + "; an authenticating proxy is in front of it: reach its pod or Service directly"
	case e.Status == http.StatusNotFound:
		return what + "; it may have been deleted since, or Grafana is served under a path prefix: give the prefix in the address"
	case e.Status >= 500:
		return what + "; check the log of its pod"
	case e.Status < 300:
		return what + "; check that this address is Grafana's"
	}
	return what + "; check Grafana's version (10 or newer is expected) and its log"
}

// UnreachableError says that no answer came from Grafana.
type UnreachableError struct {
	doing   string
	Address string
	Err     error
}

func (e *UnreachableError) Error() string {
	if errors.Is(e.Err, context.DeadlineExceeded) {
		return fmt.Sprintf("could not %s: %s did not answer in time; check the state and log of Grafana's pod: %v", e.doing, e.Address, e.Err)
	}
	return fmt.Sprintf("could not %s: %s can't be reached; check that Grafana's pod is ready and the address is right: %v", e.doing, e.Address, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

func said(message string) string {
	if message == "" {
		return ""
	}
	return " (" + message + ")"
}
