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
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

const defaultStackNamespace = "monitoring"

// stackService is one Service of the observability stack.
type stackService struct {
	namespace, name, port string
	object                *corev1.Service // as it was read; nil when only its name is known
}

func (s stackService) String() string { return s.namespace + "/" + s.name }

// endpoint is the way to a ready pod behind the Service.
func (s stackService) endpoint(dialer *portforward.Dialer) *portforward.Endpoint {
	if s.object == nil {
		return dialer.Service(s.namespace, s.name, s.port)
	}
	return dialer.ServiceOf(s.object, nil, s.port)
}

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

func alertmanagerService() wanted {
	return wanted{
		what:      "Alertmanager",
		selectors: []string{"app=kube-prometheus-stack-alertmanager", "operated-alertmanager=true", "app.kubernetes.io/name=alertmanager"},
		names:     []string{"alertmanager-operated", "alertmanager"},
		portNames: []string{"http-web", "web", "http"},
		port:      9093,
	}
}

// findStackService looks in the stack's namespace and takes the first of
// several.
func (c *cluster) findStackService(ctx context.Context, namespace string, w wanted) (stackService, error) {
	found, err := c.stackServices(ctx, namespace, w)
	if err != nil {
		return stackService{}, err
	}
	if len(found) == 0 {
		return stackService{}, fmt.Errorf("there is no %s in namespace %s", w.what, namespace)
	}
	return found[0], nil
}

// stackServices lists the Services in a namespace that the most telling label
// or name leads to; there may be none.
func (c *cluster) stackServices(ctx context.Context, namespace string, w wanted) ([]stackService, error) {
	services := c.client.CoreV1().Services(namespace)
	doing := "look for " + w.what + " in namespace " + namespace
	for _, selector := range w.selectors {
		list, err := services.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, c.explain(err, doing)
		}
		var found []stackService
		for _, svc := range list.Items {
			found = append(found, newStackService(&svc, w))
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	for _, name := range w.names {
		svc, err := services.Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return []stackService{newStackService(svc, w)}, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, c.explain(err, doing)
		}
	}
	return nil, nil
}

func newStackService(svc *corev1.Service, w wanted) stackService {
	s := stackService{namespace: svc.Namespace, name: svc.Name, object: svc}
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

// The keys of the chart's admin Secret.
const (
	adminUserKey     = "admin-user"
	adminPasswordKey = "admin-password"
)

// grafanaAuth takes the token from a file, else the admin login from the
// chart's Secret beside Grafana.
func (c *cluster) grafanaAuth(ctx context.Context, svc stackService, tokenFile string) (grafana.Auth, error) {
	if tokenFile != "" {
		return tokenAuth(tokenFile)
	}
	secret, err := c.grafanaSecret(ctx, svc)
	if err != nil {
		return grafana.Auth{}, err
	}
	return adminAuth(secret)
}

// grafanaSecret reads the Secret with the admin login of a Grafana: the one
// with the Service's name, else the only one that the chart labels as such.
func (c *cluster) grafanaSecret(ctx context.Context, svc stackService) (*corev1.Secret, error) {
	secrets := c.client.CoreV1().Secrets(svc.namespace)
	secret, err := secrets.Get(ctx, svc.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		var list *corev1.SecretList
		list, err = secrets.List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=admin-secret"})
		if err == nil {
			var names []string
			for i := range list.Items {
				names = append(names, list.Items[i].Name)
			}
			switch len(names) {
			case 0:
				return nil, fmt.Errorf("there is no Secret %s with Grafana's login in namespace %s", svc.name, svc.namespace)
			case 1:
				secret = &list.Items[0]
			default:
				return nil, fmt.Errorf("which Secret in namespace %s holds the login of Grafana %s is not known: none has its name, and several hold one (%s); see which of them its pod uses", svc.namespace, svc.name, strings.Join(names, ", "))
			}
		}
	}
	if err != nil {
		return nil, c.explain(err, fmt.Sprintf("read the Secret %s with Grafana's login in namespace %s", svc.name, svc.namespace))
	}
	return secret, nil
}

func adminAuth(secret *corev1.Secret) (grafana.Auth, error) {
	user, password := string(secret.Data[adminUserKey]), string(secret.Data[adminPasswordKey])
	if user == "" || password == "" {
		return grafana.Auth{}, fmt.Errorf("the Secret %s in namespace %s has no keys %s and %s", secret.Name, secret.Namespace, adminUserKey, adminPasswordKey)
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
