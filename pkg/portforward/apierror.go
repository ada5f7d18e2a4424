package portforward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// request is what was asked of the API server.
type request struct {
	verb      string
	resource  string
	kind      string // of the named object
	namespace string
	name      string
}

// apiFailure is an answer of the API server that has no type of its own.
type apiFailure struct {
	request request
	err     error
}

func (e *apiFailure) Error() string {
	return fmt.Sprintf("the API server could not %s %s in namespace %q: %v", e.request.verb, e.request.resource, e.request.namespace, e.err)
}

func (e *apiFailure) Unwrap() error { return e.err }

func (e *apiFailure) ErrorClass() string { return classConnect }

// deniedBy is how the API server's authorizer words a denial.
var deniedBy = regexp.MustCompile(`cannot (\S+) resource "([^"]+)"`)

// apiError gives an error of an API request its type.
func (d *Dialer) apiError(err error, r request) error {
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case apierrors.IsForbidden(err):
		// The authorizer may have asked for another verb than the request
		// suggests: opening a WebSocket is a GET but needs "create" or "get".
		if m := deniedBy.FindStringSubmatch(err.Error()); m != nil {
			r.verb, r.resource = m[1], m[2]
		}
		return &ForbiddenError{Verb: r.verb, Resource: r.resource, Namespace: r.namespace, Name: r.name, Err: err}
	case apierrors.IsUnauthorized(err):
		return &UnauthorizedError{Host: d.rest.Host, Err: err}
	case apierrors.IsNotFound(err) && r.name != "":
		return &NotFoundError{Kind: r.kind, Namespace: r.namespace, Name: r.name, Err: err}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) && neverAnswered(err) {
		return &UnreachableError{Host: d.rest.Host, Err: err}
	}
	return &apiFailure{request: r, err: err}
}

// neverAnswered says that no HTTP answer came: the network, TLS or a time-out.
func neverAnswered(err error) bool {
	var network net.Error
	var inURL *url.Error
	var operation *net.OpError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	return errors.As(err, &network) || errors.As(err, &inURL) || errors.As(err, &operation) ||
		errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}
