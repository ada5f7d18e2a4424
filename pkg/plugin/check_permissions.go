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

// access asks the API server what the user may do, no question twice.
type access struct {
	cluster *cluster

	mu      sync.Mutex
	answers map[accessQuestion]*accessAnswer
}

// accessQuestion is one of the API server's; name "" is any object.
type accessQuestion struct{ group, resource, namespace, verb, name string }

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
				Group: q.group, Resource: resource, Subresource: sub, Namespace: q.namespace, Verb: q.verb, Name: q.name,
			}},
		}, metav1.CreateOptions{})
		if answer.err = err; err == nil {
			answer.allowed = review.Status.Allowed
		}
	})
	return answer.allowed, answer.err
}

// allowedAll says whether a permission's verb is granted for all its objects.
func (a *access) allowedAll(ctx context.Context, p permission, verb string) (bool, error) {
	names := p.names
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		if allowed, err := a.allowed(ctx, accessQuestion{p.group, p.resource, p.namespace, verb, name}); err != nil || !allowed {
			return false, err
		}
	}
	return true, nil
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
				allowed, err := a.allowedAll(ctx, p, verb)
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
		{"may-models", "models", triton, modelsPermissions(triton)},
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
