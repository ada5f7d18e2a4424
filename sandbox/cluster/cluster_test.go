package cluster

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func TestOptionsValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"defaults", func(*Options) {}, ""},
		{"lean", func(o *Options) { o.Stack, o.CPUNodes, o.GPUNodes, o.TritonReplicas = false, 0, 1, 2 }, ""},
		{"no GPU nodes", func(o *Options) { o.GPUNodes, o.TritonReplicas = 0, 0 }, ""},
		{"empty name", func(o *Options) { o.Name = "" }, "not a usable instance name"},
		{"name leaves the directory", func(o *Options) { o.Name = "../x" }, "not a usable instance name"},
		{"long name", func(o *Options) { o.Name = strings.Repeat("a", 33) }, "not a usable instance name"},
		{"negative nodes", func(o *Options) { o.CPUNodes = -1 }, "can't be negative"},
		{"too many nodes", func(o *Options) { o.CPUNodes = 255 }, "257 nodes are more than"},
		{"no GPUs on GPU nodes", func(o *Options) { o.GPUsPerNode = 0 }, "1 to 16 GPUs"},
		{"negative replicas", func(o *Options) { o.TritonReplicas = -1 }, "can't be negative"},
		{"too many replicas", func(o *Options) { o.TritonReplicas = 5 }, "there are 4"},
		{"stack on tainted nodes only", func(o *Options) { o.CPUNodes = 0 }, "needs a CPU node"},
		{"scraping all the time", func(o *Options) { o.ScrapeInterval = time.Millisecond }, "too short"},
		{"no time", func(o *Options) { o.Timeout = 0 }, "longer than zero"},
	}
	for _, tt := range tests {
		o := DefaultOptions()
		tt.change(&o)
		err := o.Validate()
		if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestReadModels(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const model = "output: [{name: o, data_type: TYPE_FP32, dims: [1]}]\n"
	one := write("set/one.yaml", model)
	write("set/two.json", `{"output":[{"name":"o","data_type":"TYPE_FP32","dims":[1]}]}`)
	write("set/README.md", "not a model")
	empty := filepath.Dir(write("empty/README.md", ""))
	tests := []struct{ name, path, files, wantErr string }{
		{name: "directory", path: filepath.Dir(one), files: "one.yaml two.json"},
		{name: "file", path: one, files: "one.yaml"},
		{name: "nothing there", path: filepath.Join(dir, "gone"), wantErr: "gone"},
		{name: "no models", path: empty, wantErr: "no model description"},
		{name: "no YAML", path: write("bad.yaml", "a: ["), wantErr: "bad"},
		{name: "no model", path: write("list.yaml", "[1]"), wantErr: "list"},
		{name: "unusable name", path: write("a b.yaml", model), wantErr: "ConfigMap's key"},
		{name: "too large", path: write("large.yaml", model+"#"+strings.Repeat("x", 1<<20)), wantErr: "more than the 1048576"},
	}
	for _, tt := range tests {
		models, err := readModels(tt.path)
		if tt.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s: error = %v, want one that contains %q", tt.name, err, tt.wantErr)
			}
			continue
		}
		for _, file := range strings.Fields(tt.files) {
			if models[file] == "" {
				t.Errorf("%s: %s is missing, got %v (%v)", tt.name, file, models, err)
			}
		}
		if len(models) != len(strings.Fields(tt.files)) {
			t.Errorf("%s: %d models, want %s", tt.name, len(models), tt.files)
		}
	}
	if models, err := readModels(""); err != nil || len(models) == 0 {
		t.Errorf("the built-in models: %d, %v", len(models), err)
	}
}

func convert[T any](t *testing.T, object *unstructured.Unstructured) T {
	t.Helper()
	var typed T
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &typed, true); err != nil {
		t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return typed
}

// TestObjects renders all manifests and checks what depends on the options.
func TestObjects(t *testing.T) {
	options := DefaultOptions()
	options.TritonReplicas, options.ScrapeInterval = 3, 1500*time.Millisecond
	w := &workloads{options: options}
	objects, err := w.objects(map[string]string{"a.yaml": "name: a"})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		byName[o.GetKind()+"/"+o.GetName()] = o
	}
	if len(byName) != len(objects) {
		t.Error("two objects of one kind have the same name")
	}
	triton := convert[appsv1.Deployment](t, byName["Deployment/triton-infer"])
	if *triton.Spec.Replicas != 3 {
		t.Errorf("Triton has %d replicas, want 3", *triton.Spec.Replicas)
	}
	if models := convert[corev1.ConfigMap](t, byName["ConfigMap/"+modelsConfigMap]); models.Data["a.yaml"] != "name: a" {
		t.Errorf("the ConfigMap of models holds %v", models.Data)
	}
	exporter := convert[appsv1.DaemonSet](t, byName["DaemonSet/dcgm-exporter"])
	if args := exporter.Spec.Template.Spec.Containers[0].Args; len(args) != 1 || args[0] != "--collect-interval=1500" {
		t.Errorf("dcgm-exporter's arguments are %q", args)
	}
	var config struct {
		Global struct {
			Interval string `json:"scrape_interval"`
		}
		Jobs []struct {
			Name        string `json:"job_name"`
			HonorLabels bool   `json:"honor_labels"`
		} `json:"scrape_configs"`
	}
	prometheus := convert[corev1.ConfigMap](t, byName["ConfigMap/prometheus-prom-operator-kube-prometh-prometheus"])
	if err := yaml.Unmarshal([]byte(prometheus.Data["prometheus.yml"]), &config); err != nil {
		t.Fatal(err)
	}
	if config.Global.Interval != "1.5s" || len(config.Jobs) != 2 || config.Jobs[0].HonorLabels || config.Jobs[1].HonorLabels {
		t.Errorf("the configuration of Prometheus is %+v", config)
	}
	password := convert[corev1.Secret](t, byName["Secret/prom-operator-grafana"]).StringData["admin-password"]
	again, err := w.objects(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range again {
		if o.GetKind() == "Secret" && convert[corev1.Secret](t, o).StringData["admin-password"] == password {
			t.Error("two instances have the same password")
		}
	}
	if len(password) < 20 {
		t.Errorf("the password has %d characters, want at least 20", len(password))
	}
	for _, o := range objects { // every field of every manifest exists
		switch o.GetKind() {
		case "Deployment":
			convert[appsv1.Deployment](t, o)
		case "StatefulSet":
			convert[appsv1.StatefulSet](t, o)
		case "Service":
			convert[corev1.Service](t, o)
		}
	}
	w.options.Stack = false
	lean, err := w.objects(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range lean {
		if o.GetNamespace() == monitoringNamespace {
			t.Errorf("without the stack there is %s %s", o.GetKind(), o.GetName())
		}
	}
}

func TestFollow(t *testing.T) {
	var pipe bytes.Buffer
	r := &reporter{w: &pipe, orphan: func() { t.Error("called orphan while someone listens") }}
	r.step("one %s", "%d")
	r.step("two")
	sent := pipe.String()
	tests := []struct{ name, input, steps, wantErr string }{
		{"ready", sent + `{"ready":true}` + "\n" + `{"step":"late"}`, "one %d|two", ""},
		{"failed", sent + `{"error":"no luck"}`, "one %d|two", "no luck"},
		{"died", sent, "one %d|two", "ended unexpectedly"},
		{"garbage", "panic: oops\n", "", "cannot understand"},
	}
	for _, tt := range tests {
		var steps []string
		err := follow(strings.NewReader(tt.input), func(s string) { steps = append(steps, s) })
		if (tt.wantErr == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) || strings.Join(steps, "|") != tt.steps {
			t.Errorf("%s: steps %q, error %v; want %q, %q", tt.name, steps, err, tt.steps, tt.wantErr)
		}
	}
	abandoned := false
	r = &reporter{w: brokenPipe{}, orphan: func() { abandoned = true }}
	r.step("anyone?")
	if !abandoned {
		t.Error("a broken pipe went unnoticed")
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func FuzzFollow(f *testing.F) {
	f.Add([]byte("{\"step\":\"a\"}\n{\"ready\":true}\n"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, input []byte) {
		err := follow(bytes.NewReader(input), func(s string) {
			if s == "" {
				t.Error("an empty step was passed on")
			}
		})
		if err == nil && !bytes.Contains(bytes.ToLower(input), []byte("ready")) {
			t.Error("ready without being told so")
		}
	})
}

func testInstance(t *testing.T) Instance {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	i, err := Named("x")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestInstanceLock(t *testing.T) {
	i := testInstance(t)
	lock, err := i.create()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(i.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v; want mode 0700", info, err)
	}
	if _, err := i.create(); err == nil || !strings.Contains(err.Error(), "is running already") {
		t.Errorf("creating a living instance: %v", err)
	}
	if all, err := All(); err != nil || len(all) != 1 || all[0] != i {
		t.Errorf("All = %v, %v; want %v", all, err, i)
	}
	left := filepath.Join(i.Dir, "left-over")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil { // as if its daemon had been killed
		t.Fatal(err)
	}
	lock, err = i.create()
	if err != nil {
		t.Fatalf("creating over a dead instance: %v", err)
	}
	defer lock.Close()
	if _, err := os.Stat(left); err == nil {
		t.Error("a dead instance's files were kept")
	}
}

func TestInstanceThatIsAFile(t *testing.T) {
	i := testInstance(t)
	if err := os.WriteFile(i.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := i.create(); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("error = %v, want one about the file", err)
	}
}

func TestLogTail(t *testing.T) {
	i := testInstance(t)
	if got := i.logTail(3); got != "" {
		t.Errorf("the tail of no log is %q", got)
	}
	if err := os.MkdirAll(i.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	log := "E1123 20:39:38.579249 controller.go:208] first\nI1123 20:39:38.579249 routine\nIn the end\nW1123 second\ntime=x level=ERROR third\n"
	if err := os.WriteFile(i.LogPath(), []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := i.logTail(3), "In the end\nW1123 second\ntime=x level=ERROR third"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

func TestPodTrouble(t *testing.T) {
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus, message string) []corev1.PodCondition {
		return []corev1.PodCondition{{Type: kind, Status: status, Message: message}}
	}
	waiting := func(reason, message string) []corev1.ContainerStatus {
		return []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}
	}
	tests := []struct {
		name   string
		status corev1.PodStatus
		want   string
	}{
		{"ready", corev1.PodStatus{Conditions: condition(corev1.PodReady, corev1.ConditionTrue, "")}, ""},
		{"completed", corev1.PodStatus{Phase: corev1.PodSucceeded}, ""},
		{"unschedulable", corev1.PodStatus{Conditions: condition(corev1.PodScheduled, corev1.ConditionFalse, "0/3 nodes")}, "not scheduled: 0/3 nodes"},
		{"image", corev1.PodStatus{ContainerStatuses: waiting("ErrImagePull", "no program")}, "ErrImagePull: no program"},
		{"creating", corev1.PodStatus{ContainerStatuses: waiting("ContainerCreating", "")}, "ContainerCreating"},
		{"unready", corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", RestartCount: 2}}}, "container c runs but is not ready (2 restarts)"},
		{"new", corev1.PodStatus{Phase: corev1.PodPending}, "Pending"},
	}
	for _, tt := range tests {
		if got := podTrouble(&corev1.Pod{Status: tt.status}); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWriteTable(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	statuses := []*Status{
		{
			Name: "default", State: "running", Kubeconfig: "/tmp/k", PID: 42, MemoryMiB: 350, Started: now.Add(-90 * time.Second),
			Components: []ComponentStatus{{Name: "etcd", Healthy: true}, {Name: "kube-apiserver", Message: "refused"}},
			Nodes:      []NodeStatus{{Name: "gpu-node-0", Ready: true, GPUs: 2, Model: "A100"}},
			Pods:       []PodStatus{{Namespace: "triton", Name: "p", Restarts: 1, Trouble: "CrashLoopBackOff", Node: "gpu-node-0"}},
		},
		{Name: "old", State: "dead", Kubeconfig: "/tmp/o", Message: "its daemon has ended"},
	}
	var got bytes.Buffer
	if err := WriteTable(&got, statuses, now); err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, line := range strings.Split(got.String(), "\n") {
		words = append(words, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"INSTANCE STATE AGE PID MEMORY KUBECONFIG", "default running 90s 42 350 MiB /tmp/k", "",
		"COMPONENT HEALTHY", "etcd yes", "kube-apiserver no: refused", "",
		"NODE READY GPUS MODEL", "gpu-node-0 yes 2 A100", "",
		"NAMESPACE POD READY RESTARTS NODE", "triton p no: CrashLoopBackOff 1 gpu-node-0", "",
		"INSTANCE STATE AGE PID MEMORY KUBECONFIG", "old dead - - - /tmp/o", "its daemon has ended", "",
	}
	if strings.Join(words, "\n") != strings.Join(want, "\n") {
		t.Errorf("table is\n%s\nwant\n%s", strings.Join(words, "\n"), strings.Join(want, "\n"))
	}
}
