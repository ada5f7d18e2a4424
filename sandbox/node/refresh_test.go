package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestRefreshWritesAndRemoves(t *testing.T) {
	ctx := context.Background()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "rules", Namespace: "test"}, Data: map[string]string{"a": "1", "b": "1"}}
	client := fake.NewClientset(object)
	pod := testPod()
	pod.Namespace = "test"
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "rules"}}}}}
	v := &volumes{dir: t.TempDir(), client: client.CoreV1(), pod: pod, at: testAddresses()}
	if err := v.setUp(ctx); err != nil {
		t.Fatal(err)
	}
	object.Data = map[string]string{"b": "2", "c": "1"}
	if _, err := client.CoreV1().ConfigMaps("test").Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := v.refresh(ctx, "v"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(v.path("v"))
	if err != nil || len(entries) != 2 {
		t.Fatalf("the volume holds %v, %v, want b and c", entries, err)
	}
	for name, want := range object.Data {
		if got, err := os.ReadFile(filepath.Join(v.path("v"), name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestSourcesLeaveTokensAlone(t *testing.T) {
	projected := corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "ca"}}},
		{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "tls"}}},
	}}}}
	if got := sources(&projected); len(got) != 2 || got[0] != (source{"configmaps", "ca"}) || got[1] != (source{"secrets", "tls"}) {
		t.Errorf("sources = %v", got)
	}
	projected.Projected.Sources = append(projected.Projected.Sources, corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}})
	if got := sources(&projected); got != nil {
		t.Errorf("a volume with a token would be refreshed: %v", got)
	}
}

func TestClaimsLieOnTheirVolumes(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", Namespace: "test"}}
	client := fake.NewClientset(claim, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv"},
		Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(root, "pv")}}},
	})
	pod := testPod()
	pod.Namespace = "test"
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	v := &volumes{dir: t.TempDir(), client: client.CoreV1(), pod: pod, at: testAddresses(), claimsRoot: root}
	if err := v.setUp(ctx); err == nil {
		t.Fatal("a claim that is not bound was mounted")
	}
	claim.Spec.VolumeName = "pv"
	if _, err := client.CoreV1().PersistentVolumeClaims("test").Update(ctx, claim, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := v.setUp(ctx); err != nil {
		t.Fatal(err)
	}
	mounts, err := v.mounts(&corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/data", SubPath: "prometheus-db"}}})
	if err != nil || mounts[0].LocalPath != filepath.Join(root, "pv", "prometheus-db") {
		t.Errorf("mounts = %v, %v", mounts, err)
	}
	if info, err := os.Stat(mounts[0].LocalPath); err != nil || !info.IsDir() {
		t.Errorf("the subPath was not made: %v", err)
	}
}
