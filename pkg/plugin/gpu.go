package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

const (
	prometheusTimeout = 5 * time.Second
	// gpuWait bounds the wait for the last samples after the test.
	gpuWait      = 20 * time.Second
	tritonMetric = 8002
)

// gpuWatch reads what the GPUs of the loaded pods do: from Prometheus over the
// test's window, else from its own samples of the pods' metrics.
type gpuWatch struct {
	prometheus    *metrics.Prometheus
	prometheusErr error
	sampler       *metrics.Sampler
	selector      metrics.GPUSelector
}

// newGPUWatch finds Prometheus, the exporters on the nodes of the Triton pods,
// and which GPUs those pods hold.
func newGPUWatch(ctx context.Context, c *cluster, dialer *portforward.Dialer, o *BenchOptions, pods []corev1.Pod) *gpuWatch {
	w := &gpuWatch{}
	w.prometheus, w.prometheusErr = findPrometheus(ctx, c, dialer, o)
	var sources []metrics.Source
	var nodes []string
	for _, p := range pods {
		w.selector.Pods = append(w.selector.Pods, metrics.NamespacedName{Namespace: p.Namespace, Name: p.Name})
		nodes = append(nodes, p.Spec.NodeName)
		port, ok := containerPort(&p, []string{"metrics", "metrics-inference-server"}, tritonMetric)
		if !ok {
			port = tritonMetric
		}
		sources = append(sources, metricsSource(dialer, &p, port))
	}
	for _, p := range c.exporterPods(ctx, o.StackNamespace, nodes) {
		port, ok := containerPort(&p, []string{"metrics", "gpu-metrics"}, 9400)
		if ok && podReady(&p) {
			sources = append(sources, metricsSource(dialer, &p, port))
		}
	}
	w.selector.UUIDs = heldGPUs(ctx, sources[:len(pods)])
	w.sampler = metrics.NewSampler(metrics.SamplerConfig{Sources: sources})
	return w
}

// findPrometheus finds the one that the flags name, or the cluster's; among pods,
// where its own have been read already.
func findPrometheus(ctx context.Context, c *cluster, dialer *portforward.Dialer, o *BenchOptions, pods ...corev1.Pod) (*metrics.Prometheus, error) {
	ctx, cancel := context.WithTimeout(ctx, prometheusTimeout)
	defer cancel()
	if o.NoPrometheus {
		return nil, errors.New("--no-prometheus was given")
	}
	var p *metrics.Prometheus
	var err error
	if o.PrometheusURL != "" {
		p, err = metrics.NewPrometheus(o.PrometheusURL, http.DefaultTransport)
	} else {
		var svc stackService
		svc, err = c.findStackService(ctx, o.StackNamespace, prometheusService())
		if err != nil {
			return nil, err
		}
		endpoint := dialer.ServiceOf(svc.object, podsBehind(svc.object, pods), svc.port)
		p, err = metrics.NewPrometheus("http://prometheus", transport(endpoint.DialContext))
	}
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// exporterPods lists the dcgm-exporter pods of the chart, else of the GPU
// Operator, on some nodes; without permission to look, or an answer in time,
// there are none.
func (c *cluster) exporterPods(ctx context.Context, namespace string, nodes []string) []corev1.Pod {
	ctx, cancel := context.WithTimeout(ctx, prometheusTimeout)
	defer cancel()
	for _, where := range []struct {
		namespace string
		labels    labels.Set
	}{
		{namespace, labels.Set{"app.kubernetes.io/name": "dcgm-exporter"}},
		{"gpu-operator", labels.Set{"app": "nvidia-dcgm-exporter"}},
	} {
		var found []corev1.Pod
		err := c.eachPod(ctx, where.namespace, where.labels.AsSelector(), func(p *corev1.Pod) {
			if slices.Contains(nodes, p.Spec.NodeName) {
				found = append(found, *p)
			}
		})
		if err == nil && len(found) > 0 {
			return found
		}
	}
	return nil
}

func metricsSource(dialer *portforward.Dialer, p *corev1.Pod, port int32) metrics.Source {
	endpoint := dialer.PodOf(p, fmt.Sprint(port))
	return metrics.Source{
		Name:  "pod " + p.Name,
		Pod:   metrics.NamespacedName{Namespace: p.Namespace, Name: p.Name},
		Node:  p.Spec.NodeName,
		Fetch: fetchPage(httpClient(endpoint.DialContext), "http://metrics/metrics"),
	}
}

// fetchPage opens a page of metrics.
func fetchPage(client *http.Client, url string) func(ctx context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			return nil, fmt.Errorf("it answered %s", resp.Status)
		}
		return resp.Body, nil
	}
}

// heldGPUs reads the GPU UUIDs that the Triton pods themselves report.
func heldGPUs(ctx context.Context, sources []metrics.Source) []string {
	ctx, cancel := context.WithTimeout(ctx, prometheusTimeout)
	defer cancel()
	var uuids []string
	for _, s := range sources {
		body, err := s.Fetch(ctx)
		if err != nil {
			continue
		}
		readings, err := metrics.ParseGPUs(body)
		body.Close()
		if err != nil {
			continue
		}
		for _, r := range readings {
			if r.UUID != "" && !slices.Contains(uuids, r.UUID) {
				uuids = append(uuids, r.UUID)
			}
		}
	}
	return uuids
}

// start begins to sample; the samples are the fall-back for a Prometheus that
// is missing, or dies during the test.
func (w *gpuWatch) start(ctx context.Context) { w.sampler.Start(ctx) }

// stop ends the sampling and waits for what is under way.
func (w *gpuWatch) stop() { w.sampler.Stop() }

// include adds the pods that took over during the test.
func (w *gpuWatch) include(pods []report.Pod, namespace string) {
	for _, p := range pods {
		name := metrics.NamespacedName{Namespace: namespace, Name: p.Name}
		if p.Loaded && !slices.Contains(w.selector.Pods, name) {
			w.selector.Pods = append(w.selector.Pods, name)
		}
	}
}

// window returns the GPUs' figures between begin and end and, when they did not
// come from Prometheus, why.
func (w *gpuWatch) window(ctx context.Context, begin, end time.Time) (metrics.GPUWindow, error) {
	err := w.prometheusErr
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, gpuWait)
		defer cancel()
		var window metrics.GPUWindow
		if window, err = w.fromPrometheus(ctx, begin, end); err == nil {
			return w.unlessSparse(window, begin, end), nil
		}
	}
	return w.sampler.Window(w.selector, begin, end), err
}

// unlessSparse prefers the plugin's own samples where Prometheus scrapes too
// seldom for the length of the test.
func (w *gpuWatch) unlessSparse(window metrics.GPUWindow, begin, end time.Time) metrics.GPUWindow {
	insufficient := func(g metrics.GPUSummary) bool { return g.Insufficient }
	sufficient := func(g metrics.GPUSummary) bool { return !g.Insufficient }
	if !slices.ContainsFunc(window.GPUs, insufficient) || slices.ContainsFunc(window.GPUs, sufficient) {
		return window
	}
	own := w.sampler.Window(w.selector, begin, end)
	if !slices.ContainsFunc(own.GPUs, sufficient) {
		return window
	}
	own.Gaps = append(own.Gaps, fmt.Sprintf("%s has too few samples of this test (every %s); these figures were sampled by the plugin", window.Source, report.Seconds(window.Interval.Seconds())))
	return own
}

func (w *gpuWatch) fromPrometheus(ctx context.Context, begin, end time.Time) (metrics.GPUWindow, error) {
	if err := w.prometheus.WaitFor(ctx, w.selector, end); err != nil {
		return metrics.GPUWindow{}, err
	}
	window, err := w.prometheus.GPUWindow(ctx, w.selector, begin, end)
	if err == nil && len(window.GPUs) == 0 {
		err = fmt.Errorf("Prometheus has no GPU sample of the test, whose %s may lie between two scrapes (a longer --duration tells): %s", //nolint:staticcheck // a product's name
			report.Seconds(end.Sub(begin).Seconds()), strings.Join(window.Gaps, "; "))
	}
	return window, err
}

// gpuReport turns a window into the report's form. The energy per inference of a
// GPU is its energy in the window over all inferences of the test.
func gpuReport(window metrics.GPUWindow, inferences uint64) *report.GPU {
	g := &report.GPU{Source: window.Source, IntervalSeconds: window.Interval.Seconds(), Gaps: window.Gaps}
	for _, d := range window.GPUs {
		energy := d.EnergyOver(window.End.Sub(window.Start))
		device := report.GPUDevice{
			UUID: d.UUID, Index: d.Index, Product: d.Model, MIGProfile: d.MIGProfile, MIGInstance: d.MIGInstance, Node: d.Node, Pod: d.Pod,
			Samples: d.Samples, Insufficient: d.Insufficient,
			MemoryTotalBytes: d.MemoryTotalBytes,
		}
		if !d.Insufficient {
			device.UtilizationAverage, device.UtilizationPeak = d.UtilizationAvg, d.UtilizationPeak
			device.MemoryUsedBytes = d.MemoryUsedPeakBytes
			device.PowerAverageW, device.PowerPeakW = d.PowerAvgW, d.PowerPeakW
			device.TemperaturePeakC, device.EnergyJ = d.TemperaturePeakC, energy
			if energy != nil && inferences > 0 {
				perInference := *energy / float64(inferences)
				device.EnergyPerInference = &perInference
			}
		}
		g.Devices = append(g.Devices, device)
	}
	return g
}
