package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

// causeTimeout bounds the question why a test can't begin, which is known to
// some extent already.
const causeTimeout = 2 * time.Second

// preflight prepares the test and asks those questions of "check" that decide
// whether it can run and how much it will tell. What the preparation has read
// is not read again.
func (t *loadTest) preflight(ctx context.Context) error {
	err := t.prepare(ctx)
	r, ok := t.route.(*clusterRoute)
	if !ok {
		return err // a server at an address has neither Service nor pods
	}
	p := &preflight{test: t, route: r, failure: err}
	return p.run(ctx)
}

// preflight is that of one test in a cluster.
type preflight struct {
	test    *loadTest
	route   *clusterRoute
	failure error // of the preparation
}

func (p *preflight) run(ctx context.Context) error {
	if ctx.Err() != nil {
		return p.failure
	}
	ask, limit := p.checkers, proofTimeout
	if p.failure != nil {
		ask, limit = p.causes, causeTimeout
	}
	checkers := ask()
	if len(checkers) == 0 {
		return p.failure
	}
	found := check.Run(ctx, []check.Category{{Checkers: checkers}}, check.Options{Timeout: limit}, check.Observer{})
	for _, k := range found.Categories[0].Checks {
		for _, f := range k.Findings {
			switch {
			case k.Unknown:
			case f.Level == check.Fatal:
				return finding{f, p.failure}
			case p.failure == nil:
				fmt.Fprintln(p.test.options.ErrOut, "!", finding{Finding: f})
			}
		}
	}
	return p.failure
}

// finding is one of check's as the error that ends a command, or as its note.
type finding struct {
	check.Finding
	cause error // what showed it; may be nil
}

func (f finding) Error() string { return f.String() }

func (f finding) Unwrap() error { return f.cause }

func (f finding) String() string {
	text := f.What
	if f.Why != "" {
		text += "; " + f.Why
	}
	if f.Command != "" {
		text += "; run '" + f.Command + "'"
	}
	return text
}

// checkers are the questions about a Triton that has answered.
func (p *preflight) checkers() []check.Checker {
	found, a := p.triton(), p.answer()
	return []check.Checker{
		{ID: "triton-ports", Severity: check.Warning, Check: func(context.Context) check.Outcome { return check.Wrong(found.missingPorts()...) }},
		{ID: "triton-server-ready", Check: func(ctx context.Context) check.Outcome {
			if server, ok := p.test.client.(interface{ ServerReady(context.Context) error }); ok {
				a.notReady = server.ServerReady(ctx)
			}
			return check.Wrong(a.serverReady()...)
		}},
		{ID: "triton-metrics", Check: func(ctx context.Context) check.Outcome {
			a.readMetrics(ctx, p.route.dialer)
			findings := a.metricsOn()
			for i := range findings {
				findings[i].Level = check.Warning // the load itself needs no metrics
			}
			return check.Wrong(findings...)
		}},
	}
}

// causes are the questions that tell why the preparation failed; none where its
// own words say most.
func (p *preflight) causes() []check.Checker {
	var forbidden *portforward.ForbiddenError
	var none *portforward.NoReadyPodError
	switch {
	case errors.As(p.failure, &forbidden) || apierrors.IsForbidden(p.failure):
		namespace := cmp.Or(p.test.options.namespace, DefaultNamespace)
		return []check.Checker{{ID: "may-bench", Hint: canI(namespace), Check: func(ctx context.Context) check.Outcome {
			denied, err := newAccess(p.route.cluster).denied(ctx, benchPermissions(namespace))
			if err != nil || len(denied) == 0 {
				return check.OK("")
			}
			return check.Wrong(lacking(denied))
		}}}
	case errors.As(p.failure, &none) && p.route.service != nil:
		found := p.triton()
		return []check.Checker{{ID: "triton-pods-ready", Check: func(context.Context) check.Outcome {
			_, _, findings := found.podsReady()
			return check.Wrong(findings...)
		}}}
	case p.test.client != nil && p.test.options.Model != "" && !errors.Is(p.failure, context.DeadlineExceeded):
		return []check.Checker{{ID: "triton-models-ready", Check: p.modelFailed}}
	}
	return nil
}

// modelFailed says why the model of the test is not ready, if that is so.
func (p *preflight) modelFailed(ctx context.Context) check.Outcome {
	a := p.answer()
	models, err := p.test.client.RepositoryIndex(ctx)
	if err != nil {
		return check.OK("")
	}
	for _, m := range models {
		if m.Name == p.test.options.Model {
			a.models = append(a.models, m)
		}
	}
	if len(a.models) == 0 {
		return check.OK("")
	}
	return check.Wrong(slices.DeleteFunc(a.modelsReady(), func(f check.Finding) bool { return f.Level == check.Warning })...)
}

func (p *preflight) triton() *tritonFound {
	t := &tritonFound{service: p.route.service.object, pods: p.route.pods}
	t.target, t.note = tritonTarget(t.service, t.pods)
	return t
}

// answer is about the pod that the load goes to.
func (p *preflight) answer() *tritonAnswer {
	t := p.triton()
	a := &tritonAnswer{service: t.service, target: t.target, note: t.note}
	i := slices.IndexFunc(t.pods, func(pod corev1.Pod) bool { return string(pod.UID) == p.route.pod.UID })
	if i >= 0 {
		a.pod, a.container = t.pods[i], tritonContainer(&t.pods[i])
	}
	return a
}
