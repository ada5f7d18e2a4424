package portforward

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

type endpointKind int

const (
	kindService endpointKind = iota
	kindPod
)

// dialAttempts bounds how often one DialContext goes on to another tunnel or
// pod after one has failed under it.
const dialAttempts = 3

// Endpoint is a port of a Service or of a pod. It keeps to one ready pod until
// that pod or its tunnel dies.
type Endpoint struct {
	dialer    *Dialer
	kind      endpointKind
	namespace string
	name      string
	port      string
	flight    flight[target]
	backoff   backoff

	mu      sync.Mutex
	current target
	given   func(context.Context) (*reading, error) // of the first choice; nil once it was used
}

// target is the choice of an Endpoint.
type target struct {
	pod  *pod
	port int32
}

// Candidate is a pod that an Endpoint may connect to.
type Candidate struct {
	Pod    PodRef // with the port that the Endpoint's port means on this pod; 0 when it means none
	Ready  bool
	Reason string // why it is not ready; empty when it is
}

// String names the endpoint as users write it, such as svc/triton-infer:http.
func (e *Endpoint) String() string {
	kind := "svc"
	if e.kind == kindPod {
		kind = "pod"
	}
	s := fmt.Sprintf("%s/%s", kind, e.name)
	if e.port != "" {
		s += ":" + e.port
	}
	return s + " in namespace " + e.namespace
}

// Resolve returns the pod that connections go to now, and the container port.
// It chooses one if there is none: the first ready one in order of names, those
// with an open tunnel before others.
//
// Errors: *NotFoundError, *ServiceError, *PortError, *NoReadyPodError,
// *ForbiddenError, *UnauthorizedError, *UnreachableError.
func (e *Endpoint) Resolve(ctx context.Context) (PodRef, error) {
	t, err := e.target(ctx)
	if err != nil {
		return PodRef{}, err
	}
	ref := t.pod.ref
	ref.Port = t.port
	return ref, nil
}

// Candidates reads all pods that the endpoint could go to, ready or not, in
// order of names.
func (e *Endpoint) Candidates(ctx context.Context) ([]Candidate, error) {
	found, err := e.read(ctx)
	if err != nil {
		return nil, err
	}
	return found.candidates(), nil
}

// DialContext opens a connection to the endpoint. Network and address are
// ignored, so that it fits http.Transport and gRPC. After failures it waits
// before it tries again, at most 3 s.
//
// Errors are those of Resolve, *TunnelError, *LostError and *RefusedError; the
// last comes most often from the first Read or Write.
func (e *Endpoint) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	for attempt := 1; ; attempt++ {
		t, err := e.target(ctx)
		if err != nil {
			return nil, err
		}
		c, retry, err := t.pod.dial(ctx, t.port)
		if err == nil {
			return c, nil
		}
		if retry {
			t.pod.doubt()
		}
		if !retry || attempt == dialAttempts || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (e *Endpoint) target(ctx context.Context) (target, error) {
	e.mu.Lock()
	t := e.current
	e.mu.Unlock()
	if t.pod != nil && t.pod.usable(e.kind == kindService) {
		return t, nil
	}
	t, err := e.flight.do(ctx, e.dialer.ctx, e.dialer.spawn, e.choose)
	switch {
	case err == nil:
		return t, nil
	case ctx.Err() != nil:
		return target{}, e.backoff.gaveUp(ctx.Err(), func(err error) error { return &UnreachableError{Host: e.dialer.rest.Host, Err: err} })
	case e.dialer.ctx.Err() != nil:
		return target{}, errDialerClosed
	}
	return target{}, err
}

// choose reads the pods and settles on one.
func (e *Endpoint) choose(ctx context.Context) (target, error) {
	if err := e.backoff.wait(ctx); err != nil {
		return target{}, err
	}
	t, err := e.chooseNow(ctx)
	if err != nil {
		if ctx.Err() == nil {
			e.backoff.failed(err)
		}
		return target{}, err
	}
	e.backoff.reset()
	e.mu.Lock()
	changed := e.current.pod != t.pod
	e.current = t
	e.mu.Unlock()
	if changed {
		e.dialer.config.Logf("%s goes to pod %s on node %q, port %d", e, t.pod.ref, t.pod.ref.Node, t.port)
	}
	return t, nil
}

func (e *Endpoint) chooseNow(ctx context.Context) (target, error) {
	found, err := e.read(ctx)
	if err != nil {
		return target{}, err
	}
	ready := found.ready()
	if len(ready) == 0 {
		e.mu.Lock()
		current := e.current
		e.mu.Unlock()
		if current.pod != nil && current.pod.keep() {
			return current, nil
		}
		if portErr := found.portError(); portErr != nil {
			return target{}, portErr
		}
		return target{}, &NoReadyPodError{Namespace: e.namespace, Target: found.target, Selector: found.selector, Pods: found.candidates()}
	}
	best := slices.MinFunc(ready, e.compare)
	p, err := e.dialer.track(best.object, found.given)
	if err != nil {
		return target{}, err
	}
	return target{pod: p, port: best.port}, nil
}

// compare puts the pod first that a connection should go to.
func (e *Endpoint) compare(a, b podPort) int {
	rank := func(x podPort) (tunnel, failures int) {
		p := e.dialer.known(x.object.UID)
		if p == nil {
			return 1, 0
		}
		if p.hasTunnel() {
			return 0, 0
		}
		return 1, p.backoff.count()
	}
	aTunnel, aFailures := rank(a)
	bTunnel, bFailures := rank(b)
	if aTunnel != bTunnel {
		return aTunnel - bTunnel
	}
	if aFailures != bFailures {
		return aFailures - bFailures
	}
	return strings.Compare(a.object.Name, b.object.Name)
}
