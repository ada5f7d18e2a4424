package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
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
	server := c.rest.Host
	var unreachable *url.Error
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("could not %s: the cluster does not allow it: %s; ask for a Role that grants it, and see what is granted with 'kubectl auth can-i --list'", doing, apiMessage(err))
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
