package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Workload is how far a Deployment, DaemonSet or StatefulSet has come.
type Workload struct {
	Ref
	Ready   int32 `json:"ready"`
	Desired int32 `json:"desired"`
	// Done says that all pods of the newest revision are ready.
	Done bool `json:"done"`
	// Reason says why it isn't done, as the pods and events tell; or, of one
	// that is done, what is odd about it.
	Reason string `json:"reason,omitempty"`
}

// namespaceState is what of a namespace decides on its workloads, read once each.
type namespaceState struct {
	deployments  []appsv1.Deployment
	daemonSets   []appsv1.DaemonSet
	statefulSets []appsv1.StatefulSet
	pods         []corev1.Pod
	events       []corev1.Event
}

// Workloads tells the state of all of a namespace's workloads that want gives
// true for. It makes one request per kind.
func (c *Client) Workloads(ctx context.Context, namespace string, want func(metav1.Object) bool) ([]Workload, error) {
	var s namespaceState
	reads := []func(context.Context) error{
		func(ctx context.Context) error {
			list, err := c.kubernetes.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
			if err == nil {
				s.deployments = list.Items
			}
			return err
		},
		func(ctx context.Context) error {
			list, err := c.kubernetes.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{})
			if err == nil {
				s.daemonSets = list.Items
			}
			return err
		},
		func(ctx context.Context) error {
			list, err := c.kubernetes.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{})
			if err == nil {
				s.statefulSets = list.Items
			}
			return err
		},
		func(ctx context.Context) error {
			list, err := c.kubernetes.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			if err == nil {
				s.pods = list.Items
			}
			return err
		},
		func(ctx context.Context) error {
			list, err := c.kubernetes.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
			if err == nil {
				s.events = list.Items
			}
			// Without events the pods still tell most.
			return nil
		},
	}
	if err := each(ctx, reads, func(ctx context.Context, _ int, read func(context.Context) error) error { return read(ctx) }); err != nil {
		return nil, fmt.Errorf("could not read the workloads of namespace %s: %w", namespace, err)
	}
	var out []Workload
	for i := range s.deployments {
		if want(&s.deployments[i]) {
			out = append(out, s.deployment(&s.deployments[i]))
		}
	}
	for i := range s.daemonSets {
		if want(&s.daemonSets[i]) {
			out = append(out, s.daemonSet(&s.daemonSets[i]))
		}
	}
	for i := range s.statefulSets {
		if want(&s.statefulSets[i]) {
			out = append(out, s.statefulSet(&s.statefulSets[i]))
		}
	}
	slices.SortStableFunc(out, func(a, b Workload) int { return compareRefs(a.Ref, b.Ref) })
	return out, nil
}

func (s *namespaceState) deployment(d *appsv1.Deployment) Workload {
	w := Workload{Ref: Ref{Group: "apps", Version: "v1", Kind: "Deployment", Namespace: d.Namespace, Name: d.Name}, Desired: 1, Ready: d.Status.ReadyReplicas}
	if d.Spec.Replicas != nil {
		w.Desired = *d.Spec.Replicas
	}
	w.Done = d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas >= w.Desired &&
		d.Status.AvailableReplicas >= w.Desired && d.Status.Replicas <= w.Desired
	if !w.Done {
		w.Reason = s.why(d.UID, d.Spec.Selector)
		for _, c := range d.Status.Conditions {
			if w.Reason == "" && c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				w.Reason = c.Message
			}
		}
	}
	return w
}

func (s *namespaceState) daemonSet(d *appsv1.DaemonSet) Workload {
	w := Workload{Ref: Ref{Group: "apps", Version: "v1", Kind: "DaemonSet", Namespace: d.Namespace, Name: d.Name}, Desired: d.Status.DesiredNumberScheduled, Ready: d.Status.NumberReady}
	w.Done = d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedNumberScheduled >= w.Desired && d.Status.NumberAvailable >= w.Desired
	switch {
	case !w.Done:
		w.Reason = s.why(d.UID, d.Spec.Selector)
	case w.Desired == 0:
		w.Reason = "no node matches its node selector and tolerations"
	}
	return w
}

func (s *namespaceState) statefulSet(d *appsv1.StatefulSet) Workload {
	w := Workload{Ref: Ref{Group: "apps", Version: "v1", Kind: "StatefulSet", Namespace: d.Namespace, Name: d.Name}, Desired: 1, Ready: d.Status.ReadyReplicas}
	if d.Spec.Replicas != nil {
		w.Desired = *d.Spec.Replicas
	}
	w.Done = d.Status.ObservedGeneration >= d.Generation && d.Status.ReadyReplicas >= w.Desired && d.Status.UpdatedReplicas >= w.Desired
	if !w.Done {
		w.Reason = s.why(d.UID, d.Spec.Selector)
	}
	return w
}

// why finds the first thing that keeps a workload's pods from being ready.
func (s *namespaceState) why(uid types.UID, labelSelector *metav1.LabelSelector) string {
	selector, err := metav1.LabelSelectorAsSelector(labelSelector)
	if err != nil {
		return err.Error()
	}
	var reasons []string
	for i := range s.pods {
		pod := &s.pods[i]
		if !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if reason := s.podReason(pod); reason != "" && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) > 0 {
		return reasons[0]
	}
	// No pod at all: quota, PodSecurity and webhooks speak through events of the
	// workload, or of the ReplicaSet that a Deployment's condition repeats.
	return s.lastEvent(uid, "FailedCreate")
}

// podReason is why a pod isn't ready; empty when it is, or when nothing is
// known but that it is starting.
func (s *namespaceState) podReason(pod *corev1.Pod) string {
	name := "pod " + pod.Name + ": "
	if pod.DeletionTimestamp != nil {
		return ""
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
			return name + "can't be scheduled: " + c.Message
		}
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if reason := containerReason(status); reason != "" {
			return name + reason
		}
	}
	if pod.Status.Phase == corev1.PodFailed {
		return name + strings.Trim(pod.Status.Reason+": "+pod.Status.Message, ": ")
	}
	if !podReady(pod) {
		for _, event := range []string{"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Unhealthy"} {
			if message := s.lastEvent(pod.UID, event); message != "" {
				return name + message
			}
		}
	}
	return ""
}

func containerReason(s corev1.ContainerStatus) string {
	starting := []string{"ContainerCreating", "PodInitializing"}
	if w := s.State.Waiting; w != nil && w.Reason != "" && !slices.Contains(starting, w.Reason) {
		reason := fmt.Sprintf("container %s is in %s", s.Name, w.Reason)
		if w.Message != "" {
			reason += ": " + w.Message
		}
		if t := s.LastTerminationState.Terminated; t != nil {
			reason += fmt.Sprintf(" (it last ended with %s, exit code %d)", t.Reason, t.ExitCode)
		}
		return reason
	}
	if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
		return fmt.Sprintf("container %s ended with %s, exit code %d", s.Name, t.Reason, t.ExitCode)
	}
	return ""
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// lastEvent is the newest message of a kind of warning about an object.
func (s *namespaceState) lastEvent(uid types.UID, reason string) string {
	var newest *corev1.Event
	for i := range s.events {
		e := &s.events[i]
		if e.InvolvedObject.UID == uid && e.Reason == reason && (newest == nil || eventTime(newest).Before(eventTime(e))) {
			newest = e
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Message
}

func eventTime(e *corev1.Event) *metav1.Time {
	if !e.LastTimestamp.IsZero() {
		return &e.LastTimestamp
	}
	return &metav1.Time{Time: e.EventTime.Time}
}
