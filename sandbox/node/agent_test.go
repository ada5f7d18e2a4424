package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/kubectl-triton/kubectl-triton/sandbox/node"
)

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(runProgram())
	}
	os.Exit(m.Run())
}

// TestAgent runs real pods of a real control plane.
func TestAgent(t *testing.T) {
	c := startCluster(t)
	t.Run("node", c.testNode)
	t.Run("lifecycle", c.testLifecycle)
	t.Run("crash", c.testCrash)
	t.Run("stubborn", c.testStubborn)
	t.Run("force", c.testForcedDeletion)
	t.Run("gpus", c.testGPUs)
	t.Run("missing configuration", c.testMissingConfiguration)
	t.Run("unknown images", c.testUnknownImages)
	t.Run("stranger", c.testStranger)
}

func (c *testCluster) testNode(t *testing.T) {
	c.await(t, "the node to be ready and schedulable", func() string {
		n, err := c.client.CoreV1().Nodes().Get(c.ctx, "gpu-node-0", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if len(n.Spec.Taints) != 1 {
			return fmt.Sprintf("taints %v", n.Spec.Taints)
		}
		if taint := n.Spec.Taints[0]; taint.Key != "nvidia.com/gpu" || taint.Value != "present" || taint.Effect != corev1.TaintEffectNoSchedule {
			t.Errorf("taint = %v, want the GPU node's", taint)
		}
		if gpus := n.Status.Allocatable["nvidia.com/gpu"]; gpus.Value() != 2 {
			t.Errorf("allocatable GPUs = %s, want 2", gpus.String())
		}
		for label, want := range map[string]string{
			"nvidia.com/gpu.present": "true", "nvidia.com/gpu.count": "2", "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB",
			"nvidia.com/gpu.memory": "40960", "feature.node.kubernetes.io/pci-10de.present": "true",
			corev1.LabelHostname: "gpu-node-0", corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelInstanceTypeStable: "a2-highgpu-2g",
		} {
			if n.Labels[label] != want {
				t.Errorf("label %s = %q, want %q", label, n.Labels[label], want)
			}
		}
		return ""
	})
	lease, err := c.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(c.ctx, "gpu-node-0", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "gpu-node-0" {
		t.Errorf("the node's lease: %v, %v", lease, err)
	}
}

func (c *testCluster) testLifecycle(t *testing.T) {
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(c.ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "models"}, Data: map[string]string{"a.yaml": "name: a"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "life"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "life"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}}},
	}
	if _, err := c.client.CoreV1().Services("default").Create(c.ctx, service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := programPod("life", "tritonserver", "--model-repository=/models", "--note=$(NOTE)", "--unready")
	container := &pod.Spec.Containers[0]
	container.Env = []corev1.EnvVar{{Name: "NOTE", Value: "/models/a.yaml"}}
	container.VolumeMounts = []corev1.VolumeMount{{Name: "models", MountPath: "/models"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "models", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "models"}}}}}
	c.create(t, pod)

	running := c.awaitPod(t, "life", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	if isReady(running) || running.Status.ContainerStatuses[0].Ready {
		t.Error("the pod is ready while its probe fails")
	}
	if running.Status.PodIP == "" || running.Status.HostIP == "" || running.Status.StartTime == nil {
		t.Errorf("the status lacks addresses or the start: %+v", running.Status)
	}
	base := c.forward(t, "life", 8000)
	if got := c.ask(t, http.MethodGet, base+"/read"); got != "name: a" {
		t.Errorf("the program reads %q from its mounted ConfigMap, want %q", got, "name: a")
	}
	if got := c.ask(t, http.MethodGet, base+"/arguments"); !strings.Contains(got, "--note=") || strings.Contains(got, "$(NOTE)") || strings.HasPrefix(got, "tritonserver") {
		t.Errorf("the program's arguments are %q", got)
	}
	variables := c.ask(t, http.MethodGet, base+"/variables")
	for _, want := range []string{"POD_NAME=life", "POD_NAMESPACE=default", "POD_UID=" + string(running.UID), "NODE_NAME=gpu-node-0", "SANDBOX_GPU_DIR=", "KUBECONFIG="} {
		if !strings.Contains(variables, want) {
			t.Errorf("the program's variables lack %s: %s", want, variables)
		}
	}
	if strings.Contains(variables, "NVIDIA_VISIBLE_DEVICES") {
		t.Error("a pod without GPUs sees devices")
	}
	c.ask(t, http.MethodPost, base+"/ready")
	c.awaitPod(t, "life", "ready", isReady)
	c.await(t, "the Service's endpoint to be ready", func() string {
		slices, err := c.client.DiscoveryV1().EndpointSlices("default").List(c.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=life"})
		if err != nil {
			return err.Error()
		}
		for _, s := range slices.Items {
			for _, e := range s.Endpoints {
				if *e.Conditions.Ready && e.Addresses[0] == running.Status.PodIP {
					return ""
				}
			}
		}
		return fmt.Sprint(slices.Items)
	})
	c.ask(t, http.MethodPost, base+"/unready")
	c.awaitPod(t, "life", "unready again", func(p *corev1.Pod) bool { return !isReady(p) })
	c.checkLogs(t)
	c.delete(t, "life", metav1.DeleteOptions{})
}

// checkLogs reads the log of the pod "life" in every way.
func (c *testCluster) checkLogs(t *testing.T) {
	t.Helper()
	all := c.logs(t, "life", corev1.PodLogOptions{})
	if !strings.HasPrefix(all, "the program is listening\n") {
		t.Fatalf("the log is %q", all)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(all, "\n"), "\n")
	if got := c.logs(t, "life", corev1.PodLogOptions{TailLines: ptr.To(int64(1))}); got != lines[len(lines)-1]+"\n" {
		t.Errorf("the last line is %q, want %q", got, lines[len(lines)-1])
	}
	if got := c.logs(t, "life", corev1.PodLogOptions{LimitBytes: ptr.To(int64(5))}); got != "the p" {
		t.Errorf("five bytes are %q", got)
	}
	if got := c.logs(t, "life", corev1.PodLogOptions{Timestamps: true, TailLines: ptr.To(int64(1))}); !strings.HasPrefix(got, time.Now().UTC().Format("2006-")) {
		t.Errorf("a line with its time is %q", got)
	}
	future := metav1.NewTime(time.Now().Add(time.Hour))
	if got := c.logs(t, "life", corev1.PodLogOptions{SinceTime: &future}); got != "" {
		t.Errorf("the log since the future is %q", got)
	}
	stream, err := c.client.CoreV1().Pods("default").GetLogs("life", &corev1.PodLogOptions{Follow: true, TailLines: ptr.To(int64(0))}).Stream(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	c.ask(t, http.MethodPost, c.forward(t, "life", 8000)+"/say?text=later")
	buf := make([]byte, 64)
	n, err := stream.Read(buf)
	if err != nil || string(buf[:n]) != "later\n" {
		t.Errorf("following the log reads %q, %v", buf[:n], err)
	}
	if _, err := c.client.CoreV1().Pods("default").GetLogs("life", &corev1.PodLogOptions{Previous: true}).Stream(c.ctx); err == nil || !strings.Contains(err.Error(), "previous terminated container") {
		t.Errorf("the previous log of a first run: %v", err)
	}
}

func (c *testCluster) testCrash(t *testing.T) {
	c.create(t, programPod("crash"))
	c.awaitPod(t, "crash", "ready", isReady)
	c.ask(t, http.MethodPost, c.forward(t, "crash", 8000)+"/exit?code=3")
	restarted := c.awaitPod(t, "crash", "restarted at once", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses[0]
		return s.RestartCount == 1 && s.State.Running != nil
	})
	if last := restarted.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 3 || last.Reason != "Error" {
		t.Errorf("last state = %+v, want exit code 3", last)
	}
	if got := c.logs(t, "crash", corev1.PodLogOptions{Previous: true}); !strings.Contains(got, "exiting with 3") {
		t.Errorf("the previous log is %q", got)
	}
	base := c.forward(t, "crash", 8000)
	c.ask(t, http.MethodPost, base+"/exit?code=4")
	looping := c.awaitPod(t, "crash", "in crash back-off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses[0]
		return s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" && s.RestartCount == 2
	})
	if isReady(looping) || looping.Status.Phase != corev1.PodRunning {
		t.Errorf("a pod in back-off is ready: %v, phase %s; want unready and Running", isReady(looping), looping.Status.Phase)
	}
	request, err := http.NewRequestWithContext(c.ctx, http.MethodGet, base+"/arguments", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
		t.Errorf("a dead container's port answered %s", response.Status)
	}
	c.delete(t, "crash", metav1.DeleteOptions{})
}

// testStubborn deletes a pod that ignores SIGTERM: it is killed after its grace period.
func (c *testCluster) testStubborn(t *testing.T) {
	c.create(t, programPod("stubborn", "--ignore-sigterm"))
	c.awaitPod(t, "stubborn", "ready", isReady)
	begin := time.Now()
	c.delete(t, "stubborn", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(1))})
	if took := time.Since(begin); took < time.Second {
		t.Errorf("the pod was killed after %s, before its grace period of 1 s was over", took)
	}
}

func (c *testCluster) testForcedDeletion(t *testing.T) {
	c.create(t, programPod("forced", "--ignore-sigterm"))
	pod := c.awaitPod(t, "forced", "ready", isReady)
	c.delete(t, "forced", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))})
	dir := filepath.Join(c.dir, "pods", string(pod.UID))
	c.await(t, "the node to drop the pod", func() string {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return ""
		}
		return dir + " exists"
	})
}

func (c *testCluster) testGPUs(t *testing.T) {
	pod := programPod("gpu")
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	c.create(t, pod)
	c.awaitPod(t, "gpu", "ready", isReady)
	held := c.allocations(t)
	if len(held) != 1 || held[0].Pod != "gpu" || held[0].Namespace != "default" || held[0].Container != "program" {
		t.Fatalf("allocations = %+v, want one of pod gpu", held)
	}
	if variables := c.ask(t, http.MethodGet, c.forward(t, "gpu", 8000)+"/variables"); !strings.Contains(variables, "NVIDIA_VISIBLE_DEVICES="+held[0].UUID+"\n") {
		t.Errorf("the program's variables lack its GPU %s: %s", held[0].UUID, variables)
	}
	big := programPod("big")
	big.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")}
	c.create(t, big)
	c.awaitPod(t, "big", "unschedulable", func(p *corev1.Pod) bool {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				return strings.Contains(condition.Message, "nvidia.com/gpu")
			}
		}
		return false
	})
	c.delete(t, "gpu", metav1.DeleteOptions{})
	c.awaitPod(t, "big", "ready, since GPUs are free again", isReady)
	if held := c.allocations(t); len(held) != 2 || held[0].UUID == held[1].UUID {
		t.Errorf("allocations = %+v, want both GPUs", held)
	}
	c.delete(t, "big", metav1.DeleteOptions{})
	c.await(t, "the GPUs to be free", func() string {
		if held := c.allocations(t); len(held) > 0 {
			return fmt.Sprint(held)
		}
		return ""
	})
}

func (c *testCluster) allocations(t *testing.T) []node.Allocation {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir, "pod-resources.json"))
	if err != nil {
		t.Fatal(err)
	}
	var held []node.Allocation
	if err := json.Unmarshal(content, &held); err != nil {
		t.Fatal(err)
	}
	return held
}

func (c *testCluster) testMissingConfiguration(t *testing.T) {
	pod := programPod("late", "--model-repository=/models")
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/models"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "late"}}}}}
	c.create(t, pod)
	c.await(t, "an event that names the missing ConfigMap", func() string {
		events, err := c.client.CoreV1().Events("default").List(c.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=late,reason=FailedMount"})
		if err != nil {
			return err.Error()
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, `configmaps "late"`) || strings.Contains(e.Message, `configmap "late"`) {
				return ""
			}
		}
		return fmt.Sprint(events.Items)
	})
	c.awaitPod(t, "late", "still being created", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodPending && p.Status.ContainerStatuses[0].State.Waiting.Reason == "ContainerCreating"
	})
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(c.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitPod(t, "late", "ready", isReady)
	c.delete(t, "late", metav1.DeleteOptions{})
}

// testUnknownImages covers what Helm charts bring: servers that seem to run,
// hook Jobs that succeed.
func (c *testCluster) testUnknownImages(t *testing.T) {
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "unknown"}},
		Spec: corev1.PodSpec{
			Tolerations:    []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			InitContainers: []corev1.Container{{Name: "init", Image: "example.com/init"}},
			Containers:     []corev1.Container{{Name: "main", Image: "example.com/server"}},
		},
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "unknown"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template,
	}}
	if _, err := c.client.AppsV1().Deployments("default").Create(c.ctx, deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "hook"}, Spec: batchv1.JobSpec{Template: *template.DeepCopy()}}
	job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if _, err := c.client.BatchV1().Jobs("default").Create(c.ctx, job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "the Deployment to be ready", func() string {
		d, err := c.client.AppsV1().Deployments("default").Get(c.ctx, "unknown", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if d.Status.ReadyReplicas != 2 {
			return fmt.Sprint(d.Status)
		}
		return ""
	})
	c.await(t, "the Job to be complete", func() string {
		j, err := c.client.BatchV1().Jobs("default").Get(c.ctx, "hook", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if j.Status.Succeeded != 1 || j.Status.CompletionTime == nil {
			return fmt.Sprint(j.Status)
		}
		return ""
	})
	pods, err := c.client.CoreV1().Pods("default").List(c.ctx, metav1.ListOptions{LabelSelector: "app=unknown"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatal(pods, err)
	}
	if got := c.logs(t, pods.Items[0].Name, corev1.PodLogOptions{Container: "main"}); !strings.Contains(got, "example.com/server stands for no local program") {
		t.Errorf("the log of an unknown image is %q", got)
	}
}

// testStranger uses the node's certificate, which the cluster's CA signed too, on the kubelet.
func (c *testCluster) testStranger(t *testing.T) {
	n, err := c.client.CoreV1().Nodes().Get(c.ctx, "gpu-node-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(&rest.Config{TLSClientConfig: c.config.TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("https://127.0.0.1:%d/healthz", n.Status.DaemonEndpoints.KubeletEndpoint.Port)
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err == nil {
		response.Body.Close()
		t.Errorf("someone who is not the API server got %s from the kubelet", response.Status)
	}
}
