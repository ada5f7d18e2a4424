package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// clusterRoute leads through the API server to one ready pod behind a Service.
type clusterRoute struct {
	options *BenchOptions
	cluster *cluster
	dialer  *portforward.Dialer

	service  *tritonService
	endpoint *portforward.Endpoint
	pod      portforward.PodRef
	pods     []corev1.Pod // before the test
	later    []corev1.Pod // after it
	asked    bool         // for the sources

	// Pods that received connections of the load, by UID: one may be replaced
	// during the test.
	mu   sync.Mutex
	seen map[string]bool
}

func newClusterRoute(o *BenchOptions) (*clusterRoute, error) {
	c, err := connect(o.Config)
	if err != nil {
		return nil, err
	}
	dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client, Transport: o.transport})
	if err != nil {
		return nil, err
	}
	return &clusterRoute{options: o, cluster: c, dialer: dialer, seen: map[string]bool{}}, nil
}

func (r *clusterRoute) close() { r.dialer.Close() }

func (r *clusterRoute) String() string { return "pod " + r.pod.Name }

func (r *clusterRoute) found() string {
	return fmt.Sprintf("%s/%s, %s; pod %s on %s", r.service.Namespace, r.service.Name, r.service.How, r.pod.Name, r.pod.Node)
}

func (r *clusterRoute) logs() string {
	return fmt.Sprintf("'kubectl -n %s logs %s'", r.pod.Namespace, r.pod.Name)
}

func (r *clusterRoute) find(ctx context.Context) (_ control, err error) {
	o := r.options
	if r.service, err = r.cluster.findTriton(ctx, o.namespace, o.Service, o.Port); err != nil {
		return nil, err
	}
	if o.Protocol == "grpc" {
		if err := r.requireGRPC(); err != nil {
			return nil, err
		}
	}
	if r.pods, err = r.cluster.podsOf(ctx, r.service); err != nil {
		return nil, err
	}
	r.endpoint = r.service.endpoint(r.dialer, r.pods, r.service.HTTPPort)
	if r.pod, err = r.endpoint.Resolve(ctx); err != nil {
		return nil, err
	}
	return triton.NewClient(httpClient(r.endpoint.DialContext), tritonURL), nil
}

// explain says why the chosen pod's port gives no server metadata: the way there
// is closed, or what answers is not Triton.
func (r *clusterRoute) explain(err error) error {
	var forbidden *portforward.ForbiddenError
	var refused *portforward.RefusedError
	switch {
	case errors.As(err, &forbidden):
		return forbidden
	case errors.As(err, &refused):
		return fmt.Errorf("%w; choose Triton's HTTP port with --port", refused)
	}
	where := fmt.Sprintf("port %s of Service %s in namespace %s (pod %s)", r.service.HTTPPort, r.service.Name, r.service.Namespace, r.pod.Name)
	var answer *triton.Error
	if errors.As(err, &answer) && answer.Class != triton.ClassNotTriton && answer.Status == 0 {
		return fmt.Errorf("could not reach Triton at %s: %w; see %s", where, err, r.logs())
	}
	return fmt.Errorf("%s does not answer as Triton: %w; choose Triton's HTTP port with --port", where, err)
}

func (r *clusterRoute) requireGRPC() error {
	if r.service.GRPCPort == "" {
		return usageErrorf("Service %s has no port that looks like Triton's gRPC (named grpc or numbered 8001); use --protocol http", r.service.Name)
	}
	return nil
}

func (r *clusterRoute) way(protocol string) way {
	endpoint := r.endpoint
	if protocol == "grpc" {
		endpoint = r.service.endpoint(r.dialer, r.pods, r.service.GRPCPort)
	}
	return way{grpc: triton.GRPCAddress{UserAgent: userAgent()}, dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := endpoint.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if a, ok := conn.RemoteAddr().(portforward.Addr); ok {
			r.mu.Lock()
			r.seen[a.Pod.UID] = true
			r.mu.Unlock()
		}
		return conn, nil
	}}
}

func (r *clusterRoute) measure(ctx context.Context, b *report.Bench) (err error) {
	b.Tunnel, err = measureTunnel(ctx, r.endpoint.DialContext)
	return err
}

func (r *clusterRoute) mark(ctx context.Context) (*marker, error) {
	return newMarker(ctx, r.cluster, r.dialer, r.options)
}

func (r *clusterRoute) watchGPUs(ctx context.Context) *gpuWatch {
	loaded := slices.DeleteFunc(slices.Clone(r.pods), func(p corev1.Pod) bool { return string(p.UID) != r.pod.UID })
	return newGPUWatch(ctx, r.cluster, r.dialer, r.options, loaded)
}

// sources are the Service's ready pods: at first those that find saw.
func (r *clusterRoute) sources(ctx context.Context) ([]statisticsSource, error) {
	pods := r.pods
	if r.asked {
		var err error
		if r.later, err = r.cluster.podsOf(ctx, r.service); err != nil {
			return nil, err
		}
		pods = r.later
	}
	r.asked = true
	var sources []statisticsSource
	for _, p := range pods {
		if !podReady(&p) {
			continue
		}
		hc := httpClient(r.dialer.PodOf(&p, fmt.Sprint(r.pod.Port)).DialContext)
		sources = append(sources, statisticsSource{name: p.Name, uid: string(p.UID), client: triton.NewClient(hc, tritonURL), done: hc.CloseIdleConnections})
	}
	return sources, nil
}

func (r *clusterRoute) loaded() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.seen)
}

func (r *clusterRoute) describe(b *report.Bench) {
	loaded := r.loaded()
	if len(loaded) == 0 {
		loaded[r.pod.UID] = true
	}
	b.Target.Context, b.Target.Namespace, b.Target.Service = r.cluster.context, r.service.Namespace, r.service.Name
	b.Target.Pods = describePods(r.pods, r.later, loaded)
	b.Path = report.Path{Kind: report.PathPortForward, Transport: transportName(r.options.transport), PodsLoaded: len(loaded)}
	for _, p := range r.pods {
		if podReady(&p) {
			b.Path.PodsReady++
		}
	}
}

func (r *clusterRoute) missing(part missingPart) string {
	o := r.options
	switch {
	case part == missingGrafana && o.GrafanaURL != "":
		return "check --grafana-url and --grafana-token-file"
	case part == missingGrafana:
		return fmt.Sprintf("'kubectl -n %s get pods,services -l app.kubernetes.io/name=grafana', or name a Grafana with --stack-namespace, or --grafana-url and --grafana-token-file", o.StackNamespace)
	case part == missingPrometheus && o.PrometheusURL != "":
		return "check --prometheus-url"
	case part == missingPrometheus:
		return fmt.Sprintf("'kubectl -n %s get pods,services', or name a Prometheus with --stack-namespace or --prometheus-url; the figures above were sampled from the pods instead", o.StackNamespace)
	}
	return ""
}

func transportName(t portforward.Transport) string {
	if t == portforward.TransportWebSocket {
		return "WebSocket"
	}
	return "SPDY"
}

// describePods joins the pods of before and after the test.
func describePods(before, after []corev1.Pod, loaded map[string]bool) []report.Pod {
	var pods []report.Pod
	seen := map[string]bool{}
	for _, p := range append(append([]corev1.Pod{}, before...), after...) {
		uid := string(p.UID)
		if seen[uid] {
			continue
		}
		seen[uid] = true
		pods = append(pods, report.Pod{Name: p.Name, UID: uid, Node: p.Spec.NodeName, Ready: podReady(&p), Loaded: loaded[uid]})
	}
	return pods
}
