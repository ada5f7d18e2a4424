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
		"denied":              {failedPreflight(forbidden, deny), nil, "you may not; it needs: create pods/portforward in namespace triton (to reach Triton); a Role or ClusterRole with these has to be bound to you; run: kubectl auth can-i --list --namespace triton"},
		"denied, wrapped":     {failedPreflight(fmt.Errorf("it failed: %w", forbidden), deny), nil, "you may not; it needs: "},
		"denied by a webhook": {failedPreflight(forbidden, broken), nil, forbidden.Error()},
		"no ready pod":        {failedPreflight(&portforward.NoReadyPodError{}, deny, unready), nil, "0 of 1 pods of Service triton/triton-infer are ready: t-0 is running and not ready; run: kubectl describe pod --namespace triton t-0"},
		"no pod":              {failedPreflight(&portforward.NoReadyPodError{}, deny), nil, "Service triton/triton-infer has no pod; what it selects, app=t, is scaled to zero, or nothing has these labels; run: kubectl get deployments,statefulsets --namespace triton"},
		"model failed":        {failedPreflight(errors.New("no m"), deny, unready), failed, "model m version 1 in pod t-0 is UNAVAILABLE; no such file; run: kubectl logs"},
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

// readyOr is a server that is ready unless it says why not.
type readyOr struct {
	control
	err error
}

func (r readyOr) ServerReady(context.Context) error { return r.err }

// TestPreflightNotes: a Triton that answered is tested with notes of what it
// lacks, each once, unless it says itself that it is not ready.
func TestPreflightNotes(t *testing.T) {
	pod := *customPod("triton", "t")
	pod.UID = "1"
	pod.Spec.Containers[0].Image = "nvcr.io/nvidia/tritonserver:26.06-py3"
	pod.Spec.Containers[0].Args = []string{"tritonserver", "--allow-metrics=false"}
	for name, c := range map[string]struct {
		ready error
		want  string // of the error
	}{
		"ready":                   {nil, ""},
		"not ready":               {&triton.Error{Class: "http 400", Status: 400}, "the server in pod t-0 is not ready; "},
		"did not answer in time":  {context.DeadlineExceeded, ""},
		"could not be reached":    {&triton.Error{Class: triton.ClassConnect}, ""},
		"lost while it was asked": {&triton.Error{Class: triton.ClassConnectionLost}, ""},
	} {
		p := failedPreflight(nil, fake.NewClientset(), pod)
		streams, _, _, notes := genericiooptions.NewTestIOStreams()
		p.test.options.IOStreams = streams
		p.route.pod.UID, p.test.client = "1", readyOr{err: c.ready}
		p.route.service.object.Spec.Ports = ports("http:8000:8000")
		err := p.run(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		for _, want := range []string{"! Service triton/triton-infer has no port named grpc or numbered 8001; ", "--allow-metrics=false; remove that flag to observe it; without metrics there is neither history nor alert; run: kubectl get pod"} {
			if c.want == "" && strings.Count(notes.String(), want) != 1 {
				t.Errorf("%s: %q is not there once: %s", name, want, notes)
			}
		}
	}
}
