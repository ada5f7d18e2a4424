package node

import (
	"os/exec"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestBackOff(t *testing.T) {
	c := &container{}
	want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute}
	for i, w := range want {
		if got := c.nextBackOff(time.Second); got != w {
			t.Errorf("crash %d: back-off %s, want %s", i+1, got, w)
		}
	}
	if got := c.nextBackOff(backOffReset); got != 0 {
		t.Errorf("after a long run: back-off %s, want none", got)
	}
	for range 100 {
		if got := c.nextBackOff(0); got > maxBackOff {
			t.Fatalf("back-off %s is over the limit", got)
		}
	}
}

func TestExitOf(t *testing.T) {
	tests := []struct {
		script string
		want   exit
	}{
		{"exit 0", exit{code: 0, reason: "Completed"}},
		{"exit 3", exit{code: 3, reason: "Error"}},
		{"kill -9 $$", exit{code: 137, signal: 9, reason: "Error"}},
		{"kill -15 $$", exit{code: 143, signal: 15, reason: "Error"}},
	}
	for _, tt := range tests {
		cmd := exec.Command("sh", "-c", tt.script)
		err := cmd.Run()
		if got := exitOf(cmd.ProcessState, err); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.script, got, tt.want)
		}
	}
}

func TestPhase(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended := func(code int32) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}}
	}
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
	always, onFailure, never := corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	plain := &corev1.Container{}
	sidecar := &corev1.Container{RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}
	tests := []struct {
		name       string
		policy     corev1.RestartPolicy
		inits      []*container
		containers []*container
		want       corev1.PodPhase
	}{
		{"not started", always, nil, []*container{{state: waiting}}, corev1.PodPending},
		{"one of two started", always, nil, []*container{{state: running}, {state: waiting}}, corev1.PodPending},
		{"running", always, nil, []*container{{state: running}}, corev1.PodRunning},
		{"crash loop", always, nil, []*container{{state: waiting, last: ended(1)}}, corev1.PodRunning},
		{"ended, to be restarted", always, nil, []*container{{state: ended(0)}}, corev1.PodRunning},
		{"failed, to be restarted", onFailure, nil, []*container{{state: ended(1)}}, corev1.PodRunning},
		{"completed", onFailure, nil, []*container{{state: ended(0)}}, corev1.PodSucceeded},
		{"completed, never restarted", never, nil, []*container{{state: ended(0)}}, corev1.PodSucceeded},
		{"failed", never, nil, []*container{{state: ended(0)}, {state: ended(2)}}, corev1.PodFailed},
		{"half done", never, nil, []*container{{state: ended(0)}, {state: running}}, corev1.PodRunning},
		{"initializing", always, []*container{{spec: plain, state: running}}, []*container{{state: waiting}}, corev1.PodPending},
		{"initialized", always, []*container{{spec: plain, state: ended(0)}}, []*container{{state: running}}, corev1.PodRunning},
		{"init failed", never, []*container{{spec: plain, state: ended(1)}}, []*container{{state: waiting}}, corev1.PodFailed},
		{"sidecar started", always, []*container{{spec: sidecar, init: true, started: true, state: running}}, []*container{{state: running}}, corev1.PodRunning},
	}
	for _, tt := range tests {
		w := &podWorker{inits: tt.inits, containers: tt.containers}
		if got := w.phase(&corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: tt.policy}}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
