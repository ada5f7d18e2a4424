//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

type sample struct {
	at    time.Time
	value float64
}

func prometheusAPI(t *testing.T) promv1.API {
	t.Helper()
	return bed.Prometheus(t, "monitoring", "prom-operator-kube-prometh-prometheus")
}

func promVector(t *testing.T, query string) model.Vector {
	t.Helper()
	v, _, _, err := prometheusAPI(t).Query(t.Context(), query, time.Now())
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v.(model.Vector)
}

// promSamples are the stored samples of one series within [from, to].
func promSamples(t *testing.T, selector string, from, to time.Time) []sample {
	t.Helper()
	window := to.Sub(from).Milliseconds() + 1000
	v, _, _, err := prometheusAPI(t).Query(t.Context(), fmt.Sprintf("%s[%dms]", selector, window), to)
	if err != nil {
		t.Fatal(err)
	}
	var out []sample
	for _, series := range v.(model.Matrix) {
		for _, p := range series.Values {
			if at := p.Timestamp.Time(); !at.Before(from.Truncate(time.Millisecond)) && !at.After(to) {
				out = append(out, sample{at, float64(p.Value)})
			}
		}
	}
	return out
}

// TestPrometheusHasTheRealLabels: the scraped series carry the labels that a
// stack of prometheus-operator and dcgm-exporter gives them.
func TestPrometheusHasTheRealLabels(t *testing.T) {
	benchJSON(t, 0, "queueing", "--requests", "10", "--warmup", "0")
	pod := readyPod(t, "triton", "app=triton-infer")
	for _, c := range []struct {
		query string
		want  []string
	}{
		{`nv_inference_request_success{model="queueing"}`, []string{"model", "version", "namespace", "pod", "service", "container", "endpoint", "job", "instance"}},
		{`nv_gpu_utilization`, []string{"gpu_uuid", "namespace", "pod", "service", "container", "endpoint", "job", "instance"}},
		{`DCGM_FI_DEV_GPU_UTIL`, []string{"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "namespace", "pod", "service", "container", "endpoint", "job", "instance"}},
		{`DCGM_FI_DEV_FB_USED`, []string{"UUID", "modelName", "Hostname"}},
		{fmt.Sprintf(`DCGM_FI_DEV_GPU_UTIL{exported_namespace="triton",exported_pod=%q}`, pod.Name), []string{"exported_namespace", "exported_pod", "exported_container"}},
	} {
		var got model.Vector
		eventually(t, 30*time.Second, c.query, func() bool {
			got = promVector(t, c.query)
			return len(got) > 0
		})
		for _, l := range c.want {
			if got[0].Metric[model.LabelName(l)] == "" {
				t.Errorf("%s has no label %s: %v", c.query, l, got[0].Metric)
			}
		}
	}
	if up := promVector(t, `up == 0`); len(up) > 0 {
		t.Errorf("targets are down: %v", up)
	}
}

func readyPodOn(t *testing.T, namespace, selector, node string) *corev1.Pod {
	t.Helper()
	list, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list.Items, func(p corev1.Pod) bool { return p.Spec.NodeName == node })
	if i < 0 {
		t.Fatalf("no pod %s on node %s", selector, node)
	}
	return &list.Items[i]
}
