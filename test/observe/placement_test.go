//go:build e2e

package observe

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// TestPlacement: the exporter goes to the GPU nodes by the labels and taints
// that they have, whatever these are.
func TestPlacement(t *testing.T) {
	t.Run("other labels and taints", func(t *testing.T) {
		cleanUp(t)
		// As on AKS without GPU Feature Discovery: no nvidia.com label is left.
		changeGPUNodes(t, func(n *corev1.Node) {
			for label := range n.Labels {
				if strings.HasPrefix(label, "nvidia.com/") || strings.HasPrefix(label, "feature.node.kubernetes.io/") {
					delete(n.Labels, label)
				}
			}
			n.Labels["kubernetes.azure.com/accelerator"] = "nvidia"
			n.Spec.Taints = []corev1.Taint{{Key: "sku", Value: "gpu", Effect: corev1.TaintEffectNoSchedule}, {Key: "team", Value: "ml", Effect: corev1.TaintEffectNoSchedule}}
		})
		r := mustUp(t, "--profile", "lite")
		if c := check(t, r, "GPU metrics"); c.State != report.CheckOK || c.Detail != "series of 4 GPUs from 2 of 2 exporters" {
			t.Errorf("GPU metrics: %+v", c)
		}
		set, err := sandbox.Client.AppsV1().DaemonSets("monitoring").Get(t.Context(), "dcgm-exporter", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Spec.Template.Spec.NodeSelector; len(got) != 1 || got["kubernetes.azure.com/accelerator"] != "nvidia" {
			t.Errorf("the node selector is %v", got)
		}
		if c := check(t, status(t, 0), "GPU nodes"); !strings.HasPrefix(c.Detail, "2 of 2 covered") {
			t.Errorf("GPU nodes: %+v", c)
		}
	})
	t.Run("no GPU node", func(t *testing.T) {
		anotherSandbox(t, "--gpu-nodes", "0", "--triton-replicas", "0")
		r := mustUp(t, "--profile", "lite")
		c := action(t, r, "dcgm-exporter", "unchanged")
		if !strings.Contains(c.Note, "left out: the cluster has no GPU node") {
			t.Errorf("the note is %q", c.Note)
		}
		for _, name := range []string{"GPU targets", "GPU metrics"} {
			if c := check(t, r, name); c.State != report.CheckSkipped || !strings.Contains(c.Detail, "no GPU node") {
				t.Errorf("%s: %+v", name, c)
			}
		}
		if c := check(t, r, "Triton targets"); c.State != report.CheckSkipped || !strings.Contains(c.Detail, "no Triton was found") {
			t.Errorf("Triton targets: %+v", c)
		}
		status(t, 0)
	})
}

// changeGPUNodes alters labels and taints of the GPU nodes until the test ends.
func changeGPUNodes(t *testing.T, change func(*corev1.Node)) {
	t.Helper()
	nodes := sandbox.Client.CoreV1().Nodes()
	list, err := nodes.List(t.Context(), metav1.ListOptions{LabelSelector: "nvidia.com/gpu.present=true"})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("%d GPU nodes, %v", len(list.Items), err)
	}
	for i := range list.Items {
		before := list.Items[i].DeepCopy()
		update := func(ctx context.Context, change func(*corev1.Node)) error {
			return retry.RetryOnConflict(retry.DefaultRetry, func() error {
				n, err := nodes.Get(ctx, before.Name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				change(n)
				_, err = nodes.Update(ctx, n, metav1.UpdateOptions{})
				return err
			})
		}
		t.Cleanup(func() {
			if err := update(context.Background(), func(n *corev1.Node) { n.Labels, n.Spec.Taints = before.Labels, before.Spec.Taints }); err != nil {
				t.Error(err)
			}
		})
		if err := update(t.Context(), change); err != nil {
			t.Fatal(err)
		}
	}
}

// anotherSandbox lets the rest of a test run against a sandbox of its own.
func anotherSandbox(t *testing.T, args ...string) {
	t.Helper()
	own, err := harness.Start(sandbox.Bin, "observe-other", append([]string{"--stack=false"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	shared, sharedCharts := sandbox, charts
	t.Cleanup(func() {
		sandbox, charts = shared, sharedCharts
		if err := own.Stop(); err != nil {
			t.Error(err)
		}
	})
	sandbox = own
	if charts, err = chartsOf(own); err != nil {
		t.Fatal(err)
	}
}
