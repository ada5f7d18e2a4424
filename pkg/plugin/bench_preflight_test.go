package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// indexOnly answers no question but that for the models.
type indexOnly struct {
	control
	models []triton.ModelIndex
}

func (i indexOnly) RepositoryIndex(context.Context) ([]triton.ModelIndex, error) {
	return i.models, nil
}

// failedPreflight is that of a test whose preparation failed.
func failedPreflight(failure error, c *fake.Clientset, pods ...corev1.Pod) *preflight {
	o := NewBenchOptions(genericiooptions.NewTestIOStreamsDiscard())
	o.Model = "m"
	svc := service("triton", "triton-infer", "t", usualPorts...)
	r := &clusterRoute{options: o, cluster: &cluster{client: c}, service: &tritonService{object: svc}, pods: pods}
	return &preflight{test: &loadTest{options: o, route: r}, route: r, failure: failure}
}

// TestPreflightCauses: a preparation that fails ends with check's words where
// check knows the cause, else with its own.
func TestPreflightCauses(t *testing.T) {
	forbidden := &portforward.ForbiddenError{Verb: "create", Resource: "pods/portforward", Namespace: "triton"}
	deny := fake.NewClientset()
	deny.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		review.Status.Allowed = review.Spec.ResourceAttributes.Subresource == ""
		return true, review, nil
	})
	broken := fake.NewClientset()
	broken.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no answer")
	})
	unready := *notReady(customPod("triton", "t"))
	failed := indexOnly{models: []triton.ModelIndex{{Name: "m", Version: "1", State: "UNAVAILABLE", Reason: "no such file"}}}
	well := indexOnly{models: []triton.ModelIndex{{Name: "m", Version: "1", State: "READY"}}}
	for name, c := range map[string]struct {
		p      *preflight
		client control
		want   string
	}{
		"denied":              {failedPreflight(forbidden, deny), nil, "you may not; it needs: create pods/portforward in namespace triton (to reach Triton); a Role or ClusterRole with these has to be bound to you; run 'kubectl auth can-i --list --namespace triton'"},
		"denied, wrapped":     {failedPreflight(fmt.Errorf("it failed: %w", forbidden), deny), nil, "you may not; it needs: "},
		"denied by a webhook": {failedPreflight(forbidden, broken), nil, forbidden.Error()},
		"no ready pod":        {failedPreflight(&portforward.NoReadyPodError{}, deny, unready), nil, "0 of 1 pods of Service triton/triton-infer are ready: t-0 is running and not ready; run 'kubectl describe pod --namespace triton t-0'"},
		"no pod":              {failedPreflight(&portforward.NoReadyPodError{}, deny), nil, "Service triton/triton-infer has no pod; it is scaled to zero, or its selector matches none; run 'kubectl get deployments,statefulsets --namespace triton'"},
		"model failed":        {failedPreflight(errors.New("no m"), deny, unready), failed, "model m version 1 in pod t-0 is UNAVAILABLE; no such file; run 'kubectl logs"},
		"model well":          {failedPreflight(errors.New("a wrong shape"), deny, unready), well, "a wrong shape"},
		"out of time":         {failedPreflight(context.DeadlineExceeded, deny, unready), failed, context.DeadlineExceeded.Error()},
		"something else":      {failedPreflight(errors.New("no Triton"), deny), nil, "no Triton"},
	} {
		c.p.test.client = c.client
		err := c.p.run(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
		if !errors.Is(err, c.p.failure) {
			t.Errorf("%s: the cause is lost", name)
		}
	}
	ended, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ended.Done()
	if err := failedPreflight(forbidden, deny).run(ended); !errors.Is(err, forbidden) {
		t.Errorf("interrupted: %v", err)
	}
}
