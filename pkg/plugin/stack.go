package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
)

// stackService is one Service of the observability stack.
type stackService struct {
	namespace, name, port string
}

func (s stackService) String() string { return s.namespace + "/" + s.name }

// wanted says how to find a Service of the stack: the labels that the charts
// put on it, then the names that guides use.
type wanted struct {
	what      string
	selectors []string
	names     []string
	portNames []string
	port      int32
}

func prometheusService() wanted {
	return wanted{
		what:      "Prometheus",
		selectors: []string{"app=kube-prometheus-stack-prometheus,self-monitor=true", "operated-prometheus=true", "app.kubernetes.io/name=prometheus,app.kubernetes.io/component=server"},
		names:     []string{"prometheus-operated", "prometheus"},
		portNames: []string{"http-web", "web", "http"},
		port:      9090,
	}
}

func grafanaService() wanted {
	return wanted{
		what:      "Grafana",
		selectors: []string{"app.kubernetes.io/name=grafana"},
		names:     []string{"prom-operator-grafana", "grafana"},
		portNames: []string{"http-web", "service", "http"},
		port:      80,
	}
}

// findStackService looks in the stack's namespace.
func (c *cluster) findStackService(ctx context.Context, namespace string, w wanted) (stackService, error) {
	services := c.client.CoreV1().Services(namespace)
	for _, selector := range w.selectors {
		list, err := services.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return stackService{}, c.explain(err, "look for "+w.what+" in namespace "+namespace)
		}
		if len(list.Items) > 0 {
			return newStackService(&list.Items[0], w), nil
		}
	}
	for _, name := range w.names {
		svc, err := services.Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return newStackService(svc, w), nil
		}
		if !apierrors.IsNotFound(err) {
			return stackService{}, c.explain(err, "look for "+w.what+" in namespace "+namespace)
		}
	}
	return stackService{}, fmt.Errorf("there is no %s in namespace %s", w.what, namespace)
}

func newStackService(svc *corev1.Service, w wanted) stackService {
	s := stackService{namespace: svc.Namespace, name: svc.Name}
	for _, name := range w.portNames {
		if p := pickPort(svc, name, w.port); p != "" {
			s.port = p
			return s
		}
	}
	if len(svc.Spec.Ports) > 0 {
		s.port = fmt.Sprint(svc.Spec.Ports[0].Port)
	}
	return s
}

// grafanaAuth takes the token from a file, else the admin login from the
// chart's Secret beside Grafana.
func (c *cluster) grafanaAuth(ctx context.Context, svc stackService, tokenFile string) (grafana.Auth, error) {
	if tokenFile != "" {
		return tokenAuth(tokenFile)
	}
	secrets := c.client.CoreV1().Secrets(svc.namespace)
	secret, err := secrets.Get(ctx, svc.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		var list *corev1.SecretList
		list, err = secrets.List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=admin-secret"})
		if err == nil {
			if len(list.Items) == 0 {
				return grafana.Auth{}, fmt.Errorf("there is no Secret %s with Grafana's login in namespace %s", svc.name, svc.namespace)
			}
			secret = &list.Items[0]
		}
	}
	if err != nil {
		return grafana.Auth{}, c.explain(err, fmt.Sprintf("read the Secret %s with Grafana's login in namespace %s", svc.name, svc.namespace))
	}
	user, password := string(secret.Data["admin-user"]), string(secret.Data["admin-password"])
	if user == "" || password == "" {
		return grafana.Auth{}, fmt.Errorf("the Secret %s in namespace %s has no keys admin-user and admin-password", secret.Name, svc.namespace)
	}
	return grafana.Auth{User: user, Password: password}, nil
}

func tokenAuth(file string) (grafana.Auth, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return grafana.Auth{}, fmt.Errorf("could not read --grafana-token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return grafana.Auth{}, errors.New("the file of --grafana-token-file is empty")
	}
	return grafana.Auth{Token: token}, nil
}
