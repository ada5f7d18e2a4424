package node

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Back-off of an image that can't be pulled, as the kubelet's but for a shorter
// beginning.
const (
	firstPullBackOff = 2 * time.Second
	maxPullBackOff   = 5 * time.Minute
)

// failPull shows what a kubelet shows of an image whose registry can't be
// reached: ErrImagePull after each attempt, ImagePullBackOff between them.
func (w *podWorker) failPull(c *container) {
	image := c.spec.Image
	host, _, _ := strings.Cut(repository(image), "/")
	name, _, _ := strings.Cut(host, ":")
	failure := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference %q: failed to do request: Head \"https://%s/v2/\": dial tcp: lookup %s: no such host", image, image, host, name)
	recorder, pod := w.agent.recorder, w.pod()
	recorder.Eventf(pod, corev1.EventTypeNormal, "Pulling", "Pulling image %q", image)
	recorder.Eventf(pod, corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %s", image, failure)
	recorder.Event(pod, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
	c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: failure}}
	c.pullBackOff = min(max(2*c.pullBackOff, firstPullBackOff), maxPullBackOff)
	time.AfterFunc(firstPullBackOff/2, func() {
		w.post(func() {
			if w.terminating {
				return
			}
			message := fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", image, failure)
			c.state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: message}}
			recorder.Eventf(w.pod(), corev1.EventTypeNormal, "BackOff", "Back-off pulling image %q", image)
			recorder.Event(w.pod(), corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		})
	})
	time.AfterFunc(firstPullBackOff/2+c.pullBackOff, func() { w.post(func() { c.pending = !w.terminating }) })
}
