//go:build benchmark

package benchmark

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	manyNodes = 5000
	manyPods  = 20_000
)

// TestNodes compares "nodes" and "check", which read nodes, pods and more, with
// "kubectl get nodes -o json", which reads the nodes, on one large cluster in
// interleaved rounds.
func TestNodes(t *testing.T) {
	config := startSandbox(t)
	fast := rest.CopyConfig(config.rest)
	fast.QPS = -1
	client, err := kubernetes.NewForConfig(fast)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, client)
	commands := [][]string{
		{"kubectl", "get", "nodes", "-o", "json"},
		{"kubectl-triton", "nodes", "--no-prometheus", "-o", "json"},
		{"kubectl-triton", "nodes", "--no-prometheus"},
		{"kubectl-triton", "check", "-o", "json"},
	}
	costs := make([][]cost, len(commands))
	for range rounds {
		for i, c := range commands {
			costs[i] = append(costs[i], spend(t, config.file, c...))
		}
	}
	base := medianCost(costs[0])
	rows := []string{"| command | time s | ratio | CPU s | memory MiB | ratio |", "|---|---|---|---|---|---|"}
	for i, c := range commands {
		m := medianCost(costs[i])
		rows = append(rows, fmt.Sprintf("| %s | %.2f | %.2f | %.2f | %.0f | %.2f |", strings.Join(c, " "), m.wall.Seconds(), m.wall.Seconds()/base.wall.Seconds(), m.cpu.Seconds(), m.memoryMiB, m.memoryMiB/base.memoryMiB))
	}
	writeSection(t, "Many nodes", fmt.Sprintf("A sandbox's API server with %d GPU nodes and %d pods, medians of %d interleaved\nrounds. Memory is the process's peak.\n\n%s\n", manyNodes, manyPods, rounds, strings.Join(rows, "\n")))
}

// fill creates GPU nodes and pods that hold GPUs on them.
func fill(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	each := func(n int, create func(int) error) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					if err := create(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	ctx := t.Context()
	name := func(i int) string { return fmt.Sprintf("large-%05d", i) }
	each(manyNodes, func(i int) error {
		offers := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("8"), corev1.ResourceCPU: resource.MustParse("96"), corev1.ResourceMemory: resource.MustParse("680Gi"), corev1.ResourcePods: resource.MustParse("110")}
		_, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name(i), Labels: largeLabels(name(i))},
			// The taint keeps the sandbox's own DaemonSet away.
			Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: "large", Effect: corev1.TaintEffectNoSchedule}}},
			Status: corev1.NodeStatus{Capacity: offers, Allocatable: offers},
		}, metav1.CreateOptions{})
		return err
	})
	each(manyPods, func(i int) error {
		_, err := client.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("holder-%05d", i)},
			Spec: corev1.PodSpec{NodeName: name(i % manyNodes), Containers: []corev1.Container{{
				Name: "triton", Image: "nvcr.io/nvidia/tritonserver:26.06-py3",
				Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}},
			}}},
		}, metav1.CreateOptions{})
		return err
	})
	if t.Failed() {
		t.FailNow()
	}
}

// largeLabels are about as many as GPU and Node Feature Discovery set.
func largeLabels(name string) map[string]string {
	labels := map[string]string{
		corev1.LabelHostname: name, corev1.LabelInstanceTypeStable: "a2-highgpu-8g", "nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
		"nvidia.com/gpu.memory": "40960", "nvidia.com/gpu.count": "8", "nvidia.com/cuda.driver-version.full": "580.95.05", "feature.node.kubernetes.io/pci-10de.present": "true",
	}
	for i := range 60 {
		labels[fmt.Sprintf("feature.node.kubernetes.io/cpu-cpuid.FEATURE%02d", i)] = "true"
	}
	return labels
}

// cost is what one run of a command took.
type cost struct {
	wall, cpu time.Duration
	memoryMiB float64 // resident, at most
}

func spend(t *testing.T, kubeconfig string, args ...string) cost {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(binDir, args[0]), args[1:]...)
	cmd.Env = append(plainEnvironment(), "KUBECONFIG="+kubeconfig)
	var out counter
	var problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	wall := time.Since(begin)
	memory := peak()
	// Nodes without a kubelet are not well, and "check" says so in a few words.
	checks := args[1] == "check"
	if err != nil && (!checks || cmd.ProcessState.ExitCode() != 1) {
		t.Fatalf("%v: %v: %s", args, err, problems.String())
	}
	if !checks && out < manyNodes*20 {
		t.Fatalf("%v printed only %d bytes", args, out)
	}
	state := cmd.ProcessState
	return cost{wall, state.UserTime() + state.SystemTime(), memory}
}

// counter is a writer that only counts.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func medianCost(costs []cost) cost {
	slices.SortFunc(costs, func(a, b cost) int { return int(a.wall - b.wall) })
	m := costs[len(costs)/2]
	slices.SortFunc(costs, func(a, b cost) int { return int(a.memoryMiB - b.memoryMiB) })
	m.memoryMiB = costs[len(costs)/2].memoryMiB
	return m
}
