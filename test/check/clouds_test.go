//go:build e2e

package check

import (
	"context"
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubectl-triton/kubectl-triton/pkg/check"
	"github.com/kubectl-triton/kubectl-triton/test/harness"
)

// seenNodes is what is read of "nodes -o json".
type seenNodes struct {
	Platform string `json:"platform"`
	Nodes    []struct {
		Name     string
		Evidence []struct{ Kind, Source, Value string }
		GPUs     int64 `json:"gpus_allocatable"`
		Sharing  string
		Replicas int `json:"replicas_per_gpu"`
		Product  string
		Driver   string           `json:"driver_version"`
		Memory   int64            `json:"memory_bytes"`
		MIG      map[string]int64 `json:"mig_allocatable"`
		Taints   []string
	} `json:"nodes"`
}

// TestOtherClusters walks through what GPU nodes look like elsewhere: labels and
// taints of clouds, sharing, DRA, a node in trouble, none at all.
func TestOtherClusters(t *testing.T) {
	s, err := harness.Start(sandbox.Bin, "check-clouds", "--stack=false", "--triton-replicas", "0", "--gpu-nodes", "1",
		"--gpu-node-labels", "cloud.google.com/gke-accelerator=nvidia-tesla-a100", "--gpu-node-labels", "cloud.google.com/gke-nodepool=gpus", "--gpu-node-taints", "sku=gpu:NoSchedule")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	c := &clouds{Sandbox: s}
	t.Run("flags", c.flags)
	t.Run("hardware", c.hardware)
	t.Run("sharing", c.sharing)
	t.Run("dra", c.dra)
	t.Run("notready", c.notReady)
	t.Run("exporter", c.exporter)
	t.Run("none", c.none)
}

// clouds is a sandbox whose nodes are changed and added to.
type clouds struct{ *harness.Sandbox }

func (c *clouds) nodes(t *testing.T) *seenNodes {
	t.Helper()
	var r seenNodes
	if err := json.Unmarshal([]byte(c.Must(t, "kubectl-triton", "nodes", "--no-prometheus", "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func (c *clouds) becomes(t *testing.T, id string, state check.State, words ...string) check.Result {
	t.Helper()
	return becomesAt(t, c.Sandbox, nil, id, state, words...)
}

// node registers one without a kubelet, until the subtest ends.
func (c *clouds) node(t *testing.T, n *corev1.Node) {
	t.Helper()
	nodes := c.Client.CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nodes.Delete(context.Background(), n.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	patch, err := json.Marshal(map[string]any{"status": n.Status})
	if err != nil {
		t.Fatal(err)
	}
	// Controllers write to new nodes too: no update of a version that was read.
	if _, err := nodes.Patch(t.Context(), n.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

func gpus(name string, n string) corev1.NodeStatus {
	list := corev1.ResourceList{corev1.ResourceName(name): resource.MustParse(n)}
	return corev1.NodeStatus{Capacity: list, Allocatable: list, Conditions: ready(corev1.ConditionTrue, "")}
}

func ready(status corev1.ConditionStatus, message string) []corev1.NodeCondition {
	now := metav1.Now()
	return []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: "Kubelet", Message: message, LastHeartbeatTime: now, LastTransitionTime: now}}
}

// flags: labels and taints that the sandbox was asked for are what is seen.
func (c *clouds) flags(t *testing.T) {
	r := c.nodes(t)
	if r.Platform != "gke" || len(r.Nodes) != 1 || !slices.Equal(r.Nodes[0].Taints, []string{"sku=gpu:NoSchedule"}) {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{"allocatable nvidia.com/gpu=2", "cloud cloud.google.com/gke-accelerator=nvidia-tesla-a100", "feature discovery nvidia.com/gpu.present=true"} {
		found := false
		for _, e := range r.Nodes[0].Evidence {
			found = found || e.Kind+" "+e.Source+"="+e.Value == want
		}
		if !found {
			t.Errorf("%q is not among %+v", want, r.Nodes[0].Evidence)
		}
	}
}

// hardware: nodes that only a label of their cloud shows. The command shows what
// runs there; when the device plugin offers the GPUs all is well.
func (c *clouds) hardware(t *testing.T) {
	labels := map[string][2]string{
		"aks":       {"kubernetes.azure.com/accelerator", "nvidia"},
		"eks":       {"k8s.amazonaws.com/accelerator", "nvidia-tesla-t4"},
		"eks-auto":  {"eks.amazonaws.com/instance-gpu-name", "l4"},
		"gke":       {"cloud.google.com/gke-accelerator", "nvidia-l4"},
		"karpenter": {"karpenter.k8s.aws/instance-gpu-name", "a10g"},
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		names = append(names, name)
		c.node(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labels[name][0]: labels[name][1]}}, Spec: corev1.NodeSpec{Unschedulable: true}, Status: corev1.NodeStatus{Conditions: ready(corev1.ConditionTrue, "")}})
	}
	// Another maker's accelerator is no GPU of NVIDIA.
	c.node(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"k8s.amazonaws.com/accelerator": "neuron"}}})
	k := c.becomes(t, "gpus-offered", check.StateFailed, "5 GPU nodes")
	golden(t, k)
	obeyAt(t, c.Sandbox, k)
	for _, n := range c.nodes(t).Nodes {
		if want, ok := labels[n.Name]; ok && (len(n.Evidence) != 1 || n.Evidence[0].Kind != "cloud" || n.Evidence[0].Source != want[0]) {
			t.Errorf("%s: %+v", n.Name, n.Evidence)
		}
		if n.Name == "other" {
			t.Errorf("%+v", n)
		}
	}
	for _, name := range names {
		c.Must(t, "kubectl", "patch", "node", name, "--subresource", "status", "--type", "merge", "--patch", `{"status":{"capacity":{"nvidia.com/gpu":"1"},"allocatable":{"nvidia.com/gpu":"1"}}}`)
	}
	if k := c.becomes(t, "gpus-offered", check.StateOK); k.Detail != "7 of 7" {
		t.Errorf("%+v", k)
	}
}

// sharing: GPUs that several pods share by time, and parts of GPUs.
func (c *clouds) sharing(t *testing.T) {
	c.node(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "shared", Labels: map[string]string{
		"nvidia.com/gpu.present": "true", "nvidia.com/gpu.product": "NVIDIA-L4-SHARED", "nvidia.com/gpu.replicas": "4", "nvidia.com/gpu.sharing-strategy": "time-slicing",
	}}, Spec: corev1.NodeSpec{Unschedulable: true}, Status: gpus("nvidia.com/gpu.shared", "8")})
	c.node(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "parts", Labels: map[string]string{
		"nvidia.com/gpu.present": "true", "nvidia.com/mig.strategy": "mixed",
	}}, Spec: corev1.NodeSpec{Unschedulable: true}, Status: gpus("nvidia.com/mig-1g.5gb", "7")})
	for _, n := range c.nodes(t).Nodes {
		switch n.Name {
		case "shared":
			if n.GPUs != 8 || n.Sharing != "time-slicing" || n.Replicas != 4 {
				t.Errorf("%+v", n)
			}
		case "parts":
			if n.MIG["1g.5gb"] != 7 {
				t.Errorf("%+v", n)
			}
		}
	}
	if k := c.becomes(t, "mig-layout", check.StateOK); !strings.Contains(k.Detail, "time-slicing") || !strings.Contains(k.Detail, "MIG mixed") {
		t.Errorf("%+v", k)
	}
}

// dra: GPUs that only the driver for dynamic resource allocation offers.
func (c *clouds) dra(t *testing.T) {
	c.node(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "dynamic"}, Spec: corev1.NodeSpec{Unschedulable: true}, Status: corev1.NodeStatus{Conditions: ready(corev1.ConditionTrue, "")}})
	node, product, driver := "dynamic", "NVIDIA H100 80GB HBM3", "580.95.5"
	device := func(name string) resourcev1.Device {
		kind := "gpu"
		return resourcev1.Device{Name: name, Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"type": {StringValue: &kind}, "productName": {StringValue: &product}, "driverVersion": {VersionValue: &driver},
		}, Capacity: map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"memory": {Value: resource.MustParse("80Gi")}}}
	}
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "dynamic-gpus"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu.nvidia.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1}, Devices: []resourcev1.Device{device("gpu-0"), device("gpu-1")},
	}}
	slices := c.Client.ResourceV1().ResourceSlices()
	if _, err := slices.Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slices.Delete(background(), slice.Name, metav1.DeleteOptions{}) }()
	seen := false
	for _, n := range c.nodes(t).Nodes {
		if n.Name == node {
			seen = true
			if n.GPUs != 2 || n.Product != product || n.Memory != 80<<30 || n.Evidence[0].Kind != "resource slice" {
				t.Errorf("%+v", n)
			}
		}
	}
	if !seen {
		t.Error("a node that only a ResourceSlice tells is not seen")
	}
	if k := c.becomes(t, "gpu-nodes", check.StateOK); k.Detail != "2 of 3, known by resource slice, allocatable, feature discovery, hardware, cloud" {
		t.Errorf("%+v", k)
	}
}

// notReady: a kubelet that reports trouble, in its own words.
func (c *clouds) notReady(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "troubled", Labels: map[string]string{"nvidia.com/gpu.present": "true"}}, Spec: corev1.NodeSpec{Unschedulable: true}, Status: gpus("nvidia.com/gpu", "1")}
	n.Status.Conditions = ready(corev1.ConditionFalse, "container runtime is down")
	c.node(t, n)
	k := c.becomes(t, "gpu-nodes-ready", check.StateWarning, "troubled")
	golden(t, k)
	obeyAt(t, c.Sandbox, k)
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": ready(corev1.ConditionTrue, "kubelet is posting ready status")}})
	if err != nil {
		t.Fatal(err)
	}
	c.Must(t, "kubectl", "patch", "node", n.Name, "--subresource", "status", "--type", "merge", "--patch", string(patch))
	c.becomes(t, "gpu-nodes-ready", check.StateOK)
}

// exporter: none is installed; the command installs one that tolerates the taint
// of this cloud.
func (c *clouds) exporter(t *testing.T) {
	k := c.becomes(t, "exporter-runs", check.StateWarning)
	golden(t, k)
	url, err := exec.Command(filepath.Join(c.Bin, "sandbox"), "charts", "--name", c.Name).Output()
	if err != nil {
		t.Fatal(err)
	}
	obeyAt(t, c.Sandbox, k, "--chart-repo", strings.TrimSpace(string(url)), "--timeout", "3m")
	if k := c.becomes(t, "exporter-everywhere", check.StateOK); k.Detail != "1 of 1 covered" {
		t.Errorf("%+v", k)
	}
	tolerated := c.Must(t, "kubectl", "--namespace", "monitoring", "get", "daemonset", "dcgm-exporter", "--output", "jsonpath={.spec.template.spec.tolerations}")
	if !strings.Contains(tolerated, `"key":"sku"`) {
		t.Errorf("the exporter tolerates %s", tolerated)
	}
}

// none: the pool is scaled to zero; a node that joins ends it.
func (c *clouds) none(t *testing.T) {
	nodes := c.Client.CoreV1().Nodes()
	n, err := nodes.Get(t.Context(), "gpu-node-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(t.Context(), n.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	k := c.becomes(t, "gpu-nodes", check.StateWarning)
	golden(t, k)
	obeyAt(t, c.Sandbox, k)
	n.ResourceVersion, n.UID = "", ""
	c.node(t, n)
	c.becomes(t, "gpu-nodes", check.StateOK, "1 of 2")
}
