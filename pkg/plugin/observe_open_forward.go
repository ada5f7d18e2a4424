package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

const (
	openCheckEvery   = time.Second
	openCheckTimeout = 10 * time.Second
)

// openForward is one local port in front of one port of the target.
type openForward struct {
	openPort
	endpoint  *portforward.Endpoint
	forwarder *portforward.Forwarder
}

func (f *openForward) localPort() int { return f.forwarder.LocalAddr().(*net.TCPAddr).Port }

func (f *openForward) url() string { return fmt.Sprintf(f.address, f.localPort()) }

// answers asks the port once, and says which pod it was.
func (f *openForward) answers(ctx context.Context) (portforward.PodRef, error) {
	ctx, cancel := context.WithTimeout(ctx, openCheckTimeout)
	defer cancel()
	pod, err := f.endpoint.Resolve(ctx)
	if err == nil {
		err = f.check(ctx, f.endpoint.DialContext)
	}
	return pod, err
}

// patientDialer waits for a pod instead of failing while there is none, so that
// a page that is loaded while a pod restarts comes late and not broken.
type patientDialer struct{ portforward.ContextDialer }

func (d patientDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	for {
		conn, err := d.ContextDialer.DialContext(ctx, network, address)
		var noPod *portforward.NoReadyPodError
		// The endpoint itself waits longer after each failure.
		if !errors.As(err, &noPod) || ctx.Err() != nil {
			return conn, err
		}
	}
}

// listen opens the local ports: a chosen one must be free, a usual one gives
// way to the next free one.
func (o *ObserveOpenOptions) listen(d *portforward.Dialer, t *openTarget, say *openEvents) ([]*openForward, error) {
	forwards := make([]*openForward, len(t.ports))
	// In reverse, so that a first port that must give way leaves the usual ports
	// of the others to them.
	for i := len(t.ports) - 1; i >= 0; i-- {
		p := t.ports[i]
		config := portforward.ForwarderConfig{Port: p.local, NextFree: true, OnError: say.connectionFailed}
		if o.portChosen {
			config.Port, config.NextFree = 0, false
			if o.Port != 0 {
				config.Port, config.NextFree = o.Port+i, i > 0
			}
		}
		endpoint := d.Service(t.namespace, t.name, p.remote)
		f := &openForward{openPort: p, endpoint: endpoint, forwarder: portforward.NewForwarder(patientDialer{endpoint}, config)}
		if err := f.forwarder.Listen(); err != nil {
			for _, opened := range forwards[i+1:] {
				_ = opened.forwarder.Close()
			}
			return nil, fmt.Errorf("could not forward to %s: %w", t.title, err)
		}
		if got := f.localPort(); config.Port != 0 && got != config.Port {
			say.printf("local port %d is taken; %s is on %d", config.Port, p.title, got)
		}
		forwards[i] = f
	}
	return forwards, nil
}

// awaitAnswer waits until the first port answers and returns the pod that does.
func awaitAnswer(ctx context.Context, t *openTarget, f *openForward, timeout time.Duration, say *openEvents) (portforward.PodRef, error) {
	deadline, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error
	for {
		pod, err := f.answers(deadline)
		switch {
		case err == nil:
			return pod, nil
		case ctx.Err() != nil:
			return pod, ctx.Err()
		case hopeless(err):
			return pod, fmt.Errorf("could not reach %s: %w", t.title, err)
		case deadline.Err() == nil || last == nil:
			last = err
		}
		say.waiting(t, last)
		if !pause(deadline, openCheckEvery) {
			if ctx.Err() != nil {
				return pod, ctx.Err()
			}
			return pod, fmt.Errorf("%s, Service %s in namespace %s, did not answer within %s: %w", t.title, t.name, t.namespace, timeout, last)
		}
	}
}

// hopeless says that waiting will not change the answer.
func hopeless(err error) bool {
	var wrong *wrongAnswerError
	var forbidden *portforward.ForbiddenError
	var unauthorized *portforward.UnauthorizedError
	var service *portforward.ServiceError
	var port *portforward.PortError
	return errors.As(err, &wrong) || errors.As(err, &forbidden) || errors.As(err, &unauthorized) || errors.As(err, &service) || errors.As(err, &port)
}

// watch says when the pod goes and when another, or the same, has taken over.
// The listeners stay all the while. It ends with ctx.
func watch(ctx context.Context, t *openTarget, f *openForward, pod portforward.PodRef, say *openEvents) {
	away := false
	for pause(ctx, openCheckEvery) {
		now, err := f.answers(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !away {
				away = true
				say.away(t, pod, err)
			}
			continue
		case now.UID != pod.UID:
			say.back("pod %s is gone; pod %s on node %s has taken over, %s stays", pod.Name, now.Name, now.Node, f.url())
		case away:
			say.back("pod %s answers again", pod.Name)
		}
		away, pod = false, now
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
