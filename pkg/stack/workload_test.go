package stack

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	k8stesting "k8s.io/client-go/testing"
)

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: "monitoring", UID: types.UID(name), Generation: 1, Labels: map[string]string{"app": "grafana"}}
}

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "grafana"}}
}

func podWith(status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: named("grafana-1"), Status: status}
}

func waiting(reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: "grafana", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func event(about, reason, message string, at time.Time) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: about + reason + at.Format("150405"), Namespace: "monitoring"}, Type: corev1.EventTypeWarning,
		InvolvedObject: corev1.ObjectReference{UID: types.UID(about)}, Reason: reason, Message: message, LastTimestamp: metav1.NewTime(at)}
}

// TestWorkloadReason: each thing that keeps a pod from starting is named.
func TestWorkloadReason(t *testing.T) {
	noon := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	crashed := waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container")
	crashed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}
	scheduled := func(message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: message}}}
	}
	deployment := &appsv1.Deployment{ObjectMeta: named("grafana"), Spec: appsv1.DeploymentSpec{Selector: selector()}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1}}
	refused := deployment.DeepCopy()
	refused.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue,
		Message: `pods "grafana-7c9d-" is forbidden: exceeded quota: small, requested: pods=1, used: pods=4, limited: pods=4`}}
	daemonSet := &appsv1.DaemonSet{ObjectMeta: named("node-exporter"), Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "node-exporter"}}},
		Status: appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 2}}
	statefulSet := &appsv1.StatefulSet{ObjectMeta: named("prometheus"), Spec: appsv1.StatefulSetSpec{Selector: selector()}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 1}}
	gone := podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ImagePullBackOff", "")}})
	gone.DeletionTimestamp, gone.Finalizers = &metav1.Time{Time: noon}, []string{"x"}

	for name, test := range map[string]struct {
		objects []runtime.Object
		want    []string
	}{
		"image pull":        {[]runtime.Object{deployment, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ImagePullBackOff", `Back-off pulling image "nowhere/grafana:13"`)}})}, []string{"pod grafana-1: container grafana is in ImagePullBackOff", "nowhere/grafana:13"}},
		"image pull, init":  {[]runtime.Object{deployment, podWith(corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{waiting("ErrImagePull", "no such host")}, ContainerStatuses: []corev1.ContainerStatus{waiting("PodInitializing", "")}})}, []string{"ErrImagePull: no such host"}},
		"crash loop":        {[]runtime.Object{deployment, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{crashed}})}, []string{"CrashLoopBackOff", "it last ended with OOMKilled, exit code 137"}},
		"ended":             {[]runtime.Object{deployment, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "grafana", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 3}}}}})}, []string{"container grafana ended with Error, exit code 3"}},
		"taint":             {[]runtime.Object{deployment, podWith(scheduled("0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: present}."))}, []string{"can't be scheduled", "untolerated taint {nvidia.com/gpu: present}"}},
		"PVC":               {[]runtime.Object{statefulSet, podWith(scheduled("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."))}, []string{"can't be scheduled", "unbound immediate PersistentVolumeClaims"}},
		"mount":             {[]runtime.Object{deployment, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ContainerCreating", "")}}), event("grafana-1", "FailedMount", `secret "x" not found`, noon)}, []string{`pod grafana-1: secret "x" not found`}},
		"not ready":         {[]runtime.Object{deployment, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "grafana", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}), event("grafana-1", "Unhealthy", "Readiness probe failed: 404", noon), event("grafana-1", "Unhealthy", "Readiness probe failed: 503", noon.Add(time.Minute))}, []string{"Readiness probe failed: 503"}},
		"evicted":           {[]runtime.Object{deployment, podWith(corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."})}, []string{"Evicted: The node was low on resource: memory."}},
		"quota":             {[]runtime.Object{refused}, []string{"exceeded quota: small"}},
		"PodSecurity":       {[]runtime.Object{daemonSet, event("node-exporter", "FailedCreate", `Error creating: pods "node-exporter-" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`, noon)}, []string{`violates PodSecurity "baseline:latest"`}},
		"starting":          {[]runtime.Object{deployment, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ContainerCreating", "")}})}, nil},
		"ending pods apart": {[]runtime.Object{deployment, gone}, nil},
		"other pods apart":  {[]runtime.Object{daemonSet, podWith(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{waiting("ImagePullBackOff", "")}})}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.objects)
			all, err := w.Workloads(t.Context(), "monitoring", func(metav1.Object) bool { return true })
			if err != nil || len(all) != 1 {
				t.Fatalf("got %v, %v", all, err)
			}
			if all[0].Done {
				t.Error("it is done")
			}
			if test.want == nil && all[0].Reason != "" {
				t.Errorf("the reason is %q", all[0].Reason)
			}
			for _, part := range test.want {
				if !strings.Contains(all[0].Reason, part) {
					t.Errorf("%q is not in %q", part, all[0].Reason)
				}
			}
		})
	}
}

func TestWorkloadDone(t *testing.T) {
	two := int32(2)
	none := int32(0)
	for name, test := range map[string]struct {
		object runtime.Object
		done   bool
		reason string
	}{
		"Deployment":                     {&appsv1.Deployment{ObjectMeta: named("a"), Spec: appsv1.DeploymentSpec{Replicas: &two, Selector: selector()}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 2, UpdatedReplicas: 2, AvailableReplicas: 2, ReadyReplicas: 2}}, true, ""},
		"Deployment with an old pod":     {&appsv1.Deployment{ObjectMeta: named("a"), Spec: appsv1.DeploymentSpec{Replicas: &two, Selector: selector()}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 3, UpdatedReplicas: 2, AvailableReplicas: 2}}, false, ""},
		"Deployment not looked at yet":   {&appsv1.Deployment{ObjectMeta: named("a"), Spec: appsv1.DeploymentSpec{Replicas: &none, Selector: selector()}}, false, ""},
		"Deployment of none":             {&appsv1.Deployment{ObjectMeta: named("a"), Spec: appsv1.DeploymentSpec{Replicas: &none, Selector: selector()}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1}}, true, ""},
		"StatefulSet":                    {&appsv1.StatefulSet{ObjectMeta: named("a"), Spec: appsv1.StatefulSetSpec{Selector: selector()}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 1, ReadyReplicas: 1, UpdatedReplicas: 1}}, true, ""},
		"StatefulSet with an old pod":    {&appsv1.StatefulSet{ObjectMeta: named("a"), Spec: appsv1.StatefulSetSpec{Selector: selector()}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 1, ReadyReplicas: 1}}, false, ""},
		"DaemonSet":                      {&appsv1.DaemonSet{ObjectMeta: named("a"), Spec: appsv1.DaemonSetSpec{Selector: selector()}, Status: appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberAvailable: 2, NumberReady: 2}}, true, ""},
		"DaemonSet without nodes":        {&appsv1.DaemonSet{ObjectMeta: named("a"), Spec: appsv1.DaemonSetSpec{Selector: selector()}, Status: appsv1.DaemonSetStatus{ObservedGeneration: 1}}, true, "no node matches its node selector and tolerations"},
		"DaemonSet not looked at yet":    {&appsv1.DaemonSet{ObjectMeta: named("a"), Spec: appsv1.DaemonSetSpec{Selector: selector()}}, false, ""},
		"DaemonSet with a node not done": {&appsv1.DaemonSet{ObjectMeta: named("a"), Spec: appsv1.DaemonSetSpec{Selector: selector()}, Status: appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2, NumberAvailable: 1}}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, []runtime.Object{test.object})
			all, err := w.Workloads(t.Context(), "monitoring", func(metav1.Object) bool { return true })
			if err != nil || len(all) != 1 {
				t.Fatalf("got %v, %v", all, err)
			}
			if all[0].Done != test.done || all[0].Reason != test.reason {
				t.Errorf("done %v, %q; want %v, %q", all[0].Done, all[0].Reason, test.done, test.reason)
			}
		})
	}
}

// TestWorkloadsWithoutEvents: a user who may not read events still gets the rest.
func TestWorkloadsWithoutEvents(t *testing.T) {
	w := newWorld(t, []runtime.Object{&appsv1.Deployment{ObjectMeta: named("grafana"), Spec: appsv1.DeploymentSpec{Selector: selector()}}, &appsv1.Deployment{ObjectMeta: named("other")}})
	w.typed.PrependReactor("list", "events", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("no") })
	all, err := w.Workloads(t.Context(), "monitoring", func(o metav1.Object) bool { return o.GetName() == "grafana" })
	if err != nil || len(all) != 1 || all[0].Name != "grafana" {
		t.Errorf("got %v, %v", all, err)
	}
	w.typed.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("no pods for you") })
	if _, err := w.Workloads(t.Context(), "monitoring", func(metav1.Object) bool { return true }); err == nil || !strings.Contains(err.Error(), "namespace monitoring: no pods for you") {
		t.Errorf("without pods: %v", err)
	}
}
