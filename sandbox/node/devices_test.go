package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func podWithGPUs(name string, gpus ...int64) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: name, UID: types.UID(name)}}
	for i, n := range gpus {
		c := corev1.Container{Name: string(rune('a' + i))}
		if n > 0 {
			c.Resources.Limits = corev1.ResourceList{gpuResource: *resource.NewQuantity(n, resource.DecimalSI)}
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

func TestDevices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pod-resources.json")
	d, err := newDevices(path, []string{"GPU-0", "GPU-1", "GPU-2"})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var held []Allocation
		if err := json.Unmarshal(content, &held); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range held {
			got = append(got, a.UUID+"="+a.Namespace+"/"+a.Pod+"/"+a.Container)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("allocations are %v, want %q", got, want)
		}
	}
	expect("")
	granted, err := d.allocate(podWithGPUs("one", 1, 0))
	if err != nil || len(granted) != 1 || strings.Join(granted["a"], ",") != "GPU-0" {
		t.Errorf("granted %v, %v; want GPU-0 to container a", granted, err)
	}
	if granted, err := d.allocate(podWithGPUs("none", 0)); err != nil || granted != nil {
		t.Errorf("a pod without GPUs got %v, %v", granted, err)
	}
	if granted, err := d.allocate(podWithGPUs("greedy", 2, 1)); err == nil {
		t.Errorf("a pod that asks for 3 of 2 free GPUs got %v", granted)
	}
	expect("GPU-0=triton/one/a")
	if granted, err := d.allocate(podWithGPUs("two", 1, 1)); err != nil || granted["a"][0] != "GPU-1" || granted["b"][0] != "GPU-2" {
		t.Errorf("granted %v, %v; want one GPU each", granted, err)
	}
	expect("GPU-0=triton/one/a GPU-1=triton/two/a GPU-2=triton/two/b")
	if err := d.release("one"); err != nil {
		t.Fatal(err)
	}
	if err := d.release("unknown"); err != nil {
		t.Fatal(err)
	}
	expect("GPU-1=triton/two/a GPU-2=triton/two/b")
}
