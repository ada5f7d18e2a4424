//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const presentLabel = "nvidia.com/gpu.present"

// nodesJSON is what the tests read of "nodes -o json".
type nodesJSON struct {
	Schema          string `json:"schema"`
	TotalNodes      int    `json:"total_nodes"`
	GPUNodes        int    `json:"gpu_nodes"`
	GPUsAllocatable int64  `json:"gpus_allocatable"`
	GPUsCapacity    int64  `json:"gpus_capacity"`
	GPUsHeld        int64  `json:"gpus_held"`
	Nodes           []struct {
		Name  string `json:"name"`
		Held  *int64 `json:"gpus_held"`
		Pods  []struct{ Namespace, Pod string }
		Ratio *float64 `json:"utilization_average_ratio"`
	} `json:"nodes"`
	Problems []struct {
		Kind  string   `json:"kind"`
		Nodes []string `json:"nodes"`
		Next  string   `json:"next"`
	} `json:"problems"`
	Missing []struct{ Part, Why string } `json:"missing"`
}

func nodes(t *testing.T, args ...string) *nodesJSON {
	t.Helper()
	o := plugin(t, append([]string{"nodes", "-o", "json"}, args...)...)
	if o.code != 0 || o.stderr != "" {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	var r nodesJSON
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	return &r
}

// has tells whether a problem concerns a node.
func (r *nodesJSON) has(kind, node string) bool {
	for _, p := range r.Problems {
		if p.Kind == kind && (node == "" || slices.Contains(p.Nodes, node)) {
			return true
		}
	}
	return false
}

// idleNode is a GPU node on which no Triton runs.
func idleNode(t *testing.T) string {
	t.Helper()
	readyPod(t, "triton", "app=triton-infer")
	for _, n := range nodes(t, "--no-prometheus").Nodes {
		if *n.Held == 0 {
			return n.Name
		}
	}
	t.Fatal("every GPU node is in use")
	return ""
}

func patchNode(t *testing.T, name, patch string, subresources ...string) {
	t.Helper()
	must(t, func() error {
		_, err := client.CoreV1().Nodes().Patch(context.Background(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...)
		return err
	})
}

// exporterBack waits until every GPU node is covered again.
func exporterBack(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "the exporter on every GPU node", func() bool {
		for _, p := range nodes(t, "--no-prometheus").Problems {
			if strings.HasPrefix(p.Kind, "exporter-") {
				return false
			}
		}
		return true
	})
}

// TestNodes: what the sandbox has is what is shown, in every form.
func TestNodes(t *testing.T) {
	pod := readyPod(t, "triton", "app=triton-infer")
	exporterBack(t)
	var r *nodesJSON
	eventually(t, time.Minute, "utilisation from Prometheus", func() bool {
		r = nodes(t)
		return r.Nodes[0].Ratio != nil && r.Nodes[1].Ratio != nil
	})
	if r.Schema != "kubectl-triton/nodes/v1" || r.TotalNodes != 3 || r.GPUNodes != 2 || r.GPUsAllocatable != 4 || r.GPUsCapacity != 4 || r.GPUsHeld != 1 || len(r.Problems) != 0 || len(r.Missing) != 0 {
		t.Errorf("%+v", r)
	}
	for _, n := range r.Nodes {
		if *n.Ratio < 0 || *n.Ratio > 1 {
			t.Errorf("the utilisation of %s is %v", n.Name, *n.Ratio)
		}
		if n.Name == pod.Spec.NodeName && (len(n.Pods) != 1 || n.Pods[0].Pod != pod.Name) {
			t.Errorf("%s is held by %+v, not by %s", n.Name, n.Pods, pod.Name)
		}
	}
	table := plugin(t, "nodes")
	if table.code != 0 || table.stderr != "" || strings.Contains(table.stdout, "\x1b") {
		t.Fatalf("exit code %d, stderr %q", table.code, table.stderr)
	}
	for _, want := range []string{"2 GPU nodes of 3: 4 of 4 GPUs for pods, 1 held", "UTIL", "NVIDIA-A100-SXM4-40GB", "40.0 GiB", "ready", "nvidia.com/gpu=present:NoSchedule on 2 of 2", "triton/" + pod.Name + " has 1 on " + pod.Spec.NodeName, "monitoring/dcgm-exporter", "from Prometheus (DCGM)", "nvidia.com/gpu.present=true is on all 2 GPU nodes"} {
		if !strings.Contains(strings.Join(strings.Fields(table.stdout), " "), want) {
			t.Errorf("%q is not in\n%s", want, table.stdout)
		}
	}
	if wide := plugin(t, "nodes", "-o", "wide"); !strings.Contains(wide.stdout, "580.95.05") || !strings.Contains(wide.stdout, "triton/"+pod.Name+":1") {
		t.Errorf("wide:\n%s", wide.stdout)
	}
	if name := plugin(t, "nodes", "-o", "name"); name.stdout != "node/gpu-node-0\nnode/gpu-node-1\n" {
		t.Errorf("names: %q", name.stdout)
	}
	if one := nodes(t, pod.Spec.NodeName); len(one.Nodes) != 1 || one.GPUsHeld != 1 {
		t.Errorf("one node: %+v", one)
	}
	if none := plugin(t, "nodes", "cpu-node-0"); none.code != 1 || !strings.Contains(none.stderr, "there is no GPU node cpu-node-0") {
		t.Errorf("exit code %d: %s", none.code, none.stderr)
	}
	if bad := plugin(t, "nodes", "-o", "xml"); bad.code != 2 {
		t.Errorf("exit code %d: %s", bad.code, bad.stderr)
	}
}

// TestNodesLabelMends: a node without its label loses the exporter; the hint's
// command, when run, brings it back.
func TestNodesLabelMends(t *testing.T) {
	node := idleNode(t)
	defer exporterBack(t)
	defer patchNode(t, node, `{"metadata":{"labels":{"`+presentLabel+`":"true"}}}`)
	patchNode(t, node, `{"metadata":{"labels":{"`+presentLabel+`":null}}}`)
	var r *nodesJSON
	eventually(t, time.Minute, "the exporter to leave "+node, func() bool {
		r = nodes(t, "--no-prometheus")
		return r.has("exporter-selector", node)
	})
	if r.Problems[0].Next != "kubectl triton nodes label" {
		t.Errorf("the hint is %q", r.Problems[0].Next)
	}
	label := func() string {
		n, err := client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n.Labels[presentLabel]
	}
	if o := plugin(t, "nodes", "label"); o.code != 2 || !strings.Contains(o.stderr, "no terminal to ask on") || label() != "" {
		t.Errorf("on a pipe: exit code %d, %s", o.code, o.stderr)
	}
	if o := plugin(t, "nodes", "label", "--dry-run"); o.code != 0 || o.stdout != "node/"+node+" labeled "+presentLabel+"=true (dry run)\n" || label() != "" {
		t.Errorf("dry run: exit code %d, %s%s", o.code, o.stdout, o.stderr)
	}
	if code, shown := typed(t, "no\n"); code != 2 || !strings.Contains(shown, "not confirmed; nothing was changed") || label() != "" {
		t.Errorf("a typed no: exit code %d, %s", code, shown)
	}
	if code, shown := typed(t, "\x03"); code != 130 || !strings.Contains(shown, "interrupted; nothing was changed") || label() != "" {
		t.Errorf("Ctrl-C: exit code %d, %s", code, shown)
	}
	if code, shown := typed(t, "yes\n"); code != 0 || label() != "true" {
		t.Errorf("a typed yes: exit code %d, %s", code, shown)
	}
	exporterBack(t)
	if o := plugin(t, "nodes", "label", "--yes"); o.code != 0 || o.stdout != "" || !strings.Contains(o.stderr, "Nothing to do on 2 GPU nodes.") {
		t.Errorf("the second time: exit code %d, %s%s", o.code, o.stdout, o.stderr)
	}
}

// typed runs "nodes label" on a terminal and types keys once it asks.
func typed(t *testing.T, keys string) (code int, screen string) {
	t.Helper()
	cmd := command(t.Context(), "kubectl-triton", nil, "nodes", "label")
	keyboard, seen := terminal(t, cmd, 80, darkBackground)
	eventually(t, 30*time.Second, "the question", func() bool { return strings.Contains(seen.String(), "Type yes: ") })
	must(t, func() error { _, err := keyboard.WriteString(keys); return err })
	_ = cmd.Wait()
	eventually(t, 10*time.Second, "the outcome on the terminal", func() bool {
		return strings.Contains(seen.String(), "labeled") || strings.Contains(seen.String(), "error: ")
	})
	return cmd.ProcessState.ExitCode(), seen.String()
}

// TestNodesTaint: a taint that the exporter doesn't tolerate drives it off.
func TestNodesTaint(t *testing.T) {
	node := idleNode(t)
	n, err := client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(n.Spec.Taints)
	if err != nil {
		t.Fatal(err)
	}
	set := func(taints string) { patchNode(t, node, `{"spec":{"taints":`+taints+`}}`) }
	defer exporterBack(t)
	defer set(string(before))
	set(`[{"key":"nvidia.com/gpu","value":"present","effect":"NoSchedule"},{"key":"team","value":"ml","effect":"NoExecute"}]`)
	var r *nodesJSON
	eventually(t, time.Minute, "the exporter to be driven off "+node, func() bool {
		r = nodes(t, "--no-prometheus")
		return r.has("exporter-taint", node)
	})
	table := strings.Join(strings.Fields(plugin(t, "nodes", "--no-prometheus").stdout), " ")
	if !strings.Contains(table, "does not tolerate taint team=ml:NoExecute") {
		t.Errorf("the taint is not named in %s", table)
	}
	// The placement tolerates the taint, and no more than the taints there are.
	o := plugin(t, "nodes", "--no-prometheus", "-o", "json")
	var p struct {
		Placement struct{ Tolerations []corev1.Toleration }
	}
	if err := json.Unmarshal([]byte(o.stdout), &p); err != nil {
		t.Fatal(err)
	}
	want := []corev1.Toleration{{Key: "nvidia.com/gpu", Operator: "Exists", Effect: "NoSchedule"}, {Key: "team", Operator: "Equal", Value: "ml", Effect: "NoExecute"}}
	if fmt.Sprint(p.Placement.Tolerations) != fmt.Sprint(want) {
		t.Errorf("tolerations %+v", p.Placement.Tolerations)
	}
}

// TestNodesUnhealthyGPU: allocatable below capacity, as the device plugin
// reports a GPU that fails its health check.
func TestNodesUnhealthyGPU(t *testing.T) {
	node := idleNode(t)
	t.Cleanup(func() { patchNode(t, node, `{"status":{"allocatable":{"nvidia.com/gpu":"2"}}}`, "status") })
	patchNode(t, node, `{"status":{"allocatable":{"nvidia.com/gpu":"1"}}}`, "status")
	if r := nodes(t, "--no-prometheus"); !r.has("unhealthy-gpu", node) || r.GPUsAllocatable != 3 || r.GPUsCapacity != 4 {
		t.Errorf("%+v", r)
	}
}

// TestNodesNotOffered: a node whose hardware shows and whose device plugin
// doesn't, and one with MIG instances, beside the others.
func TestNodesNotOffered(t *testing.T) {
	create := func(name string, labels map[string]string, offers corev1.ResourceList) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{Unschedulable: true}}
		n.Status = corev1.NodeStatus{Capacity: offers, Allocatable: offers}
		if _, err := client.CoreV1().Nodes().Create(t.Context(), n, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	}
	create("e2e-hardware", map[string]string{"feature.node.kubernetes.io/pci-10de.present": "true"}, nil)
	create("e2e-mig", nil, corev1.ResourceList{"nvidia.com/mig-1g.5gb": resource.MustParse("7"), "nvidia.com/mig-3g.20gb": resource.MustParse("1")})
	r := nodes(t, "--no-prometheus")
	if !r.has("not-offered", "e2e-hardware") || r.has("not-offered", "e2e-mig") || !r.has("no-label", "e2e-mig") || r.GPUNodes != 4 || r.GPUsCapacity != 12 {
		t.Errorf("%+v", r)
	}
	if o := plugin(t, "nodes", "--no-prometheus", "-o", "wide"); !strings.Contains(o.stdout, "1g.5gb×7,3g.20gb×1") {
		t.Errorf("no MIG profiles in\n%s", o.stdout)
	}
}

// TestNodesPermissions: half the permissions give half the table, and none give
// a sentence.
func TestNodesPermissions(t *testing.T) {
	only := limitedUser(t, "onlynodes", rule("nodes", "list"))
	o := finish(t, command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + only}, "nodes"))
	text := strings.Join(strings.Fields(o.stdout), " ")
	if o.code != 0 || !strings.Contains(text, "2 GPU nodes of 3: 4 of 4 GPUs for pods ") || strings.Contains(text, "held") || strings.Contains(text, "no dcgm-exporter") || !strings.Contains(text, `cannot list resource "pods"`) {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	nothing := limitedUser(t, "nonodes", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}})
	o = finish(t, command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + nothing}, "nodes"))
	if o.code != 1 || o.stdout != "" || !strings.Contains(o.stderr, "could not list the nodes: the cluster does not allow it") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	reader := limitedUser(t, "noedit", rule("nodes", "list"), rule("pods", "list"))
	node := idleNode(t)
	defer exporterBack(t)
	defer patchNode(t, node, `{"metadata":{"labels":{"`+presentLabel+`":"true"}}}`)
	patchNode(t, node, `{"metadata":{"labels":{"`+presentLabel+`":null}}}`)
	o = finish(t, command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + reader}, "nodes", "label", "--yes"))
	if o.code != 1 || o.stdout != "" || !strings.Contains(o.stderr, "could not label node "+node+": the cluster does not allow it") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// TestNodesServerGone: an API server that is away, or silent until Ctrl-C.
func TestNodesServerGone(t *testing.T) {
	gone := kubeconfigFor(t, "https://"+deadAddress(t), "")
	o := finish(t, command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + gone}, "nodes"))
	if o.code != 1 || !strings.Contains(o.stderr, "could not read the GPU nodes: the API server at") || !strings.Contains(o.stderr, "can't be reached") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	silent := kubeconfigFor(t, "https://"+listener.Addr().String(), "")
	cmd := command(t.Context(), "kubectl-triton", []string{"KUBECONFIG=" + silent}, "nodes")
	go func() {
		// Accepted and never answered; by then the plugin listens for Ctrl-C.
		if conn, err := listener.Accept(); err == nil {
			defer conn.Close()
			_ = cmd.Process.Signal(syscall.SIGINT)
			_, _ = io.Copy(io.Discard, conn)
		}
	}()
	if o = finish(t, cmd); o.code != 130 || !strings.Contains(o.stderr, "interrupted before the cluster was read") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}
