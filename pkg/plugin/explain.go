package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// explainConfig turns a kubeconfig error into a sentence with the next step.
func explainConfig(err error) error {
	if clientcmd.IsEmptyConfig(err) {
		return errors.New("there is no kubeconfig to say which cluster to use: set KUBECONFIG or pass --kubeconfig, then check it with 'kubectl cluster-info'")
	}
	return fmt.Errorf("the kubeconfig can't be used: %w; check it with 'kubectl config view'", err)
}

// explain turns an error of a Kubernetes API call into a sentence: what could
// not be done, why, and what to try next. doing completes "could not …".
func (c *cluster) explain(err error, doing string) error {
	if err == nil {
		return nil
	}
	return &explained{c.sentence(err, doing), err}
}

// explained is an error that says what to try next, and what it explains.
type explained struct {
	error
	cause error
}

func (e *explained) Unwrap() []error { return []error{e.error, e.cause} }

func (c *cluster) sentence(err error, doing string) error {
	server := c.rest.Host
	var unreachable *url.Error
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("could not %s: the cluster does not allow it: %s; %s", doing, apiMessage(err), askForRole)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("could not %s: the API server at %s does not accept these credentials; log in again or choose another --context", doing, server)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("could not %s: the API server at %s did not answer in time; check the network or VPN and 'kubectl cluster-info'", doing, server)
	case errors.As(err, &dns), errors.As(err, &op), errors.As(err, &unreachable) && !apierrors.IsNotFound(err):
		return fmt.Errorf("could not %s: the API server at %s can't be reached: %w; check the network or VPN and 'kubectl cluster-info'", doing, server, innermost(err))
	default:
		return fmt.Errorf("could not %s: %w", doing, err)
	}
}

// advise adds to an error of pkg/stack, which says what could not be done, why
// the API server didn't and what to try next. Errors that aren't the API
// server's stay as they are: those of charts say their own next step.
func (c *cluster) advise(err error) error {
	var done *explained
	var usage *ExitError
	var charts *stack.UnreachableError
	if err == nil || errors.As(err, &done) || errors.As(err, &usage) || errors.As(err, &charts) {
		return err
	}
	const network = "check the network or VPN and 'kubectl cluster-info'"
	const webhooks = "see 'kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations'"
	var request *url.Error
	switch text := err.Error(); {
	// The API server's own words: a webhook chooses the code of its refusal.
	case strings.Contains(text, "admission webhook ") && strings.Contains(text, " denied the request"):
		return fmt.Errorf("%w; this is the rule of an admission webhook of the cluster, %s; run it again when it allows this", err, webhooks)
	case strings.Contains(text, "failed calling webhook "):
		return fmt.Errorf("%w; an admission webhook of the cluster doesn't answer: mend it or remove its configuration, %s, and run it again", err, webhooks)
	case strings.Contains(text, "exceeded quota: "):
		return fmt.Errorf("%w; raise the quota, or use another namespace by --stack-namespace", err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; %s", err, askForRole)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: the API server at %s does not accept these credentials; log in again or choose another --context", err, c.rest.Host)
	case errors.As(err, &request) && strings.HasPrefix(request.URL, c.rest.Host):
		why := fmt.Sprintf("the API server at %s can't be reached: %v", c.rest.Host, request.Err)
		if request.Timeout() {
			why = fmt.Sprintf("the API server at %s did not answer in time", c.rest.Host)
		}
		// The library's text repeats the address of the request.
		return &advised{strings.Replace(err.Error(), request.Error(), why, 1) + "; " + network, err}
	}
	return err
}

// advised is an error in better words.
type advised struct {
	text  string
	cause error
}

func (e *advised) Error() string { return e.text }
func (e *advised) Unwrap() error { return e.cause }

// apiMessage is the server's own sentence, without the client's wrapping.
func apiMessage(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	return err.Error()
}

// innermost strips the wrappers that only repeat the URL.
func innermost(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
