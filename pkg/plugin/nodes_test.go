package plugin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// clusterFile reads the objects of a YAML file.
func clusterFile(t *testing.T, path string) []runtime.Object {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var objects []runtime.Object
	for d := yaml.NewYAMLReader(bufio.NewReader(f)); ; {
		document, err := d.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

func surveyed(t *testing.T, client *fake.Clientset) *gpu.Cluster {
	t.Helper()
	c, err := gpu.Survey(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sampleNodes is the report of testdata/nodes-cluster.yaml with figures from a
// Prometheus that knows two of the nodes.
func sampleNodes(t *testing.T) *nodesReport {
	t.Helper()
	r := newNodesReport(surveyed(t, fake.NewClientset(clusterFile(t, "testdata/nodes-cluster.yaml")...)), nil, "prod")
	r.ToolVersion = "v0.2.0"
	value := func(v float64) *float64 { return &v }
	end := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	window := metrics.GPUWindow{Source: "Prometheus (DCGM)", Start: end.Add(-utilizationWindow), End: end, GPUs: []metrics.GPUSummary{
		{GPU: metrics.GPU{Node: "gke-prod-a100-0a1b2c3d-aaaa"}, UtilizationAvg: value(0.9)},
		{GPU: metrics.GPU{Node: "gke-prod-a100-0a1b2c3d-aaaa"}, UtilizationAvg: value(0.3)},
		{GPU: metrics.GPU{Node: "gke-prod-a100-0a1b2c3d-aaaa"}, UtilizationAvg: value(0.1), Insufficient: true},
		{GPU: metrics.GPU{Node: "gke-prod-mig-0a1b2c3d-bbbb"}, UtilizationAvg: value(0.0431)},
		{GPU: metrics.GPU{Node: "elsewhere"}, UtilizationAvg: value(1)},
	}, Gaps: []string{"no samples of GPU 3 on gke-prod-a100-0a1b2c3d-aaaa in Prometheus for 30 s, from the start", "another"}}
	r.Utilization = &utilizationReport{Source: window.Source, WindowSeconds: 120, GPUs: r.fillUtilization(window), Gaps: window.Gaps}
	return r
}

func nodesText(t *testing.T, r *nodesReport, wide bool, profile termenv.Profile) string {
	t.Helper()
	var out bytes.Buffer
	renderer := lipgloss.NewRenderer(&out)
	renderer.SetColorProfile(profile)
	if err := writeNodes(&out, renderer, r, wide); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestNodesTableIsGoldenAndFits(t *testing.T) {
	got := nodesText(t, sampleNodes(t), false, termenv.Ascii)
	golden(t, "nodes.txt", []byte(got))
	for _, l := range strings.Split(got, "\n") {
		if w := lipgloss.Width(l); w > report.Width && !strings.Contains(l, "gke-prod") && !strings.Contains(l, "kubectl") && !strings.HasPrefix(l, "NODE") {
			t.Errorf("a line is %d columns wide: %q", w, l)
		}
	}
	if strings.Contains(got, "\x1b") {
		t.Error("plain text holds escape sequences")
	}
	if coloured := nodesText(t, sampleNodes(t), false, termenv.ANSI256); !strings.Contains(coloured, "\x1b[") {
		t.Error("a colour terminal gets no colour")
	}
}

func TestNodesWideIsGolden(t *testing.T) {
	golden(t, "nodes-wide.txt", []byte(nodesText(t, sampleNodes(t), true, termenv.Ascii)))
}

func TestNodesJSONAndYAMLHoldTheSame(t *testing.T) {
	var j, y bytes.Buffer
	r := sampleNodes(t)
	if err := r.writeJSON(&j); err != nil {
		t.Fatal(err)
	}
	if err := r.writeYAML(&y); err != nil {
		t.Fatal(err)
	}
	golden(t, "nodes.json", j.Bytes())
	back, err := sigsyaml.YAMLToJSON(y.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	same, err := sigsyaml.YAMLToJSON(j.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, same) {
		t.Error("YAML and JSON differ")
	}
}

// TestNodesOfSomeNames: totals and problems are those of the named nodes.
func TestNodesOfSomeNames(t *testing.T) {
	r := newNodesReport(surveyed(t, fake.NewClientset(clusterFile(t, "testdata/nodes-cluster.yaml")...)), []string{"gke-prod-l4-0a1b2c3d-cccc"}, "")
	if len(r.Nodes) != 1 || r.GPUsCapacity != 4 || *r.GPUsHeld != 0 {
		t.Errorf("%+v", r)
	}
	for _, p := range r.Problems {
		if p.Kind != gpu.ProblemExporterTaint {
			t.Errorf("problem %s is not that node's", p.Kind)
		}
	}
}

// TestNodesAllAlike: what all nodes share leaves a table that would be too wide.
func TestNodesAllAlike(t *testing.T) {
	var nodes []nodeReport
	held := int64(1)
	for i := range 3 {
		nodes = append(nodes, nodeReport{Name: fmt.Sprintf("ip-192-168-100-10%d.eu-west-1.compute.internal", i), Ready: true, GPUsAllocatable: 8, GPUsCapacity: 8, GPUsHeld: &held,
			Product: "NVIDIA-H100-80GB-HBM3", MemoryBytes: 85520809984, Evidence: []evidenceReport{{Kind: gpu.EvidenceAllocatable}}, Exporters: []exporterPodReport{{Ready: true}}})
	}
	table := newNodesTable(nodes, false)
	if got := table.width(); got > report.Width {
		t.Errorf("the table is %d columns wide:\n%s", got, strings.Join(table.lines(), "\n"))
	}
	if want := "[[product NVIDIA-H100-80GB-HBM3 on all] [memory 79.6 GiB on all]]"; fmt.Sprint(table.facts) != want {
		t.Errorf("facts %v, want %s", table.facts, want)
	}
	if wide := newNodesTable(nodes, true); len(wide.titles) != len(nodeColumns()) || len(wide.facts) != 0 {
		t.Errorf("the wide table has %v", wide.titles)
	}
}

func TestNoGPUNodes(t *testing.T) {
	r := newNodesReport(surveyed(t, fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "cpu"}})), nil, "")
	want := `0 GPU nodes of 1

! the only node shows no GPU, by resource or label
  a GPU node pool may be scaled to zero; else drivers, device plugin and feature
  discovery are all missing
  → kubectl get nodes --label-columns node.kubernetes.io/instance-type
`
	if got := nodesText(t, r, false, termenv.Ascii); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestNodesWithHalfThePermissions: what can't be read is said, not shown as none.
func TestNodesWithHalfThePermissions(t *testing.T) {
	client := fake.NewClientset(clusterFile(t, "testdata/nodes-cluster.yaml")...)
	client.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	})
	r := newNodesReport(surveyed(t, client), nil, "")
	got := nodesText(t, r, false, termenv.Ascii)
	if !strings.Contains(got, "not shown") || !strings.Contains(got, "which pods hold the GPUs") || strings.Contains(got, "HELD") || strings.Contains(got, "0 held") || strings.Contains(got, "EXPORTER") {
		t.Error(got)
	}
	var j bytes.Buffer
	if err := r.writeJSON(&j); err != nil || !strings.Contains(j.String(), `"pods": null`) || !strings.Contains(j.String(), `"exporters": null`) ||
		!strings.Contains(j.String(), `"waiting": null`) || strings.Contains(j.String(), "gpus_held") {
		t.Errorf("%v\n%s", err, j.String())
	}
}

// TestNodesWithoutClaims: of a node whose GPUs the DRA driver hands out, only
// claims tell what is held.
func TestNodesWithoutClaims(t *testing.T) {
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "dra"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu.nvidia.com", NodeName: new("dra"), Pool: resourcev1.ResourcePool{Name: "dra"}, Devices: []resourcev1.Device{{Name: "gpu-0"}},
	}}
	for _, denied := range []bool{true, false} {
		client := fake.NewClientset(slice, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "dra"}}, gpuNode("plugin"))
		if denied {
			client.PrependReactor("list", "resourceclaims", func(k8stesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "resourceclaims"}, "", errors.New("no"))
			})
		}
		r := newNodesReport(surveyed(t, client), nil, "")
		if (r.GPUsHeld == nil) != denied || (r.Nodes[0].GPUsHeld == nil) != denied || r.Nodes[1].GPUsHeld == nil {
			t.Errorf("claims denied: %t, held %v, on the nodes %v and %v", denied, r.GPUsHeld, r.Nodes[0].GPUsHeld, r.Nodes[1].GPUsHeld)
		}
	}
}

func TestUtilizationReasons(t *testing.T) {
	r := &nodesReport{Nodes: []nodeReport{{Name: "a"}}}
	few := metrics.GPUWindow{Interval: 30 * time.Second, GPUs: []metrics.GPUSummary{{GPU: metrics.GPU{Node: "a"}, Samples: 2, Insufficient: true}}}
	if r.fillUtilization(few) != 0 || r.noUtilization(few) != "insufficient samples in the last 120 s (n=2, every 30.0 s)" {
		t.Error(r.noUtilization(few))
	}
	none := metrics.GPUWindow{Gaps: []string{"there are no GPU metrics"}}
	if got := r.noUtilization(none); got != "Prometheus has no figures of these nodes' GPUs in the last 120 s; there are no GPU metrics" {
		t.Error(got)
	}
	many := &nodesReport{Nodes: []nodeReport{{Name: "a"}}, GPUsCapacity: 40_000}
	(&NodesOptions{}).addUtilization(t.Context(), nil, many, nil)
	if len(many.Missing) != 1 || !strings.Contains(many.Missing[0].Why, "40000 GPUs") {
		t.Errorf("%+v", many.Missing)
	}
}

// TestUtilizationOfTheseNodes: a Prometheus may know the GPUs of further nodes and
// clusters; their samples are not asked for, and their gaps are none of these.
func TestUtilizationOfTheseNodes(t *testing.T) {
	var read []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.PostFormValue("query")
		result := `{"resultType":"vector","result":[]}`
		switch {
		case query == "time()":
			result = fmt.Sprintf(`{"resultType":"scalar","result":[%[1]d,"%[1]d"]}`, time.Now().Unix())
		case strings.HasPrefix(query, "group by"):
			result = `{"resultType":"vector","result":[
				{"metric":{"__name__":"DCGM_FI_DEV_GPU_UTIL","UUID":"GPU-a","Hostname":"a"},"value":[1,"1"]},
				{"metric":{"__name__":"DCGM_FI_DEV_GPU_UTIL","UUID":"GPU-b","Hostname":"b"},"value":[1,"1"]}]}`
		case strings.HasPrefix(query, "{__name__"):
			read = append(read, query)
			result = `{"resultType":"matrix","result":[]}`
		case r.URL.Path == "/api/v1/targets":
			result = `{"activeTargets":[]}`
		}
		fmt.Fprintf(w, `{"status":"success","data":%s}`, result)
	}))
	defer server.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	o := &NodesOptions{PrometheusURL: server.URL}
	c := &cluster{client: fake.NewClientset(), rest: &rest.Config{Host: "https://cluster.example"}}
	if _, err := o.window(t.Context(), c, &nodesReport{Nodes: []nodeReport{{Name: "a"}}}, nil); err != nil {
		t.Fatal(err)
	}
	if len(read) != 1 || !strings.Contains(read[0], "GPU-a") || strings.Contains(read[0], "GPU-b") {
		t.Errorf("it read %q", read)
	}
}

func TestNodesRefusals(t *testing.T) {
	for _, args := range [][]string{
		{"nodes", "-o", "xml"}, {"nodes", "--no-prometheus", "--prometheus-url", "http://p"}, {"nodes", "--nope"}, {"nodes", "label", "--yes", "--dry-run"},
	} {
		var out, errOut bytes.Buffer
		code := Execute(t.Context(), genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut}, args)
		if code != ExitUsage || !strings.HasPrefix(errOut.String(), "error: ") || out.Len() > 0 {
			t.Errorf("%v: exit code %d, out %q, err %q", args, code, out.String(), errOut.String())
		}
	}
}

// labelling runs "nodes label" on three nodes: one lacks the label, one has it,
// one was told otherwise.
func labelling(ctx context.Context, t *testing.T, change func(*NodesLabelOptions), client *fake.Clientset) (out, errOut string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	options := NewNodesLabelOptions(genericiooptions.IOStreams{In: strings.NewReader(""), Out: &o, ErrOut: &e})
	change(options)
	c := &cluster{client: client, rest: &rest.Config{Host: "https://api"}}
	err = options.apply(ctx, c, surveyed(t, client))
	return o.String(), e.String(), err
}

func labelNodes() *fake.Clientset {
	gpus := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")}
	node := func(name, present string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"keep": "me"}}, Status: corev1.NodeStatus{Capacity: gpus, Allocatable: gpus}}
		if present != "" {
			n.Labels[gpu.LabelPresent] = present
		}
		return n
	}
	return fake.NewClientset(node("lacks", ""), node("lacks-too", ""), node("has", "true"), node("refuses", "false"))
}

func labelOf(t *testing.T, client *fake.Clientset, name string) string {
	t.Helper()
	n, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || n.Labels["keep"] != "me" {
		t.Fatalf("%v %v", err, n)
	}
	return n.Labels[gpu.LabelPresent]
}

func TestNodesLabel(t *testing.T) {
	proposal := "node/refuses keeps nvidia.com/gpu.present=false, although it offers nvidia.com/gpu=2: somebody set it so\n" +
		"node/lacks lacks nvidia.com/gpu.present=true: it offers nvidia.com/gpu=2\nnode/lacks-too lacks nvidia.com/gpu.present=true: it offers nvidia.com/gpu=2\n"
	done := "node/lacks labeled nvidia.com/gpu.present=true\nnode/lacks-too labeled nvidia.com/gpu.present=true\n"
	for _, c := range []struct {
		name        string
		change      func(*NodesLabelOptions)
		out, errOut string
		code        int
		set         string
	}{
		{"--yes", func(o *NodesLabelOptions) { o.Yes = true }, done, proposal, 0, "true"},
		{"on a pipe", func(*NodesLabelOptions) {}, "", proposal, ExitUsage, ""},
		{"a typed yes on a pipe", func(o *NodesLabelOptions) { o.In = strings.NewReader("yes\n") }, "", proposal, ExitUsage, ""},
		{"a typed yes", func(o *NodesLabelOptions) { o.In, o.interactive = strings.NewReader("yes\n"), true }, done, proposal + "Label 2 nodes? Type yes: ", 0, "true"},
		{"a typed y", func(o *NodesLabelOptions) { o.In, o.interactive = strings.NewReader("y\n"), true }, "", proposal + "Label 2 nodes? Type yes: ", ExitUsage, ""},
		{"end of input", func(o *NodesLabelOptions) { o.interactive = true }, "", proposal + "Label 2 nodes? Type yes: ", ExitUsage, ""},
		{"one node", func(o *NodesLabelOptions) { o.Yes, o.Names = true, []string{"lacks"} }, "node/lacks labeled nvidia.com/gpu.present=true\n", "node/lacks lacks nvidia.com/gpu.present=true: it offers nvidia.com/gpu=2\n", 0, "true"},
		{"nothing to do", func(o *NodesLabelOptions) { o.Names = []string{"has"} }, "", "Nothing to do on 1 GPU node.\n", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := labelNodes()
			out, errOut, err := labelling(t.Context(), t, c.change, client)
			code := 0
			var exit *ExitError
			if errors.As(err, &exit) {
				code = exit.Code
			} else if err != nil {
				t.Fatal(err)
			}
			if out != c.out || errOut != c.errOut || code != c.code {
				t.Errorf("exit code %d\nout %q\nerr %q", code, out, errOut)
			}
			if got := labelOf(t, client, "lacks"); got != c.set {
				t.Errorf("the label is %q, want %q", got, c.set)
			}
			if labelOf(t, client, "refuses") != "false" || labelOf(t, client, "has") != "true" {
				t.Error("another node's label was changed")
			}
		})
	}
}

// TestNodesLabelDryRun asks the API server to check and not to store.
func TestNodesLabelDryRun(t *testing.T) {
	client := labelNodes()
	patched := 0
	client.PrependReactor("patch", "nodes", func(a k8stesting.Action) (bool, runtime.Object, error) {
		patched++
		if got := a.(k8stesting.PatchActionImpl).PatchOptions.DryRun; len(got) != 1 || got[0] != metav1.DryRunAll {
			t.Errorf("dry run is %v", got)
		}
		return true, &corev1.Node{}, nil
	})
	out, _, err := labelling(t.Context(), t, func(o *NodesLabelOptions) { o.DryRun = true }, client)
	if err != nil || patched != 2 || !strings.Contains(out, "node/lacks labeled nvidia.com/gpu.present=true (dry run)\n") {
		t.Errorf("%v, %d patches, %q", err, patched, out)
	}
}

// TestNodesLabelFailures: one node's failure doesn't keep the others from their
// label; a lack of permission is said once; Ctrl-C says how far it came.
func TestNodesLabelFailures(t *testing.T) {
	nodes := schema.GroupResource{Resource: "nodes"}
	failing := func(client *fake.Clientset, fail func(name string) error) {
		client.PrependReactor("patch", "nodes", func(a k8stesting.Action) (bool, runtime.Object, error) {
			err := fail(a.(k8stesting.PatchAction).GetName())
			return err != nil, nil, err
		})
	}
	yes := func(o *NodesLabelOptions) { o.Yes = true }
	for _, c := range []struct {
		name    string
		fail    func(string) error
		problem string
		second  string // the label of the second node
	}{
		{"a webhook refuses one", func(name string) error {
			if name == "lacks" {
				return apierrors.NewInternalError(errors.New("webhook says no"))
			}
			return nil
		}, "1 node of 2 could not be labelled (lacks)", "true"},
		{"one is gone", func(name string) error {
			if name == "lacks" {
				return apierrors.NewNotFound(nodes, name)
			}
			return nil
		}, "", "true"},
		{"not allowed", func(name string) error { return apierrors.NewForbidden(nodes, name, errors.New("RBAC")) }, "could not label node lacks: the cluster does not allow it", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := labelNodes()
			failing(client, c.fail)
			_, _, err := labelling(t.Context(), t, yes, client)
			if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
				t.Errorf("error %v", err)
			}
			if got := labelOf(t, client, "lacks-too"); got != c.second {
				t.Errorf("the second node's label is %q", got)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		client := labelNodes()
		ctx, cancel := context.WithCancel(t.Context())
		failing(client, func(name string) error {
			if name == "lacks" {
				return nil
			}
			cancel()
			return ctx.Err()
		})
		_, _, err := labelling(ctx, t, yes, client)
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != ExitInterrupted || !strings.Contains(err.Error(), "after 1 of 2 nodes") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("interrupted at the question", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		reader, writer := net.Pipe()
		defer writer.Close()
		client := labelNodes()
		_, _, err := labelling(ctx, t, func(o *NodesLabelOptions) {
			o.In, o.interactive = readerFunc(func(b []byte) (int, error) { cancel(); return reader.Read(b) }), true
		}, client)
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != ExitInterrupted || labelOf(t, client, "lacks") != "" {
			t.Errorf("error %v", err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestNodesUnreachable: an API server that is away is a sentence.
func TestNodesUnreachable(t *testing.T) {
	c := &cluster{rest: &rest.Config{Host: "https://127.0.0.1:1"}}
	_, err := c.surveyGPUs(t.Context(), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "could not read the GPU nodes: the API server at https://127.0.0.1:1 can't be reached") {
		t.Errorf("error %v", err)
	}
}

// TestNodesDenied: without the nodes there is nothing to show.
func TestNodesDenied(t *testing.T) {
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"%s is forbidden"}`, r.URL.Path)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Close()
	c := &cluster{rest: &rest.Config{Host: "http://" + listener.Addr().String()}}
	_, err = c.surveyGPUs(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "could not list the nodes: the cluster does not allow it: /api/v1/nodes is forbidden") {
		t.Errorf("error %v", err)
	}
}
