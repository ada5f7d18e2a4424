package portforward

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// readiness says whether a Service would send traffic to the pod, and if not,
// why, in the words of its status.
func readiness(p *corev1.Pod) (ready bool, reason string) {
	if p.DeletionTimestamp != nil {
		return false, "Terminating"
	}
	if p.Status.Phase != corev1.PodRunning {
		phase := string(p.Status.Phase)
		if phase == "" {
			phase = string(corev1.PodPending)
		}
		return false, join(phase, detail(p))
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return true, ""
		}
	}
	return false, join("Running", detail(p))
}

// ended says that the pod will never run again.
func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// detail is the most telling line of a pod's status: a container that waits or
// has ended, then a condition that does not hold, then the pod's own reason.
func detail(p *corev1.Pod) string {
	statuses := append(append([]corev1.ContainerStatus{}, p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
	for _, c := range statuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "PodInitializing" {
			return "container " + c.Name + ": " + join(w.Reason, w.Message)
		}
		if t := c.State.Terminated; t != nil && t.Reason != "" && t.Reason != "Completed" {
			return "container " + c.Name + ": " + join(t.Reason, t.Message)
		}
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady} {
		for _, c := range p.Status.Conditions {
			if c.Type == kind && c.Status != corev1.ConditionTrue && c.Reason+c.Message != "" {
				return join(c.Reason, c.Message)
			}
		}
	}
	if p.Status.Reason+p.Status.Message != "" {
		return join(p.Status.Reason, p.Status.Message)
	}
	if p.Status.Phase == corev1.PodRunning {
		return "its Ready condition is not true"
	}
	return ""
}

func join(parts ...string) string {
	var list []string
	for _, p := range parts {
		if p != "" {
			list = append(list, p)
		}
	}
	return strings.Join(list, ": ")
}
