package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const readyPoll = 100 * time.Millisecond

// rollout is how far one workload has come.
type rollout struct {
	name           string
	desired, ready int32
	current        bool // its controller has seen its newest specification
}

func (r rollout) complete() bool { return r.current && r.ready >= r.desired }

// awaitReady waits until every workload has all of its pods ready, and until
// Prometheus has scraped what it is to scrape.
func (w *workloads) awaitReady(ctx context.Context, step func(format string, args ...any)) error {
	told := map[string]bool{}
	for {
		rollouts, err := w.rollouts(ctx)
		if err == nil {
			missing := 0
			for _, r := range rollouts {
				if !r.complete() {
					missing++
				} else if !told[r.name] {
					told[r.name] = true
					step("%s is ready (%d of %d pods)", r.name, r.ready, r.desired)
				}
			}
			if missing == 0 {
				break
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not all pods became ready in time: %s", w.unready(context.WithoutCancel(ctx)))
		case <-time.After(readyPoll):
		}
	}
	if !w.options.Stack {
		return nil
	}
	want := w.scrapeTargets()
	for {
		up, err := w.scraped(ctx)
		if err == nil && up >= want {
			step("Prometheus scrapes all %d targets", want)
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("no answer from Prometheus in time: %w", err)
			}
			return fmt.Errorf("only %d of %d targets were scraped by Prometheus in time; see its log with kubectl logs -n %s", up, want, monitoringNamespace)
		case <-time.After(readyPoll):
		}
	}
}

func (w *workloads) scrapeTargets() int { return w.options.TritonReplicas + w.options.GPUNodes }

func (w *workloads) rollouts(ctx context.Context) ([]rollout, error) {
	var result []rollout
	apps := w.client.AppsV1()
	deployments, err := apps.Deployments("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list Deployments: %w", err)
	}
	for _, d := range deployments.Items {
		result = append(result, rollout{d.Namespace + "/" + d.Name, *d.Spec.Replicas, d.Status.ReadyReplicas, d.Status.ObservedGeneration >= d.Generation})
	}
	sets, err := apps.StatefulSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list StatefulSets: %w", err)
	}
	for _, s := range sets.Items {
		result = append(result, rollout{s.Namespace + "/" + s.Name, *s.Spec.Replicas, s.Status.ReadyReplicas, s.Status.ObservedGeneration >= s.Generation})
	}
	daemons, err := apps.DaemonSets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list DaemonSets: %w", err)
	}
	nodes := int32(w.options.GPUNodes) // the only DaemonSet is the GPU nodes'
	for _, s := range daemons.Items {
		current := s.Status.ObservedGeneration >= s.Generation && s.Status.DesiredNumberScheduled >= nodes
		result = append(result, rollout{s.Namespace + "/" + s.Name, nodes, s.Status.NumberReady, current})
	}
	return result, nil
}

// unready describes the pods that hold a bring-up back.
func (w *workloads) unready(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	pods, err := w.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Sprintf("the API server does not list them (%v)", err)
	}
	var reasons []string
	for _, pod := range pods.Items {
		if reason := podTrouble(&pod); reason != "" {
			reasons = append(reasons, fmt.Sprintf("%s/%s: %s", pod.Namespace, pod.Name, reason))
		}
	}
	if len(reasons) == 0 {
		return "some pods were not created; see the daemon's log"
	}
	return strings.Join(reasons, "; ")
}

// podTrouble says why a pod is not ready; it is empty for one that is.
func podTrouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			return ""
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			return "not scheduled: " + c.Message
		}
	}
	if pod.Status.Phase == corev1.PodSucceeded {
		return ""
	}
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Message != "":
			return c.State.Waiting.Reason + ": " + c.State.Waiting.Message
		case c.State.Waiting != nil:
			return c.State.Waiting.Reason
		case !c.Ready:
			return fmt.Sprintf("container %s runs but is not ready (%d restarts)", c.Name, c.RestartCount)
		}
	}
	return string(pod.Status.Phase)
}

// scraped asks Prometheus how many of its targets are up.
func (w *workloads) scraped(ctx context.Context) (int, error) {
	pods, err := w.client.CoreV1().Pods(monitoringNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=prometheus"})
	if err != nil {
		return 0, fmt.Errorf("cannot find its pod: %w", err)
	}
	if len(pods.Items) == 0 {
		return 0, fmt.Errorf("it has no pod")
	}
	address := url.URL{
		Scheme: "http", Host: pods.Items[0].Status.PodIP + ":9090", Path: "/api/v1/query",
		RawQuery: url.Values{"query": {`sum(up{job=~"triton-infer|dcgm-exporter"})`}}.Encode(),
	}
	response, err := w.podHTTP().Get(address.String())
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Value [2]json.RawMessage `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("it answered status %d and not what was expected: %w", response.StatusCode, err)
	}
	if len(answer.Data.Result) == 0 {
		return 0, nil
	}
	var up int
	if _, err := fmt.Sscanf(string(answer.Data.Result[0].Value[1]), `"%d"`, &up); err != nil {
		return 0, fmt.Errorf("its answer is not a number: %w", err)
	}
	return up, nil
}
