package plugin

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// allowing is a cluster of a version in which some things are allowed.
func allowing(kubernetes string, allowed func(*authorizationv1.ResourceAttributes) bool) *cluster {
	client := fake.NewClientset()
	client.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: kubernetes}
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action k8stesting.Action) (bool, runtime.Object, error) {
		review := action.(k8stesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		review.Status.Allowed = allowed(review.Spec.ResourceAttributes)
		return true, review, nil
	})
	return &cluster{client: client, rest: &rest.Config{Host: "https://api"}}
}

func TestPreflight(t *testing.T) {
	everything := func(*authorizationv1.ResourceAttributes) bool { return true }
	for name, test := range map[string]struct {
		version string
		allowed func(*authorizationv1.ResourceAttributes) bool
		want    []string
		without string
	}{
		"all is well":   {"v1.37.2", everything, nil, ""},
		"a vendor's":    {"v1.34.1-gke.1829001", everything, nil, ""},
		"too old":       {"v1.24.17-eks-1", everything, []string{"v1.24.17-eks-1", "1.25.0 or newer"}, ""},
		"not a version": {"unknown", everything, []string{`"unknown" can't be read`}, ""},
		"no monitors": {"v1.37.2", func(a *authorizationv1.ResourceAttributes) bool {
			return a.Resource != "podmonitors" || a.Verb == "get" || a.Verb == "list"
		}, []string{"create, delete, patch podmonitors.monitoring.coreos.com in namespace monitoring (to make Prometheus scrape Triton)", "nothing was changed", "kubectl auth can-i --list -n monitoring"}, "secrets"},
		"no subresource": {"v1.37.2", func(a *authorizationv1.ResourceAttributes) bool { return a.Resource != "pods" || a.Subresource == "" }, []string{"create pods/portforward in namespace monitoring (to prove that Prometheus and Grafana answer)"}, "list pods"},
		"cluster-wide":   {"v1.37.2", func(a *authorizationv1.ResourceAttributes) bool { return a.Namespace != "" }, []string{"list nodes in the whole cluster (to find the GPU nodes)", "customresourcedefinitions.apiextensions.k8s.io in the whole cluster"}, "portforward"},
	} {
		t.Run(name, func(t *testing.T) {
			err := allowing(test.version, test.allowed).preflight(t.Context(), "monitoring", upPermissions("monitoring"))
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it passed")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
			if test.without != "" && strings.Contains(err.Error(), test.without) {
				t.Errorf("%q is in %q", test.without, err)
			}
		})
	}
}

func TestPreflightEndsWithItsContext(t *testing.T) {
	c := allowing("v1.37.2", func(*authorizationv1.ResourceAttributes) bool { return true })
	silent := make(chan struct{})
	defer close(silent)
	c.client.(*fake.Clientset).PrependReactor("get", "version", func(k8stesting.Action) (bool, runtime.Object, error) { <-silent; return false, nil, nil })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.checkVersion(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestPodSecurityProblem(t *testing.T) {
	for level, refused := range map[string]bool{"": false, "privileged": false, "baseline": true, "restricted": true} {
		got := podSecurityProblem(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring", Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}})
		if (got != "") != refused || refused && (!strings.Contains(got, level) || !strings.Contains(got, "kubectl label namespace monitoring")) {
			t.Errorf("%q gives %q", level, got)
		}
	}
}

// TestAdvise: errors of pkg/stack get why and what next, once.
func TestAdvise(t *testing.T) {
	c := &cluster{rest: &rest.Config{Host: "https://api:6443"}}
	request := func(where string, err error) error {
		return &wrapped{"could not list the cluster's Prometheuses", &url.Error{Op: "Get", URL: where, Err: err}}
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("no"))
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"nothing":      {nil, ""},
		"forbidden":    {&wrapped{"could not read the Helm release a", forbidden}, "could not read the Helm release a: secrets is forbidden: no; ask for a Role that grants it, and see what is granted with 'kubectl auth can-i --list'"},
		"unreachable":  {request("https://api:6443/apis", errors.New("connection refused")), "could not list the cluster's Prometheuses: the API server at https://api:6443 can't be reached: connection refused; check the network or VPN and 'kubectl cluster-info'"},
		"silent":       {request("https://api:6443/apis", context.DeadlineExceeded), "could not list the cluster's Prometheuses: the API server at https://api:6443 did not answer in time; check the network or VPN and 'kubectl cluster-info'"},
		"another host": {request("https://charts/index.yaml", errors.New("connection refused")), `could not list the cluster's Prometheuses: Get "https://charts/index.yaml": connection refused`},
		"explained":    {c.explain(forbidden, "look"), c.explain(forbidden, "look").Error()},
		"charts":       {&stack.UnreachableError{Attempts: []error{forbidden}}, (&stack.UnreachableError{Attempts: []error{forbidden}}).Error()},
		"usage":        {usageErrorf("wrong"), "wrong"},
		"a rule":       {&wrapped{"no release", errors.New(`admission webhook "a" denied the request: no`)}, `no release: admission webhook "a" denied the request: no; this is the rule of an admission webhook of the cluster, see 'kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations'; run it again when it allows this`},
		"no webhook":   {&wrapped{"no release", errors.New(`failed calling webhook "a": EOF`)}, `no release: failed calling webhook "a": EOF; an admission webhook of the cluster doesn't answer: mend it or remove its configuration, see 'kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations', and run it again`},
		"quota":        {&wrapped{"no release", errors.New(`secrets "a" is forbidden: exceeded quota: small`)}, `no release: secrets "a" is forbidden: exceeded quota: small; raise the quota, or use another namespace by --stack-namespace`},
		"anything":     {errors.New("x"), "x"},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.advise(test.err)
			switch {
			case test.err == nil && got != nil, test.err != nil && got.Error() != test.want:
				t.Errorf("got  %v\nwant %s", got, test.want)
			case test.err != nil && !errors.Is(got, test.err) && !strings.Contains(name, "explained"):
				t.Error("the cause is lost")
			}
		})
	}
}

type wrapped struct {
	doing string
	cause error
}

func (w *wrapped) Error() string { return w.doing + ": " + w.cause.Error() }
func (w *wrapped) Unwrap() error { return w.cause }
