package portforward

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// reads counts what the API server was asked for besides tunnels and watches.
func (c *cluster) reads() int {
	return c.count("get services") + c.count("list pods") + c.count("get pods")
}

// object is the pod as the API server has it.
func (c *cluster) object(name string) corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.pods["triton/"+name].DeepCopy()
}

// TestGiven: what was just read is not read again, and what has changed since is.
func TestGiven(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	pod := c.object("triton-0")
	for name, e := range map[string]*Endpoint{
		"Service": d.ServiceOf(service(), []corev1.Pod{pod}, "http"),
		"pod":     d.PodOf(&pod, "8000"),
	} {
		if err := exchange(dial(t, e), name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := c.reads(); n != 0 {
		t.Errorf("the API server was asked %d times", n)
	}
	e := d.ServiceOf(service(), nil, "http")
	if _, err := e.Resolve(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if c.reads() != 1 || c.count("list pods") != 1 {
		t.Errorf("without pods the API server was asked %d times", c.reads())
	}
	c.setPod(readyPod("triton-1"))
	c.listen("triton-1", 8000, echo)
	c.deletePod("triton", "triton-0")
	c.killTunnels("triton-0")
	eventually(t, "the other pod", func() bool {
		ref, err := e.Resolve(testContext(t))
		return err == nil && ref.Name == "triton-1"
	})
	if c.count("list pods") == 1 {
		t.Error("the other pod was chosen without a look")
	}
}

// TestGivenRefusals: the errors are those of endpoints that read.
func TestGivenRefusals(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	pod := c.object("triton-0")
	bare := service()
	bare.Spec.Selector = nil
	for name, test := range map[string]struct {
		endpoint *Endpoint
		as       any
	}{
		"no selector":         {d.ServiceOf(bare, nil, "http"), new(*ServiceError)},
		"no such port":        {d.ServiceOf(service(), []corev1.Pod{pod}, "https"), new(*PortError)},
		"no pod":              {d.ServiceOf(service(), []corev1.Pod{}, "http"), new(*NoReadyPodError)},
		"not ready":           {d.ServiceOf(service(), []corev1.Pod{*unready(readyPod("triton-0"), "x")}, "http"), new(*NoReadyPodError)},
		"no such port of pod": {d.PodOf(&pod, "nope"), new(*PortError)},
	} {
		if _, err := test.endpoint.Resolve(testContext(t)); !errors.As(err, test.as) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := c.reads(); n != 0 {
		t.Errorf("the API server was asked %d times", n)
	}
}

// TestGivenIsOld: a watch knows better than what was read before it.
func TestGivenIsOld(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	old := c.object("triton-0")
	e := d.ServiceOf(service(), []corev1.Pod{old}, "http")
	if _, err := e.Resolve(testContext(t)); err != nil {
		t.Fatal(err)
	}
	p := d.known(old.UID)
	eventually(t, "the watch", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.watched
	})
	c.setPod(unready(readyPod("triton-0"), "ContainersNotReady"))
	eventually(t, "the watch to tell", func() bool { return !p.usable(true) })
	if _, err := d.PodOf(&old, "8000").Resolve(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if p.usable(true) {
		t.Error("the pod counts as ready again")
	}
}
