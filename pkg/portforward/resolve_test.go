package portforward

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
)

func TestPorts(t *testing.T) {
	headless := service()
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	single := service()
	single.Spec.Ports = single.Spec.Ports[:1]
	otherPod := readyPod("triton-0")
	otherPod.Spec.Containers[0].Ports[1].ContainerPort = 18001
	udp := service()
	udp.Spec.Ports[0].Protocol = corev1.ProtocolUDP
	unnamed := service()
	unnamed.Spec.Ports[1].TargetPort = intstr.FromString("missing")
	for name, test := range map[string]struct {
		service *corev1.Service
		pod     *corev1.Pod
		port    string
		want    int32
		message string
	}{
		"by name":                    {port: "http", want: 8000},
		"by number":                  {port: "80", want: 8000},
		"named target":               {port: "grpc", want: 8001},
		"named target, another pod":  {port: "grpc", pod: otherPod, want: 18001},
		"target left out":            {port: "metrics", want: 8002},
		"headless: port as it is":    {service: headless, port: "http", want: 80},
		"headless, named target":     {service: headless, port: "8001", want: 8001},
		"the only port":              {service: single, want: 8000},
		"no port chosen":             {message: `Service "triton-infer" in namespace "triton" needs a port to be chosen: it has http (80), grpc (8001), metrics (8002)`},
		"target's number is no port": {port: "8000", message: `Service "triton-infer" in namespace "triton" has no port "8000": it has http (80), grpc (8001), metrics (8002)`},
		"unknown name":               {port: "https", message: `has no port "https"`},
		"UDP":                        {service: udp, port: "http", message: "http (80, UDP: cannot be forwarded)"},
		"target not on the pod":      {service: unnamed, port: "grpc", message: `pod "triton-0" in namespace "triton" has no port "missing": it has http-triton (8000), grpc-triton (8001)`},
	} {
		t.Run(name, func(t *testing.T) {
			c := tritonCluster(t)
			if test.service != nil {
				c.setService(test.service)
			}
			if test.pod != nil {
				c.setPod(test.pod)
			}
			ref, err := c.dialer(TransportSPDY).Service("triton", "triton-infer", test.port).Resolve(testContext(t))
			var portErr *PortError
			if test.message == "" && (err != nil || ref.Port != test.want) {
				t.Errorf("got port %d, %v; want %d", ref.Port, err, test.want)
			}
			if test.message != "" && (!errors.As(err, &portErr) || !strings.Contains(err.Error(), test.message)) {
				t.Errorf("got %v, want %q", err, test.message)
			}
		})
	}
}

func TestPodPorts(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY)
	for port, want := range map[string]int32{"http-triton": 8000, "8000": 8000, "9999": 9999, "": 0, "nope": 0, "0": 0, "65536": 0} {
		ref, err := d.Pod("triton", "triton-0", port).Resolve(testContext(t))
		var portErr *PortError
		if ref.Port != want || errors.As(err, &portErr) != (want == 0) {
			t.Errorf("port %q: got %d, %v; want %d", port, ref.Port, err, want)
		}
	}
}

func TestPodNeedNotBeReady(t *testing.T) {
	c := tritonCluster(t)
	c.setPod(unready(readyPod("triton-0"), "ContainersNotReady"))
	e := c.dialer(TransportSPDY).Pod("triton", "triton-0", "8000")
	for range 2 {
		if err := exchange(dial(t, e), "x"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCandidates(t *testing.T) {
	c := newCluster(t)
	c.setService(service())
	pending := readyPod("c")
	pending.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}}}
	pulling := readyPod("d")
	pulling.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "triton", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image"}}}}}
	dying := readyPod("e")
	now := metav1.Now()
	dying.DeletionTimestamp = &now
	evicted := readyPod("f")
	evicted.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on memory."}
	notReady := unready(readyPod("b"), "ContainersNotReady")
	notReady.Status.Conditions[0].Message = "containers with unready status: [triton]"
	fresh := readyPod("g")
	fresh.Status = corev1.PodStatus{}
	foreign := readyPod("other")
	foreign.Labels = map[string]string{"app": "web"}
	for _, p := range []*corev1.Pod{foreign, evicted, dying, pulling, pending, notReady, fresh, readyPod("a")} {
		c.setPod(p)
	}
	want := []string{
		"a true ",
		"b false Running: ContainersNotReady: containers with unready status: [triton]",
		"c false Pending: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
		"d false Pending: container triton: ImagePullBackOff: Back-off pulling image",
		"e false Terminating",
		"f false Failed: Evicted: The node was low on memory.",
		"g false Pending",
	}
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	list, err := e.Candidates(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list {
		ready := " false "
		if p.Ready {
			ready = " true "
		}
		got = append(got, p.Pod.Name+ready+p.Reason)
		if p.Pod.Port != 8000 || p.Pod.Namespace != "triton" {
			t.Errorf("%+v", p.Pod)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	c.deletePod("triton", "a")
	_, err = e.Resolve(testContext(t))
	var none *NoReadyPodError
	if !errors.As(err, &none) {
		t.Fatalf("got %v", err)
	}
	for _, part := range append(want[1:6:6], "and 1 more") {
		name, reason, _ := strings.Cut(part, " false ")
		if reason == "" {
			reason = part
		}
		if !strings.Contains(err.Error(), reason) || (name != part && !strings.Contains(err.Error(), name+" is not ready")) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}

func TestRefusals(t *testing.T) {
	external := service()
	external.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "triton.example.com"}
	bare := service()
	bare.Spec.Selector = nil
	for name, test := range map[string]struct {
		change  func(*cluster)
		as      any
		message string
	}{
		"no Service":        {func(c *cluster) { delete(c.services, "triton/triton-infer") }, new(*NotFoundError), `there is no Service "triton-infer" in namespace "triton"; see what is there with: kubectl get services -n triton`},
		"ExternalName":      {func(c *cluster) { c.setService(external) }, new(*ServiceError), "ExternalName and stands for the host \"triton.example.com\""},
		"no selector":       {func(c *cluster) { c.setService(bare) }, new(*ServiceError), "it has no selector"},
		"no pod at all":     {func(c *cluster) { delete(c.pods, "triton/triton-0") }, new(*NoReadyPodError), `none matches its selector app=triton`},
		"get Service":       {func(c *cluster) { c.deny("get", "services") }, new(*ForbiddenError), `not allowed to get services in namespace "triton"`},
		"list pods":         {func(c *cluster) { c.deny("list", "pods") }, new(*ForbiddenError), `check it with: kubectl auth can-i list pods -n triton`},
		"port-forward":      {func(c *cluster) { c.deny("create", "pods/portforward") }, new(*ForbiddenError), `you are not allowed to create pods/portforward in namespace "triton"`},
		"node out of reach": {func(c *cluster) { c.broken["triton-0"] = http.StatusInternalServerError }, new(*TunnelError), `no port-forward to pod triton/triton-0 could be opened: error dialing backend: dial tcp 10.0.0.1:10250: connect: no route to host; check that the API server reaches its node "gpu-0"`},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, transport Transport) {
				c := tritonCluster(t)
				if transport == TransportWebSocket {
					c.deny("get", "pods/portforward")
				}
				test.change(c)
				_, err := c.dialer(transport).Service("triton", "triton-infer", "http").DialContext(testContext(t), "", "")
				if err == nil || !errors.As(err, test.as) || !strings.Contains(err.Error(), test.message) {
					t.Errorf("got %v\nwant %q", err, test.message)
				}
				var class interface{ ErrorClass() string }
				if !errors.As(err, &class) || class.ErrorClass() != "connect" {
					t.Errorf("class of %v", err)
				}
			})
		})
	}
}

func TestForbiddenDetails(t *testing.T) {
	c := tritonCluster(t)
	c.deny("create", "pods/portforward")
	_, err := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http").DialContext(testContext(t), "", "")
	var forbidden *ForbiddenError
	if !errors.As(err, &forbidden) {
		t.Fatalf("got %v", err)
	}
	if forbidden.Verb != "create" || forbidden.Resource != "pods/portforward" || forbidden.Namespace != "triton" || forbidden.Name != "triton-0" {
		t.Errorf("got %+v", forbidden)
	}
}

func TestMissingPod(t *testing.T) {
	c := tritonCluster(t)
	_, err := c.dialer(TransportSPDY).Pod("triton", "gone", "8000").DialContext(testContext(t), "", "")
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.Kind != "pod" {
		t.Errorf("got %v", err)
	}
}

func TestBadCredentials(t *testing.T) {
	c := tritonCluster(t)
	d := c.dialer(TransportSPDY, func(config *Config) { config.REST.BearerToken = "wrong" })
	_, err := d.Service("triton", "triton-infer", "http").DialContext(testContext(t), "", "")
	var unauthorized *UnauthorizedError
	if !errors.As(err, &unauthorized) {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts by its backlog and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := tritonCluster(t)
	for name, config := range map[string]*rest.Config{
		"refused":       {Host: "https://" + address},
		"silent":        {Host: "https://" + silent.Addr().String()},
		"untrusted":     {Host: c.server.URL},
		"not TLS there": {Host: strings.Replace(c.direct.URL, "http:", "https:", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := New(Config{REST: config})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			ctx, cancel := context.WithCancel(testContext(t))
			if name == "silent" {
				ctx, cancel = context.WithTimeout(ctx, backoffFirst)
			}
			defer cancel()
			_, err = d.Service("triton", "triton-infer", "http").DialContext(ctx, "", "")
			var unreachable *UnreachableError
			if !errors.As(err, &unreachable) || unreachable.Host != config.Host || !strings.Contains(err.Error(), "kubectl cluster-info") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for name, config := range map[string]Config{
		"no REST":      {},
		"transport":    {REST: &rest.Config{Host: "https://127.0.0.1"}, Transport: "http3"},
		"host unclear": {REST: &rest.Config{Host: "https://[::1"}},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The wait between failures bounds how often the API server is asked.
func TestFailuresAreSpaced(t *testing.T) {
	c := tritonCluster(t)
	c.setPod(unready(readyPod("triton-0"), "ContainersNotReady"))
	e := c.dialer(TransportSPDY).Service("triton", "triton-infer", "http")
	for range 3 {
		if _, err := e.Resolve(testContext(t)); err == nil {
			t.Fatal("no error")
		}
	}
	e.backoff.mu.Lock()
	failures, last := e.backoff.failures, e.backoff.last
	e.backoff.mu.Unlock()
	if failures != 3 {
		t.Errorf("%d failures", failures)
	}
	// A caller that cannot wait hears the latest reason.
	ctx, cancel := context.WithTimeout(context.Background(), backoffFirst)
	defer cancel()
	_, err := e.Resolve(ctx)
	var none *NoReadyPodError
	if !errors.As(err, &none) || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, last) {
		t.Errorf("got %v", err)
	}
	c.setPod(readyPod("triton-0"))
	if _, err := e.Resolve(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if e.backoff.count() != 0 {
		t.Error("the failures were not forgotten")
	}
}
