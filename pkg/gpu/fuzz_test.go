package gpu

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// FuzzNode: labels are anybody's; whatever they say, a node stays believable.
func FuzzNode(f *testing.F) {
	f.Add("nvidia.com/gpu.memory", "9223372036854775807", "nvidia.com/gpu.present", "true", int64(8))
	f.Add("nvidia.com/gpu.replicas", "-4", "nvidia.com/gpu.sharing-strategy", "mps", int64(0))
	f.Add("nvidia.com/cuda.driver.major", "", "nvidia.com/cuda.driver.rev", "15", int64(1))
	f.Add("nvidia.com/gpu.count", "0x8", "karpenter.k8s.aws/instance-gpu-name", "RADEON", int64(0))
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string, gpus int64) {
		n := node("a", offers("nvidia.com/gpu", gpus&0xff, gpus&0xff))
		n.Labels[key1], n.Labels[key2] = value1, value2
		got := newNode(n, signs(), nil)
		if got == nil {
			if gpus&0xff > 0 {
				t.Error("allocatable GPUs are no evidence")
			}
			return
		}
		if len(got.Evidence) == 0 || got.Replicas < 1 || got.MemoryBytes < 0 || got.MemoryBytes > 1<<52 {
			t.Errorf("%+v", got)
		}
		c := &Cluster{Nodes: []Node{*got}, TotalNodes: 1}
		if p := c.Placement(); p.Covered > p.Total || p.Why == "" {
			t.Errorf("%+v", p)
		}
		for _, problem := range c.Problems() {
			if problem.What == "" || problem.Cause == "" || problem.Next == "" {
				t.Errorf("%+v", problem)
			}
		}
		_ = platformOf(&corev1.Node{ObjectMeta: n.ObjectMeta})
	})
}
