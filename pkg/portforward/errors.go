package portforward

import (
	"fmt"
	"strings"
)

// Classes of failed connections, as load generators count them.
const (
	classConnect = "connect"
	classLost    = "connection lost"
)

// NotFoundError says that the Service or pod does not exist.
type NotFoundError struct {
	Kind      string // "Service" or "pod"
	Namespace string
	Name      string
	Err       error
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("there is no %s %q in namespace %q; see what is there with: kubectl get %s -n %s",
		e.Kind, e.Name, e.Namespace, strings.ToLower(e.Kind)+"s", e.Namespace)
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// ErrorClass groups the error for counting.
func (e *NotFoundError) ErrorClass() string { return classConnect }

// NoReadyPodError says that pods may exist, but none can take a connection.
type NoReadyPodError struct {
	Namespace string
	Target    string      // what was to be reached, such as `Service "triton-infer"`
	Selector  string      // label selector of the Service; empty for a single pod
	Pods      []Candidate // every pod that was looked at, with the reason
}

func (e *NoReadyPodError) Error() string {
	if len(e.Pods) == 0 {
		return fmt.Sprintf("no pod is behind %s in namespace %q: none matches its selector %s; see: kubectl get pods -n %s --show-labels",
			e.Target, e.Namespace, e.Selector, e.Namespace)
	}
	const most = 5
	var why []string
	for i, c := range e.Pods {
		if i == most {
			why = append(why, fmt.Sprintf("and %d more", len(e.Pods)-most))
			break
		}
		why = append(why, fmt.Sprintf("%s is not ready (%s)", c.Pod.Name, c.Reason))
	}
	return fmt.Sprintf("no ready pod for %s in namespace %q: %s; see: kubectl describe pod -n %s %s",
		e.Target, e.Namespace, strings.Join(why, ", "), e.Namespace, e.Pods[0].Pod.Name)
}

// ErrorClass groups the error for counting.
func (e *NoReadyPodError) ErrorClass() string { return classConnect }

// ServiceError says why a Service cannot be reached through a port-forward.
type ServiceError struct {
	Namespace string
	Name      string
	Reason    string
}

func (e *ServiceError) Error() string {
	return fmt.Sprintf("Service %q in namespace %q cannot be port-forwarded: %s", e.Name, e.Namespace, e.Reason)
}

// ErrorClass groups the error for counting.
func (e *ServiceError) ErrorClass() string { return classConnect }

// PortError says that a Service or pod has no such port.
type PortError struct {
	Target    string // such as `Service "triton-infer" in namespace "triton"`
	Port      string
	Available []string // such as "http (8000)"
}

func (e *PortError) Error() string {
	has := "it names no ports"
	if len(e.Available) > 0 {
		has = "it has " + strings.Join(e.Available, ", ")
	}
	if e.Port == "" {
		return fmt.Sprintf("%s needs a port to be chosen: %s", e.Target, has)
	}
	return fmt.Sprintf("%s has no port %q: %s", e.Target, e.Port, has)
}

// ErrorClass groups the error for counting.
func (e *PortError) ErrorClass() string { return classConnect }

// ForbiddenError says that the API server denies a request to this user.
type ForbiddenError struct {
	Verb      string
	Resource  string // such as "pods/portforward"
	Namespace string
	Name      string // empty for list and watch
	Err       error  // the API server's answer
}

func (e *ForbiddenError) Error() string {
	resource, sub, _ := strings.Cut(e.Resource, "/")
	check := fmt.Sprintf("kubectl auth can-i %s %s -n %s", e.Verb, resource, e.Namespace)
	if sub != "" {
		check += " --subresource=" + sub
	}
	return fmt.Sprintf("you are not allowed to %s %s in namespace %q (%v); ask for that permission, then check it with: %s",
		e.Verb, e.Resource, e.Namespace, e.Err, check)
}

func (e *ForbiddenError) Unwrap() error { return e.Err }

// ErrorClass groups the error for counting.
func (e *ForbiddenError) ErrorClass() string { return classConnect }

// UnauthorizedError says that the API server does not accept the credentials.
type UnauthorizedError struct {
	Host string
	Err  error
}

func (e *UnauthorizedError) Error() string {
	return fmt.Sprintf("the API server at %s does not accept your credentials (%v); log in again, then check with: kubectl auth whoami", e.Host, e.Err)
}

func (e *UnauthorizedError) Unwrap() error { return e.Err }

// ErrorClass groups the error for counting.
func (e *UnauthorizedError) ErrorClass() string { return classConnect }

// UnreachableError says that the API server gave no answer at all.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the API server at %s cannot be reached: %v; check the kubeconfig's context with: kubectl cluster-info", e.Host, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// ErrorClass groups the error for counting.
func (e *UnreachableError) ErrorClass() string { return classConnect }

// TunnelError says that the API server answered but no tunnel to the pod came
// about, most often because it cannot reach the pod's node.
type TunnelError struct {
	Pod PodRef
	Err error
}

func (e *TunnelError) Error() string {
	node := "its node"
	if e.Pod.Node != "" {
		node = fmt.Sprintf("its node %q", e.Pod.Node)
	}
	return fmt.Sprintf("no port-forward to pod %s could be opened: %v; check that the API server reaches %s with: kubectl logs -n %s %s",
		e.Pod, e.Err, node, e.Pod.Namespace, e.Pod.Name)
}

func (e *TunnelError) Unwrap() error { return e.Err }

// ErrorClass groups the error for counting.
func (e *TunnelError) ErrorClass() string { return classConnect }

// RefusedError says that the node could not connect to the port inside the
// pod. It ends that one connection; the tunnel and its other connections stay.
type RefusedError struct {
	Pod    PodRef // with the port that was asked for
	Reason string // the node's own words
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("pod %s/%s refused the connection to port %d (%s); check that the container listens on that port",
		e.Pod.Namespace, e.Pod.Name, e.Pod.Port, e.Reason)
}

// ErrorClass groups the error for counting.
func (e *RefusedError) ErrorClass() string { return classConnect }

// LostError says that an established connection broke.
type LostError struct {
	Pod    PodRef
	Reason string
	Err    error // may be nil
}

func (e *LostError) Error() string {
	reason := e.Reason
	if e.Err != nil {
		if reason != "" {
			reason += ": "
		}
		reason += e.Err.Error()
	}
	return fmt.Sprintf("the connection to pod %s was lost: %s", e.Pod, reason)
}

func (e *LostError) Unwrap() error { return e.Err }

// ErrorClass groups the error for counting.
func (e *LostError) ErrorClass() string { return classLost }
