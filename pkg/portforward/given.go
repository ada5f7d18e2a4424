package portforward

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// ServiceOf is the endpoint at a port of a Service that was just read, together
// with the pods behind it: the first choice is made among these. Later ones, when
// that pod has gone, are made as those of Service are.
func (d *Dialer) ServiceOf(service *corev1.Service, pods []corev1.Pod, port string) *Endpoint {
	e := d.Service(service.Namespace, service.Name, port)
	pods = slices.Clone(pods)
	e.given = func() (*reading, error) {
		number, err := e.portOf(service)
		if err != nil {
			return nil, err
		}
		return e.serviceReading(service, number, pods), nil
	}
	return e
}

// PodOf is the endpoint at a port of a pod that was just read, which therefore
// need not be read again for the first connection.
func (d *Dialer) PodOf(object *corev1.Pod, port string) *Endpoint {
	e := d.Pod(object.Namespace, object.Name, port)
	object = object.DeepCopy()
	e.given = func() (*reading, error) { return e.podReading(object) }
	return e
}

func (e *Endpoint) takeGiven() func() (*reading, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	given := e.given
	e.given = nil
	return given
}
