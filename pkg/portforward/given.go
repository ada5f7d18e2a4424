package portforward

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ServiceOf is the endpoint at a port of a Service that was just read, together
// with the pods behind it: the first choice is made among these; nil has them
// read. Later choices, when that pod has gone, are made as those of Service are.
func (d *Dialer) ServiceOf(service *corev1.Service, pods []corev1.Pod, port string) *Endpoint {
	e := d.Service(service.Namespace, service.Name, port)
	pods = slices.Clone(pods)
	e.given = func(ctx context.Context) (*reading, error) {
		if pods == nil {
			return e.readPods(ctx, service)
		}
		number, err := e.portOf(service)
		if err != nil {
			return nil, err
		}
		r := e.serviceReading(service, number, pods)
		r.given = true
		return r, nil
	}
	return e
}

// PodOf is the endpoint at a port of a pod that was just read, which therefore
// need not be read again for the first connection.
func (d *Dialer) PodOf(object *corev1.Pod, port string) *Endpoint {
	e := d.Pod(object.Namespace, object.Name, port)
	object = object.DeepCopy()
	e.given = func(context.Context) (*reading, error) {
		r, err := e.podReading(object)
		if err == nil {
			r.given = true
		}
		return r, err
	}
	return e
}

func (e *Endpoint) takeGiven() func(context.Context) (*reading, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	given := e.given
	e.given = nil
	return given
}
