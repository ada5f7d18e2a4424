package cluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

func TestProvisionerMakesAndReclaimsVolumes(t *testing.T) {
	ctx := context.Background()
	claim := func(name, class string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "monitoring", UID: "uid-1"},
			Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: ptr.To(class), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
			},
		}
	}
	p := &provisioner{client: fake.NewClientset(), dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	if err := p.provision(ctx, claim("other", "fast")); err != nil {
		t.Fatal(err)
	}
	if volumes, err := p.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{}); err != nil || len(volumes.Items) != 0 {
		t.Fatalf("another class's claim got %v, %v", volumes, err)
	}
	for range 2 { // a second event makes no second volume
		if err := p.provision(ctx, claim("data", storageClass)); err != nil {
			t.Fatal(err)
		}
	}
	volume, err := p.client.CoreV1().PersistentVolumes().Get(ctx, "pvc-uid-1", metav1.GetOptions{})
	if err != nil || volume.Spec.ClaimRef.Name != "data" || volume.Spec.Local.Path != filepath.Join(p.dir, "pvc-uid-1") {
		t.Fatalf("volume %+v, %v", volume, err)
	}
	if _, err := os.Stat(volume.Spec.Local.Path); err != nil {
		t.Error(err)
	}
	volume.Status.Phase = corev1.VolumeBound
	if err := p.reclaim(ctx, volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(volume.Spec.Local.Path); err != nil {
		t.Errorf("a bound volume was reclaimed: %v", err)
	}
	volume.Status.Phase = corev1.VolumeReleased
	if err := p.reclaim(ctx, volume); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(volume.Spec.Local.Path); !os.IsNotExist(err) {
		t.Errorf("the released volume's directory is still there: %v", err)
	}
	if _, err := p.client.CoreV1().PersistentVolumes().Get(ctx, volume.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the released volume is still there: %v", err)
	}
}

func TestGPUTaints(t *testing.T) {
	o := DefaultOptions()
	o.GPUNodeTaints = []string{"sku=gpu:NoSchedule", "nvidia.com/gpu:NoExecute"}
	taints, err := o.gpuTaints()
	if err != nil || len(taints) != 2 || taints[0].Key != "sku" || taints[0].Value != "gpu" || taints[1].Effect != corev1.TaintEffectNoExecute || taints[1].Value != "" {
		t.Errorf("taints = %+v, %v", taints, err)
	}
	for _, bad := range []string{"", "sku", "sku=gpu", "sku=gpu:Sometimes", "=gpu:NoSchedule", "sku=a b:NoSchedule"} {
		o.GPUNodeTaints = []string{bad}
		if o.Validate() == nil {
			t.Errorf("the taint %q was accepted", bad)
		}
	}
	o = DefaultOptions()
	o.GPUNodes, o.TritonReplicas, o.GPUNodeLabels = 0, 0, map[string]string{"a": "b"}
	if o.Validate() == nil {
		t.Error("labels of GPU nodes were accepted without a GPU node")
	}
}
