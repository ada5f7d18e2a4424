package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
)

// benchPermissions are what "bench" can't do without; what it reads besides,
// such as Grafana's login, it says itself when that is missing.
func benchPermissions(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get"}, "find Triton"},
		{"", "pods", namespace, []string{"get", "list"}, "choose a ready pod"},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Triton"},
	}
}

// nodesPermissions are what "nodes" shows everything with.
func nodesPermissions() []permission {
	return []permission{
		{"", "nodes", "", []string{"list"}, "find the GPU nodes"},
		{"", "pods", "", []string{"list"}, "see who holds GPUs"},
		{"apps", "daemonsets", "", []string{"list"}, "find the exporters"},
		{"node.k8s.io", "runtimeclasses", "", []string{"get"}, "look for RuntimeClass nvidia"},
		{"resource.k8s.io", "resourceslices", "", []string{"list"}, "see GPUs of the DRA driver"},
	}
}

func nodesLabelPermissions() []permission {
	return append(nodesPermissions(), permission{"", "nodes", "", []string{"patch"}, "label nodes"})
}

// statusPermissions are what "observe status" reads.
func statusPermissions(namespace string) []permission {
	return []permission{
		{"", "nodes", "", []string{"list"}, "find the GPU nodes"},
		{"apps", "daemonsets", "", []string{"list"}, "find the exporters"},
		{"", "secrets", namespace, []string{"list", "get"}, "read Helm's records"},
		{"monitoring.coreos.com", "prometheuses", "", []string{"list"}, "find the Prometheus"},
		{"monitoring.coreos.com", "podmonitors", "", []string{"list"}, "see what it scrapes"},
		{"monitoring.coreos.com", "servicemonitors", "", []string{"list"}, "see what it scrapes"},
		{"", "pods", namespace, []string{"get", "list"}, "see whether the stack runs"},
		{"", "pods/portforward", namespace, []string{"create"}, "ask Prometheus and Grafana"},
	}
}

// openPermissions are what "observe open" needs.
func openPermissions(namespace string) []permission {
	return []permission{
		{"", "services", namespace, []string{"get", "list"}, "find Grafana"},
		{"", "secrets", namespace, []string{"get", "list"}, "read Grafana's login"},
		{"", "pods", namespace, []string{"get", "list"}, "choose a ready pod"},
		{"", "pods/portforward", namespace, []string{"create"}, "reach Grafana"},
	}
}

// access asks the API server what the user may do, no question twice.
type access struct {
	cluster *cluster

	mu      sync.Mutex
	answers map[accessQuestion]*accessAnswer
}

type accessQuestion struct{ group, resource, namespace, verb string }

type accessAnswer struct {
	once    sync.Once
	allowed bool
	err     error
}

func newAccess(c *cluster) *access {
	return &access{cluster: c, answers: map[accessQuestion]*accessAnswer{}}
}

func (a *access) allowed(ctx context.Context, q accessQuestion) (bool, error) {
	a.mu.Lock()
	answer := a.answers[q]
	if answer == nil {
		answer = &accessAnswer{}
		a.answers[q] = answer
	}
	a.mu.Unlock()
	answer.once.Do(func() {
		resource, sub, _ := strings.Cut(q.resource, "/")
		review, err := a.cluster.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: q.group, Resource: resource, Subresource: sub, Namespace: q.namespace, Verb: q.verb,
			}},
		}, metav1.CreateOptions{})
		if answer.err = err; err == nil {
			answer.allowed = review.Status.Allowed
		}
	})
	return answer.allowed, answer.err
}

// denied lists what the user lacks, all questions side by side.
func (a *access) denied(ctx context.Context, needed []permission) ([]string, error) {
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		lacks  = make([][]string, len(needed))
		failed error
	)
	for i, p := range needed {
		for _, verb := range p.verbs {
			wg.Go(func() {
				allowed, err := a.allowed(ctx, accessQuestion{p.group, p.resource, p.namespace, verb})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					failed = err
				case !allowed:
					lacks[i] = append(lacks[i], verb)
				}
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return nil, a.cluster.explain(failed, "ask the API server what you may do")
	}
	var sentences []string
	for i, p := range needed {
		if len(lacks[i]) == 0 {
			continue
		}
		slices.Sort(lacks[i])
		where := "in the whole cluster"
		if p.namespace != "" {
			where = "in namespace " + p.namespace
		}
		name := p.resource
		if p.group != "" {
			name += "." + p.group
		}
		sentences = append(sentences, fmt.Sprintf("%s %s %s (to %s)", strings.Join(lacks[i], ", "), name, where, p.what))
	}
	return sentences, nil
}

// commandAccess is a command and what it needs.
type commandAccess struct {
	id, command, namespace string
	needed                 []permission
}

func (l *lookup) commandAccess() []commandAccess {
	triton, monitoring := l.tritonNamespace(), l.options.StackNamespace
	return []commandAccess{
		{"may-bench", "bench", triton, benchPermissions(triton)},
		{"may-models", "models", triton, benchPermissions(triton)},
		{"may-nodes", "nodes", "", nodesPermissions()},
		{"may-nodes-label", "nodes label", "", nodesLabelPermissions()},
		{"may-observe-up", "observe up", monitoring, upPermissions(monitoring)},
		{"may-observe-status", "observe status", monitoring, statusPermissions(monitoring)},
		{"may-observe-open", "observe open", monitoring, openPermissions(monitoring)},
		{"may-observe-down", "observe down", monitoring, downPermissions(monitoring)},
	}
}

// lacking says which permissions a command lacks.
func lacking(denied []string) check.Finding {
	return check.Finding{
		What: "you may not; it needs: " + strings.Join(denied, "; "),
		Why:  "a Role or ClusterRole with these has to be bound to you",
	}
}

// canI is the command that lists what the user may do.
func canI(namespace string) string {
	if namespace == "" {
		return "kubectl auth can-i --list"
	}
	return "kubectl auth can-i --list --namespace " + namespace
}

// permissionCheckers ask for each command whether the user may run it.
func (l *lookup) permissionCheckers() []check.Checker {
	a := newAccess(l.cluster)
	var checkers []check.Checker
	for _, c := range l.commandAccess() {
		checkers = append(checkers, check.Checker{
			ID: c.id, Description: fmt.Sprintf("you may run 'kubectl triton %s'", c.command), Severity: check.Warning, Hint: canI(c.namespace), Needs: []string{"api-server"},
			Check: func(ctx context.Context) check.Outcome {
				denied, err := a.denied(ctx, c.needed)
				if err != nil {
					return check.Unknown(err)
				}
				if len(denied) == 0 {
					return check.OK("")
				}
				return check.Wrong(lacking(denied))
			},
		})
	}
	return checkers
}
