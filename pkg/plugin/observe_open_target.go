package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton/inferencepb"
)

func openTargetNames() []string { return []string{"grafana", "prometheus", "alertmanager", "triton"} }

// openTarget is the Service that "observe open" forwards to.
type openTarget struct {
	title           string
	namespace, name string
	page            bool // has a page for a browser
	ports           []openPort
}

// openPort is one port of the target. The first one of a target decides
// whether it answers.
type openPort struct {
	title   string
	remote  string // of the Service
	local   int    // the usual one
	address string // format of what the user is given, with the local port
	check   func(ctx context.Context, dial dialFunc) error
}

func (o *ObserveOpenOptions) find(ctx context.Context, c *cluster) (*openTarget, error) {
	switch o.Target {
	case "triton":
		return o.findTriton(ctx, c)
	case "prometheus":
		return o.findInStack(ctx, c, prometheusService(), 9090, "/-/ready")
	case "alertmanager":
		return o.findInStack(ctx, c, alertmanagerService(), 9093, "/-/ready")
	default:
		return o.findInStack(ctx, c, grafanaService(), 3000, "/api/health")
	}
}

func (o *ObserveOpenOptions) findInStack(ctx context.Context, c *cluster, w wanted, local int, health string) (*openTarget, error) {
	svc, err := o.chooseInStack(ctx, c, w)
	if err != nil {
		return nil, err
	}
	if svc.port == "" {
		return nil, fmt.Errorf("Service %s in namespace %s has no ports; name another with --service", svc.name, svc.namespace) //nolint:staticcheck // Service is a kind's name
	}
	return &openTarget{
		title: w.what, namespace: svc.namespace, name: svc.name, page: true,
		ports: []openPort{{title: w.what, remote: svc.port, local: local, address: "http://127.0.0.1:%d", check: answersHTTP(w.what, health)}},
	}, nil
}

func (o *ObserveOpenOptions) chooseInStack(ctx context.Context, c *cluster, w wanted) (stackService, error) {
	ns := o.StackNamespace
	if o.Service != "" {
		svc, err := c.client.CoreV1().Services(ns).Get(ctx, o.Service, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return stackService{}, c.missingService(ctx, ns, o.Service)
		}
		if err != nil {
			return stackService{}, c.explain(err, fmt.Sprintf("read Service %s in namespace %s", o.Service, ns))
		}
		return newStackService(svc, w), nil
	}
	found, err := c.stackServices(ctx, ns, w)
	if err != nil {
		return stackService{}, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return stackService{}, o.noneInStack(ctx, c, w)
	}
	return stackService{}, usageErrorf("several Services in namespace %s lead to %s; choose one of: %s", ns, w.what, flagsFor(found, false))
}

// noneInStack says where else in the cluster there is one.
func (o *ObserveOpenOptions) noneInStack(ctx context.Context, c *cluster, w wanted) error {
	what := fmt.Sprintf("there is no %s in namespace %s", w.what, o.StackNamespace)
	var elsewhere []stackService
	for _, selector := range w.selectors {
		list, err := c.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			break // without permission to look around the sentence stays general
		}
		for _, svc := range list.Items {
			elsewhere = append(elsewhere, newStackService(&svc, w))
		}
		if len(elsewhere) > 0 {
			return fmt.Errorf("%s; the cluster has one at: %s", what, flagsFor(elsewhere, true))
		}
	}
	return fmt.Errorf("%s: no Service has one of its labels or names; install the stack with 'kubectl triton observe up', or name one that is there with --stack-namespace and --service", what)
}

func flagsFor(services []stackService, withNamespace bool) string {
	var list []string
	for _, s := range services {
		flags := "--service " + s.name
		if withNamespace {
			flags = "--stack-namespace " + s.namespace + " " + flags
		}
		list = append(list, flags)
	}
	return strings.Join(list, ", ")
}

func (o *ObserveOpenOptions) findTriton(ctx context.Context, c *cluster) (*openTarget, error) {
	svc, err := c.findTriton(ctx, *o.Config.Namespace, o.Service, "")
	var noHTTP *noHTTPPortError
	if errors.As(err, &noHTTP) {
		return nil, fmt.Errorf("%s; forward one of its ports (%s) yourself, with '%s'", noHTTP.what(), strings.Join(noHTTP.ports, ", "),
			o.kubectl("-n %s port-forward svc/%s 8000:PORT", noHTTP.namespace, noHTTP.name))
	}
	if err != nil {
		return nil, err
	}
	t := &openTarget{title: "Triton", namespace: svc.Namespace, name: svc.Name}
	for _, p := range []openPort{
		{title: "HTTP", remote: svc.HTTPPort, local: 8000, address: "http://127.0.0.1:%d", check: answersHTTP("Triton", "/v2/health/ready")},
		{title: "gRPC", remote: svc.GRPCPort, local: 8001, address: "127.0.0.1:%d", check: answersGRPC},
		{title: "metrics", remote: svc.MetricsPort, local: 8002, address: "http://127.0.0.1:%d/metrics", check: answersHTTP("Triton", "/metrics")},
	} {
		if p.remote != "" {
			t.ports = append(t.ports, p)
		}
	}
	return t, nil
}

// wrongAnswerError says that something answers that will not become the target
// by waiting.
type wrongAnswerError struct{ what, path, status string }

func (e *wrongAnswerError) Error() string {
	return fmt.Sprintf("something answers %s to GET %s, which is not %s at the root of its address: it may be served under a path prefix, or be something else; name another Service with --service", e.status, e.path, e.what)
}

// answersHTTP asks for a page that answers 200 when all is well, over a
// connection of its own.
func answersHTTP(what, path string) func(context.Context, dialFunc) error {
	return func(ctx context.Context, dial dialFunc) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.ToLower(what)+path, nil)
		if err != nil {
			return err
		}
		t := transport(dial)
		t.DisableKeepAlives = true
		resp, err := t.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		switch {
		case resp.StatusCode == http.StatusOK:
			return nil
		case resp.StatusCode == http.StatusNotFound || resp.StatusCode/100 == 3:
			return &wrongAnswerError{what: what, path: path, status: resp.Status}
		}
		return fmt.Errorf("it answers %s to GET %s", resp.Status, path)
	}
}

// answersGRPC asks Triton's gRPC endpoint whether it is live.
func answersGRPC(ctx context.Context, dial dialFunc) error {
	conn, err := triton.DialGRPC(triton.DialFunc(dial), triton.GRPCAddress{UserAgent: userAgent()})
	if err != nil {
		return err
	}
	defer conn.Close()
	reply, err := inferencepb.NewGRPCInferenceServiceClient(conn).ServerLive(ctx, &inferencepb.ServerLiveRequest{})
	if err == nil && !reply.GetLive() {
		err = errors.New("it answers that it is not live")
	}
	return err
}
