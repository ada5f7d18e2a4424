package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// status builds what the pod's status should say now.
func (w *podWorker) status(pod *corev1.Pod) corev1.PodStatus {
	status := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		Phase:              w.phase(pod),
		Reason:             w.rejection.reason,
		Message:            w.rejection.message,
		StartTime:          &w.since,
		HostIP:             w.at.host.String(),
		HostIPs:            []corev1.HostIP{{IP: w.at.host.String()}},
		QOSClass:           pod.Status.QOSClass,
	}
	if w.at.pod.IsValid() {
		status.PodIP = w.at.pod.String()
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	for _, c := range w.inits {
		status.InitContainerStatuses = append(status.InitContainerStatuses, containerStatus(pod, c))
	}
	for _, c := range w.containers {
		status.ContainerStatuses = append(status.ContainerStatuses, containerStatus(pod, c))
	}
	status.Conditions = w.conditions(pod, status.Phase)
	return status
}

func containerStatus(pod *corev1.Pod, c *container) corev1.ContainerStatus {
	started := c.started
	status := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image,
		State: c.state, LastTerminationState: c.last,
		Ready: c.ready, Started: &started, RestartCount: c.restarts,
	}
	if c.state.Running != nil || c.state.Terminated != nil || c.last.Terminated != nil {
		status.ImageID = c.spec.Image
		status.ContainerID = fmt.Sprintf("process://%s/%s/%d", pod.UID, c.spec.Name, c.attempt)
	}
	return status
}

// phase follows the table of the pod lifecycle: pending until all containers
// have started once, and finished only when none is to be restarted.
func (w *podWorker) phase(pod *corev1.Pod) corev1.PodPhase {
	if w.rejection.reason != "" {
		return corev1.PodFailed
	}
	for _, c := range w.inits {
		if c.state.Terminated != nil && c.state.Terminated.ExitCode != 0 && pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			return corev1.PodFailed
		}
		if !c.succeeded() && (!c.sidecar() || !c.started) {
			return corev1.PodPending
		}
	}
	ended, failed := 0, 0
	for _, c := range w.containers {
		switch {
		case c.state.Terminated != nil:
			ended++
			if c.state.Terminated.ExitCode != 0 {
				failed++
			}
		case c.state.Waiting != nil && c.last.Terminated == nil:
			return corev1.PodPending
		}
	}
	switch {
	case ended < len(w.containers):
		return corev1.PodRunning
	case failed > 0 && (pod.Spec.RestartPolicy == corev1.RestartPolicyNever || w.terminating):
		return corev1.PodFailed
	case failed > 0, pod.Spec.RestartPolicy == corev1.RestartPolicyAlways && !w.terminating:
		return corev1.PodRunning
	}
	return corev1.PodSucceeded
}

func (w *podWorker) conditions(pod *corev1.Pod, phase corev1.PodPhase) []corev1.PodCondition {
	initialized, ready := true, true
	for _, c := range w.inits {
		initialized = initialized && (c.succeeded() || (c.sidecar() && c.started))
	}
	for _, c := range w.containers {
		ready = ready && c.ready
	}
	reason, message := "", ""
	switch {
	case phase == corev1.PodSucceeded:
		ready, reason = false, "PodCompleted"
	case phase == corev1.PodFailed:
		ready, reason = false, "PodFailed"
	case !ready:
		reason = "ContainersNotReady"
		message = fmt.Sprintf("containers with unready status: %v", w.unready())
	}
	podReady := ready
	for _, gate := range pod.Spec.ReadinessGates {
		if !conditionIsTrue(pod.Status.Conditions, gate.ConditionType) {
			podReady = false
			if reason == "" {
				reason, message = "ReadinessGatesNotReady", fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist or is not True", gate.ConditionType)
			}
		}
	}
	own := []corev1.PodCondition{
		condition(corev1.PodReadyToStartContainers, w.at.pod.IsValid(), "", ""),
		condition(corev1.PodInitialized, initialized, "", ""),
		condition(corev1.ContainersReady, ready, reasonUnless(ready, reason), reasonUnless(ready, message)),
		condition(corev1.PodReady, podReady, reasonUnless(podReady, reason), reasonUnless(podReady, message)),
	}
	mine := map[corev1.PodConditionType]bool{}
	for i := range own {
		own[i].ObservedGeneration = pod.Generation
		mine[own[i].Type] = true
		own[i].LastTransitionTime = metav1.Now()
		for _, old := range w.reported.Conditions {
			if old.Type == own[i].Type && old.Status == own[i].Status {
				own[i].LastTransitionTime = old.LastTransitionTime
			}
		}
	}
	for _, other := range pod.Status.Conditions {
		if !mine[other.Type] {
			own = append(own, other)
		}
	}
	return own
}

func condition(kind corev1.PodConditionType, ok bool, reason, message string) corev1.PodCondition {
	status := corev1.ConditionFalse
	if ok {
		status = corev1.ConditionTrue
	}
	return corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message}
}

func reasonUnless(ok bool, text string) string {
	if ok {
		return ""
	}
	return text
}

func conditionIsTrue(conditions []corev1.PodCondition, kind corev1.PodConditionType) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (w *podWorker) unready() []string {
	var names []string
	for _, c := range w.containers {
		if !c.ready {
			names = append(names, c.spec.Name)
		}
	}
	return names
}

// report sends the pod's status if it has changed. A failure is retried later.
func (w *podWorker) report(ctx context.Context) {
	pod := w.pod()
	status := w.status(pod)
	if apiequality.Semantic.DeepEqual(status, w.reported) {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		w.agent.log.Error("cannot encode a pod's status", "pod", w.key, "error", err)
		return
	}
	_, err = w.agent.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	switch {
	case err == nil:
		w.reported = status
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), ctx.Err() != nil:
		// Deleted, or replaced by a pod of the same name: there is nothing to report on.
	default:
		w.agent.log.Warn("cannot report a pod's status; trying again", "pod", w.key, "error", err)
		time.AfterFunc(time.Second, func() { w.post(func() {}) })
	}
}
