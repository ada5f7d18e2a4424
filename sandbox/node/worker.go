package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podWorker leads one pod through its life. Apart from the pod itself, its
// fields belong to the goroutine that runs it; others send it closures.
type podWorker struct {
	agent *Agent
	key   types.NamespacedName
	dir   string

	mu     sync.Mutex
	latest *corev1.Pod
	gone   bool // the API object was removed by force

	at addresses // written by the worker's goroutine under mu

	events   chan func()
	finished chan struct{}

	since      metav1.Time
	volumes    *volumes
	inits      []*container
	containers []*container
	rejection  struct{ reason, message string }
	reported   corev1.PodStatus

	terminating bool
	endingSince time.Time
	killTimer   *time.Timer
}

func newPodWorker(a *Agent, pod *corev1.Pod) *podWorker {
	return &podWorker{
		agent:    a,
		key:      types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		dir:      filepath.Join(a.cfg.Dir, "pods", string(pod.UID)),
		latest:   pod,
		events:   make(chan func(), 16),
		finished: make(chan struct{}),
		since:    metav1.Now(),
	}
}

func (w *podWorker) pod() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest
}

// update hands over a newer version of the pod; gone means that it was removed.
func (w *podWorker) update(pod *corev1.Pod, gone bool) {
	w.mu.Lock()
	w.latest, w.gone = pod, gone
	w.mu.Unlock()
	w.post(func() {})
}

func (w *podWorker) removed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

// address returns the pod's address, which is not valid before it has one.
func (w *podWorker) address() netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at.pod
}

// post has f run by the worker's goroutine.
func (w *podWorker) post(f func()) {
	select {
	case w.events <- f:
	case <-w.finished:
	}
}

// run returns when the pod is gone or ctx ends. No process of the pod's is left.
func (w *podWorker) run(ctx context.Context) {
	defer w.cleanUp()
	if phase := w.pod().Status.Phase; phase == corev1.PodSucceeded || phase == corev1.PodFailed {
		w.awaitDeletion(ctx)
		return
	}
	if w.prepare(ctx) {
		watching, stop := context.WithCancel(ctx)
		defer stop()
		watchVolumes(watching, w.agent.client, w.pod(), func(volume string) {
			w.post(func() { w.refresh(watching, volume) })
		})
		w.advance(ctx)
	}
	w.report(ctx)
	for !w.done(ctx) {
		select {
		case <-ctx.Done():
			w.killAll()
			w.awaitExits()
			return
		case f := <-w.events:
			f()
		}
		if w.deletionRequested() {
			w.terminate()
		} else {
			w.advance(ctx)
		}
		w.report(ctx)
	}
	w.remove(ctx)
}

func (w *podWorker) deletionRequested() bool {
	return w.removed() || w.pod().DeletionTimestamp != nil
}

// done reports whether the pod may be removed: it is being deleted and nothing runs.
func (w *podWorker) done(ctx context.Context) bool {
	return ctx.Err() == nil && w.deletionRequested() && !w.anyRunning()
}

func (w *podWorker) awaitDeletion(ctx context.Context) {
	for !w.deletionRequested() {
		select {
		case <-ctx.Done():
			return
		case f := <-w.events:
			f()
		}
	}
	w.remove(ctx)
}

// remove confirms the deletion to the API server, which then drops the object.
func (w *podWorker) remove(ctx context.Context) {
	w.releaseGPUs()
	if w.removed() {
		return
	}
	pod := w.pod()
	now := int64(0)
	err := w.agent.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		w.agent.log.Error("cannot remove a deleted pod", "pod", w.key, "error", err)
	}
}

// releaseGPUs must come before the API server drops the pod: the scheduler then
// counts its GPUs as free.
func (w *podWorker) releaseGPUs() {
	if err := w.agent.devices.release(w.pod().UID); err != nil {
		w.agent.log.Error("cannot release a pod's GPUs", "pod", w.key, "error", err)
	}
}

// allocateGPUs waits for pods that were removed by force and still end: the
// scheduler counts their GPUs as free already.
func (w *podWorker) allocateGPUs(ctx context.Context) (map[string][]string, error) {
	for {
		granted, err := w.agent.devices.allocate(w.pod())
		if err == nil || !w.agent.someoneEnds() || w.deletionRequested() {
			return granted, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// prepare gives the pod its address, devices and volumes. It returns false if
// the pod was rejected, or deleted before all of that was there.
func (w *podWorker) prepare(ctx context.Context) bool {
	pod := w.pod()
	w.at.host = w.agent.internalIP
	granted, err := w.allocateGPUs(ctx)
	for i := range pod.Spec.InitContainers {
		w.inits = append(w.inits, w.newContainer(&pod.Spec.InitContainers[i], true, nil))
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		w.containers = append(w.containers, w.newContainer(c, false, granted[c.Name]))
	}
	if err != nil {
		w.reject("UnexpectedAdmissionError", err.Error())
		return false
	}
	w.report(ctx)
	own := w.agent.internalIP
	if !pod.Spec.HostNetwork {
		if own, err = w.agent.addresses.take(); err != nil {
			w.reject("OutOfpods", err.Error())
			return false
		}
	}
	w.mu.Lock()
	w.at.pod = own
	w.mu.Unlock()
	w.volumes = &volumes{dir: filepath.Join(w.dir, "volumes"), client: w.agent.client.CoreV1(), pod: pod, at: w.at, claimsRoot: w.agent.cfg.VolumesDir}
	delay := 100 * time.Millisecond
	for {
		err := w.volumes.setUp(ctx)
		if err == nil {
			return true
		}
		if delay > 200*time.Millisecond {
			// The node authorizer learns of a new pod's ConfigMaps and Secrets with a small delay, which is no fault.
			w.agent.recorder.Event(pod, corev1.EventTypeWarning, "FailedMount", err.Error())
			w.agent.log.Warn("a pod's volumes are not ready", "pod", w.key, "error", err)
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case f := <-w.events:
			f()
		case <-timer.C:
		}
		timer.Stop()
		if w.deletionRequested() {
			return false
		}
		delay = min(2*delay, 2*time.Second)
	}
}

func (w *podWorker) refresh(ctx context.Context, volume string) {
	if w.terminating {
		return
	}
	if err := w.volumes.refresh(ctx, volume); err != nil && ctx.Err() == nil {
		w.agent.log.Warn("a volume is not up to date", "pod", w.key, "error", err)
	}
}

func (w *podWorker) reject(reason, message string) {
	w.rejection.reason, w.rejection.message = reason, message
	w.agent.recorder.Event(w.pod(), corev1.EventTypeWarning, reason, message)
}

func (w *podWorker) newContainer(spec *corev1.Container, init bool, gpus []string) *container {
	c := &container{spec: spec, init: init, gpus: gpus, pending: true, attempt: -1, dir: filepath.Join(w.dir, "containers", spec.Name)}
	reason := "ContainerCreating"
	if len(w.pod().Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	c.state.Waiting = &corev1.ContainerStateWaiting{Reason: reason}
	if p, ok := programFor(spec.Image); ok {
		c.program = &p
	}
	return c
}

// advance starts whatever may start now: init containers one after the other,
// then all others.
func (w *podWorker) advance(ctx context.Context) {
	if w.volumes == nil || w.terminating || w.rejection.reason != "" {
		return
	}
	for _, c := range w.inits {
		if c.pending {
			w.start(ctx, c)
		}
		if !c.succeeded() && (!c.sidecar() || !c.started) {
			return
		}
	}
	for _, c := range w.containers {
		if c.pending {
			w.start(ctx, c)
		}
	}
}

func (w *podWorker) anyRunning() bool {
	for _, c := range w.all() {
		if c.process != nil {
			return true
		}
	}
	return false
}

func (w *podWorker) all() []*container {
	return append(append([]*container{}, w.inits...), w.containers...)
}

// terminate asks all processes to end and kills them after the grace period,
// which a later deletion may shorten.
func (w *podWorker) terminate() {
	if w.removed() {
		w.terminating = true
		w.killAll()
		return
	}
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if g := w.pod().DeletionGracePeriodSeconds; g != nil {
		grace = *g
	}
	if !w.terminating {
		w.terminating, w.endingSince = true, time.Now()
		for _, c := range w.all() {
			if c.process == nil {
				w.endUnstarted(c)
				continue
			}
			w.agent.recorder.Eventf(w.pod(), corev1.EventTypeNormal, "Killing", "Stopping container %s", c.spec.Name)
			w.signal(c, syscall.SIGTERM)
		}
	}
	if w.killTimer != nil {
		w.killTimer.Stop()
	}
	// The deletion timestamp has whole seconds only, too coarse for short grace periods.
	deadline := w.endingSince.Add(time.Duration(grace) * time.Second)
	w.killTimer = time.AfterFunc(max(time.Until(deadline), 0), func() { w.post(w.killAll) })
}

// endUnstarted settles the state of a container without a process.
func (w *podWorker) endUnstarted(c *container) {
	w.stopWatching(c)
	c.pending, c.ready = false, false
	if c.state.Running != nil {
		c.state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "Completed", StartedAt: c.state.Running.StartedAt, FinishedAt: metav1.Now(),
		}}
	}
}

func (w *podWorker) killAll() {
	for _, c := range w.all() {
		if c.process != nil {
			w.signal(c, syscall.SIGKILL)
		}
	}
}

func (w *podWorker) signal(c *container, s syscall.Signal) {
	if err := c.process.signal(s); err != nil {
		w.agent.log.Error("cannot end a container", "pod", w.key, "container", c.spec.Name, "error", err)
	}
}

// awaitExits drains events until no process is left.
func (w *podWorker) awaitExits() {
	w.terminating = true
	for w.anyRunning() {
		(<-w.events)()
	}
}

func (w *podWorker) cleanUp() {
	if w.killTimer != nil {
		w.killTimer.Stop()
	}
	for _, c := range w.all() {
		w.stopWatching(c)
	}
	close(w.finished)
	w.releaseGPUs()
	if w.at.pod.IsValid() && w.at.pod != w.at.host {
		w.agent.addresses.release(w.at.pod)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		w.agent.log.Error("cannot remove a pod's directory", "pod", w.key, "error", err)
	}
	w.agent.forget(w)
}
