package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/kubectl-triton/kubectl-triton/sandbox/podpath"
)

func TestRewritePaths(t *testing.T) {
	mounts := podpath.Mounts{
		{ContainerPath: "/models", LocalPath: "/s/models"},
		{ContainerPath: "/models/cache", LocalPath: "/s/cache"},
		{ContainerPath: "/etc/prometheus/prometheus.yml", LocalPath: "/s/config/p.yml"},
	}
	tests := []struct{ value, want string }{
		{"/models", "/s/models"},
		{"/models/", "/s/models/"},
		{"/models/a/b.yaml", "/s/models/a/b.yaml"},
		{"/models/cache/x", "/s/cache/x"},
		{"/models-old", "/models-old"},
		{"--model-repository=/models", "--model-repository=/s/models"},
		{"--config.file=/etc/prometheus/prometheus.yml", "--config.file=/s/config/p.yml"},
		{"--a=b=/models", "--a=b=/models"},
		{"x/models", "x/models"},
		{"/models/../etc", "/s/etc"},
		{"", ""},
		{"=", "="},
	}
	for _, tt := range tests {
		if got := rewritePaths(tt.value, mounts); got != tt.want {
			t.Errorf("rewritePaths(%q) = %q, want %q", tt.value, got, tt.want)
		}
	}
	if got := rewritePaths("/models", nil); got != "/models" {
		t.Errorf("without mounts, %q was rewritten", got)
	}
}

func testPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "p", UID: "u", Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{NodeName: "gpu-node-0", ServiceAccountName: "sa"},
	}
}

func testAddresses() addresses {
	return addresses{pod: netip.MustParseAddr("10.244.0.1"), host: netip.MustParseAddr("10.64.0.2")}
}

func testClient() *fake.Clientset {
	client := fake.NewClientset(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "cm"}, Data: map[string]string{"k": "v", "FROM_CM": "1"}, BinaryData: map[string][]byte{"b": {0, 1}}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "triton", Name: "s"}, Data: map[string][]byte{"password": []byte("secret")}},
	)
	client.PrependReactor("create", "serviceaccounts", func(action clienttesting.Action) (bool, runtime.Object, error) {
		request := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest)
		return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "token-of-" + request.Spec.BoundObjectRef.Name}}, nil
	})
	return client
}

func TestResolveEnvironment(t *testing.T) {
	c := &corev1.Container{
		Name:      "c",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "gone"}, Optional: ptr.To(true)}},
		},
		Env: []corev1.EnvVar{
			{Name: "PLAIN", Value: "a"},
			{Name: "EXPANDED", Value: "$(PLAIN)-$(P_k)-$$(PLAIN)-$(UNKNOWN)"},
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "HOST", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}},
			{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
			{Name: "LABEL", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}},
			{Name: "CPUS", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}, Key: "k"}}},
			{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "password"}}},
			{Name: "ABSENT", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "x", Optional: ptr.To(true)}}},
		},
	}
	got, err := resolveEnvironment(context.Background(), testClient().CoreV1(), testPod(), c, testAddresses())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"P_k": "v", "P_FROM_CM": "1", "PLAIN": "a", "EXPANDED": "a-v-$(PLAIN)-$(UNKNOWN)",
		"IP": "10.244.0.1", "HOST": "10.64.0.2", "NODE": "gpu-node-0", "LABEL": "x", "CPUS": "2", "KEY": "v", "PASSWORD": "secret",
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s = %q, want %q", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("variables are %v, want %v", got, want)
	}
}

func TestResolveEnvironmentRefuses(t *testing.T) {
	tests := []struct {
		name string
		from corev1.EnvVarSource
		want string
	}{
		{"no such ConfigMap", corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "gone"}, Key: "k"}}, `configmap "gone"`},
		{"no such key", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}, Key: "x"}}, "couldn't find key x in Secret triton/s"},
		{"no such field", corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nothing"}}, "spec.nothing"},
		{"nothing", corev1.EnvVarSource{}, "don't support"},
	}
	for _, tt := range tests {
		c := &corev1.Container{Env: []corev1.EnvVar{{Name: "X", ValueFrom: &tt.from}}}
		_, err := resolveEnvironment(context.Background(), testClient().CoreV1(), testPod(), c, testAddresses())
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "variable X") {
			t.Errorf("%s: error = %v, want one that names X and contains %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret\"") {
			t.Errorf("%s: the error shows a secret: %v", tt.name, err)
		}
	}
}

func TestVolumes(t *testing.T) {
	pod := testPod()
	named := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("cm")}}},
		{Name: "items", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("cm"), Items: []corev1.KeyToPath{{Key: "k", Path: "sub/file"}}}}},
		{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr.To(int32(0o444))}}},
		{Name: "optional", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "gone", Optional: ptr.To(true)}}},
		{Name: "empty", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc"}}},
		{Name: "api", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("cm"), Items: []corev1.KeyToPath{{Key: "k", Path: "ca.crt"}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
		}}}},
	}
	v := &volumes{dir: t.TempDir(), client: testClient().CoreV1(), pod: pod, at: testAddresses()}
	for range 2 { // a second call must be harmless
		if err := v.setUp(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"config/k": "v", "config/FROM_CM": "1", "config/b": "\x00\x01", "items/sub/file": "v", "secret/password": "secret",
		"api/token": "token-of-p", "api/ca.crt": "v", "api/namespace": "triton",
	}
	files := 0
	err := filepath.Walk(v.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		files++
		name, _ := filepath.Rel(v.dir, path)
		content, err := os.ReadFile(path)
		if string(content) != want[name] {
			t.Errorf("%s holds %q, want %q", name, content, want[name])
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", name, info.Mode())
		}
		return err
	})
	if err != nil || files != len(want) {
		t.Errorf("%d files, %v; want %d", files, err, len(want))
	}
	mounts, err := v.mounts(&corev1.Container{VolumeMounts: []corev1.VolumeMount{
		{Name: "config", MountPath: "/etc/x/", SubPath: "k"},
		{Name: "api", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"},
	}})
	if err != nil || mounts[0] != (podpath.Mount{ContainerPath: "/etc/x", LocalPath: filepath.Join(v.dir, "config/k")}) {
		t.Errorf("mounts = %v, %v", mounts, err)
	}
	if dir, ok := serviceAccountDir(mounts); !ok || dir != filepath.Join(v.dir, "api") {
		t.Errorf("ServiceAccount directory = %q, %v", dir, ok)
	}
}

func TestVolumesRefuse(t *testing.T) {
	tests := []struct {
		name   string
		source corev1.VolumeSource
		want   string
	}{
		{"no such ConfigMap", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "gone"}}}, `configmaps "gone" not found`},
		{"no such key", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "x", Path: "x"}}}}, "non-existent key: x"},
		{"leaves the volume", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", Items: []corev1.KeyToPath{{Key: "password", Path: "../../x"}}}}, "leaves its volume"},
	}
	for _, tt := range tests {
		pod := testPod()
		pod.Spec.Volumes = []corev1.Volume{{Name: "vol", VolumeSource: tt.source}}
		v := &volumes{dir: t.TempDir(), client: testClient().CoreV1(), pod: pod, at: testAddresses()}
		err := v.setUp(context.Background())
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), `volume "vol"`) {
			t.Errorf("%s: error = %v, want one that names the volume and contains %q", tt.name, err, tt.want)
		}
	}
	v := &volumes{pod: testPod()}
	if _, err := v.mounts(&corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/x", SubPath: "../.."}}}); err == nil {
		t.Error("a subPath that leaves its volume was accepted")
	}
}
