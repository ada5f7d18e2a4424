package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientportforward "k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/utils/ptr"

	"github.com/kubectl-triton/kubectl-triton/sandbox/controlplane"
	"github.com/kubectl-triton/kubectl-triton/sandbox/node"
	"github.com/kubectl-triton/kubectl-triton/sandbox/process"
)

const patience = time.Minute

// testCluster is a control plane with one GPU node, whose known images all run
// this test binary's own program.
type testCluster struct {
	*testing.T
	ctx    context.Context
	config *rest.Config
	client kubernetes.Interface
	dir    string // of the node
}

func startCluster(t *testing.T) *testCluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "node") // t.TempDir's path is too long for etcd's socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	control, err := controlplane.Start(ctx, controlplane.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Stop)
	config, err := control.ClientConfig(controlplane.Identity{CommonName: "admin", Organizations: []string{"system:masters"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{T: t, ctx: ctx, config: config, client: client, dir: filepath.Join(dir, "node")}
	c.startNode(control, filepath.Join(dir, "bin"), filepath.Join(dir, "pids"))
	return c
}

func (c *testCluster) startNode(control *controlplane.ControlPlane, binDir, pids string) {
	t := c.T
	installProgram(t, binDir)
	credential, err := control.Authority.Issue(controlplane.Identity{CommonName: "kubelet", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	serving, err := credential.TLS()
	if err != nil {
		t.Fatal(err)
	}
	kubelet, err := control.ClientConfig(controlplane.Identity{CommonName: "system:node:gpu-node-0", Organizations: []string{"system:nodes"}})
	if err != nil {
		t.Fatal(err)
	}
	starter, err := process.NewStarter(pids)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(starter.Close)
	network := node.NewNetwork()
	proxy := httptest.NewServer(network)
	t.Cleanup(proxy.Close)
	agent, err := node.New(node.Config{
		Name: "gpu-node-0", GPUs: 2, Dir: c.dir, BinDir: binDir,
		Client: kubelet, Serving: serving, ClientCAs: control.Authority.Pool(), MayConnect: controlplane.IsKubeletClient,
		Network: network, ProxyURL: proxy.URL, Starter: starter, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(c.ctx)
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the node's agent: %v", err)
		}
		if entries, err := os.ReadDir(pids); err != nil || len(entries) != 0 {
			t.Errorf("processes are left after the agent's end: %v, %v", entries, err)
		}
	})
}

// await polls until check returns an empty reason.
func (c *testCluster) await(t *testing.T, what string, check func() (missing string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		missing := check()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s: %s", what, missing)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *testCluster) create(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if _, err := c.client.CoreV1().Pods("default").Create(c.ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *testCluster) awaitPod(t *testing.T, name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	c.await(t, fmt.Sprintf("pod %s to be %s", name, what), func() string {
		var err error
		if pod, err = c.client.CoreV1().Pods("default").Get(c.ctx, name, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		if ok(pod) {
			return ""
		}
		status, _ := json.Marshal(pod.Status)
		return string(status)
	})
	return pod
}

func (c *testCluster) delete(t *testing.T, name string, options metav1.DeleteOptions) {
	t.Helper()
	if err := c.client.CoreV1().Pods("default").Delete(c.ctx, name, options); err != nil {
		t.Fatal(err)
	}
	c.await(t, "pod "+name+" to be gone", func() string {
		_, err := c.client.CoreV1().Pods("default").Get(c.ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("it exists (%v)", err)
	})
}

func (c *testCluster) logs(t *testing.T, pod string, options corev1.PodLogOptions) string {
	t.Helper()
	content, err := c.client.CoreV1().Pods("default").GetLogs(pod, &options).DoRaw(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// forward opens a port-forward to a pod and returns a base URL.
func (c *testCluster) forward(t *testing.T, pod string, port int) string {
	t.Helper()
	transport, upgrader, err := spdy.RoundTripperFor(c.config)
	if err != nil {
		t.Fatal(err)
	}
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("portforward")
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, request.URL())
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := clientportforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	t.Cleanup(func() {
		close(stop)
		<-ended
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatalf("port-forward to %s: %v", pod, err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local)
}

func (c *testCluster) ask(t *testing.T, method, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(c.ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// programPod is a pod of one container that runs this test's program.
func programPod(name string, args ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To(int64(20)),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{
				Name: "program", Image: "nvcr.io/nvidia/tritonserver:test", Args: args,
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8000}},
				ReadinessProbe: &corev1.Probe{
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http")}},
					PeriodSeconds: 1,
				},
			}},
		},
	}
}
