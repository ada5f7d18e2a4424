package plugin

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// oldestKubernetes is what the pinned charts and server-side apply need.
const oldestKubernetes = "1.25.0"

// preflight says everything that would keep the command from working, before
// it changes anything.
func (c *cluster) preflight(ctx context.Context, namespace string, needed []permission) error {
	if err := c.checkVersion(ctx); err != nil {
		return err
	}
	denied, err := newAccess(c).denied(ctx, needed)
	if err != nil {
		return err
	}
	if len(denied) > 0 {
		return fmt.Errorf("you may not do everything that this needs in the cluster: %s; nothing was changed. Ask for a ClusterRole with these, or see what you may do with 'kubectl auth can-i --list -n %s'", strings.Join(denied, "; "), namespace)
	}
	return nil
}

// checkVersion asks the API server for its version: the first question of each
// command, so that one that is away or silent is found out at once.
func (c *cluster) checkVersion(ctx context.Context) error {
	got, err := c.serverVersion(ctx)
	if err != nil {
		return err
	}
	return newEnough(got)
}

func (c *cluster) serverVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	// The discovery client takes no context of its own.
	type answer struct {
		version string
		err     error
	}
	asked := make(chan answer, 1)
	go func() {
		v, err := c.client.Discovery().ServerVersion()
		if err != nil {
			asked <- answer{err: err}
			return
		}
		asked <- answer{version: v.GitVersion}
	}()
	var got answer
	select {
	case got = <-asked:
	case <-ctx.Done():
		got.err = ctx.Err()
	}
	return got.version, c.explain(got.err, "ask the API server for its version")
}

func newEnough(server string) error {
	v, err := version.ParseGeneric(server)
	if err != nil {
		return fmt.Errorf("the API server's version %q can't be read: %w", server, err)
	}
	if v.LessThan(version.MustParseGeneric(oldestKubernetes)) {
		return fmt.Errorf("the cluster runs Kubernetes %s, and the stack's charts need %s or newer; upgrade the cluster", server, oldestKubernetes)
	}
	return nil
}

// podSecurity says whether a namespace's PodSecurity level keeps the node
// agents out: node-exporter and dcgm-exporter need the host.
func (c *cluster) podSecurity(ctx context.Context, namespace string) (string, error) {
	ns, err := c.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", c.explain(err, "read namespace "+namespace)
	}
	return podSecurityProblem(ns), nil
}

func podSecurityProblem(ns *corev1.Namespace) string {
	level := ns.Labels["pod-security.kubernetes.io/enforce"]
	if level == "" || level == "privileged" {
		return ""
	}
	return fmt.Sprintf("namespace %s enforces the PodSecurity level %q, which refuses node-exporter and dcgm-exporter; allow them with 'kubectl label namespace %s pod-security.kubernetes.io/enforce=privileged --overwrite', or choose another --stack-namespace", ns.Name, level, ns.Name)
}
