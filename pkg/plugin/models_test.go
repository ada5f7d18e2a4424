package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// modelConfig reads a configuration as a server sends it.
func modelConfig(t *testing.T, text string) *triton.ModelConfig {
	t.Helper()
	var c triton.ModelConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

const (
	batchingConfig = `{"name":"batching","backend":"identity","max_batch_size":8,
		"input":[{"name":"INPUT0","data_type":"TYPE_FP32","dims":[4]},{"name":"EXTRA","data_type":"TYPE_STRING","dims":[-1],"optional":true}],
		"output":[{"name":"OUTPUT0","data_type":"TYPE_FP32","dims":[4]}],
		"dynamic_batching":{"preferred_batch_size":[4,8],"max_queue_delay_microseconds":2000,"default_queue_policy":{"timeout_action":"REJECT","default_timeout_microseconds":400000,"max_queue_size":16}},
		"instance_group":[{"kind":"KIND_GPU","count":2,"gpus":[0,1]},{"kind":"KIND_CPU","count":1,"gpus":[]}],"response_cache":{"enable":true}}`
	ensembleConfig = `{"name":"ens","platform":"ensemble","max_batch_size":8,
		"input":[{"name":"IN","data_type":"TYPE_INT64","dims":[1]}],"output":[{"name":"OUT","data_type":"TYPE_BF16","dims":[1]}],
		"ensemble_scheduling":{"step":[{"model_name":"batching","model_version":-1},{"model_name":"batching","model_version":-1},{"model_name":"last","model_version":3}]}}`
	decoupledConfig = `{"name":"stream","backend":"python","max_batch_size":0,"model_transaction_policy":{"decoupled":true},
		"input":[],"output":[],"sequence_batching":{},"instance_group":[{"kind":"KIND_MODEL","count":1,"gpus":[]}]}`
)

// threePods is a Triton whose pods differ: one has loaded a model less, one gives
// no answer.
func threePods(t *testing.T) *modelsReading {
	t.Helper()
	ready := func(name, version, config string, requests uint64) podModel {
		return podModel{
			ModelIndex: triton.ModelIndex{Name: name, Version: version, State: "READY"},
			config:     modelConfig(t, config),
			stats: &triton.ModelStatistics{Name: name, Version: version, Success: triton.StatisticDuration{Count: requests}, Fail: triton.StatisticDuration{Count: 1},
				LastInference: time.Date(2026, 3, 4, 5, 6, int(requests%60), 0, time.UTC)},
			counters: &metrics.ModelCounters{LoadTime: time.Duration(requests) * time.Millisecond},
		}
	}
	failed := podModel{ModelIndex: triton.ModelIndex{Name: "last", Version: "3", State: "UNAVAILABLE",
		Reason: "Invalid argument: unable to find backend library for backend 'nosuchbackend', try specifying runtime on the model configuration."}}
	never := podModel{ModelIndex: triton.ModelIndex{Name: "unused"}}
	ref := func(name string) portforward.PodRef {
		return portforward.PodRef{Namespace: "triton", Name: name, Node: "gpu-" + name}
	}
	return &modelsReading{
		time:    time.Date(2026, 3, 4, 5, 8, 0, 0, time.UTC),
		service: &tritonService{Namespace: "triton", Name: "triton-infer"},
		pods: []podModels{
			{ref: ref("a"), ready: true, version: "2.70.0", models: []podModel{ready("batching", "10", batchingConfig, 1500), ready("batching", "9", batchingConfig, 1),
				ready("ens", "1", ensembleConfig, 7), ready("last", "3", decoupledConfig, 2), never}},
			{ref: ref("b"), reason: "Running: containers with unready status: [triton]", version: "2.69.0", models: []podModel{ready("batching", "10", batchingConfig, 30),
				ready("batching", "9", batchingConfig, 0), ready("ens", "1", ensembleConfig, 0), failed, never}},
			{ref: ref("c"), ready: true, err: errors.New("the connection was refused")},
		},
	}
}

// TestModelsReport: lines are the same things on several pods, counters are
// added, and every form has the same facts.
func TestModelsReport(t *testing.T) {
	r := newModelsReport(threePods(t), nil, "ctx")
	r.ToolVersion = "test"
	if got := strings.Join(r.names(), " "); got != "batching ens last unused" {
		t.Errorf("the names are %s", got)
	}
	first := r.Models[1]
	if first.Version != "10" || len(first.Pods) != 2 || first.Served.Succeeded != 1530 || first.Served.Failed != 2 || *first.LoadSeconds != 1.5 {
		t.Errorf("the newer version is %+v with %+v", first, first.Served)
	}
	var j, table, wide, full bytes.Buffer
	encoder := json.NewEncoder(&j)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		t.Fatal(err)
	}
	golden(t, "models.json", j.Bytes())
	for _, form := range []struct {
		out        *bytes.Buffer
		wide, full bool
		name       string
	}{{&table, false, false, "models.txt"}, {&wide, true, false, "models-wide.txt"}, {&full, false, true, "models-full.txt"}} {
		if err := writeModels(form.out, lipgloss.NewRenderer(form.out), r, form.wide, form.full); err != nil {
			t.Fatal(err)
		}
		golden(t, form.name, form.out.Bytes())
		for _, l := range strings.Split(form.out.String(), "\n") {
			if !form.wide && lipgloss.Width(l) > 80 {
				t.Errorf("%q is wider than 80 columns", l)
			}
		}
	}
	if only := newModelsReport(threePods(t), []string{"ens"}, ""); len(only.Models) != 1 || len(only.Pods) != 3 {
		t.Errorf("one model by name: %+v", only)
	}
}

// TestModelsWithoutLoadTime: a server that does not tell it did not load in 0 s.
func TestModelsWithoutLoadTime(t *testing.T) {
	reading := threePods(t)
	for _, m := range reading.pods[0].models {
		if m.counters != nil {
			m.counters.LoadTime = 0
		}
	}
	reading.pods = reading.pods[:1]
	for _, m := range newModelsReport(reading, nil, "").Models {
		if m.LoadSeconds != nil {
			t.Errorf("%s is said to have loaded in %g s", m.Name, *m.LoadSeconds)
		}
	}
}

// TestModelsControlExplain: one cause on all pods is one sentence, different ones
// are told pod by pod.
func TestModelsControlExplain(t *testing.T) {
	o := &ModelsControlOptions{Model: "m"}
	pods := []podModels{{ref: portforward.PodRef{Name: "a"}}, {ref: portforward.PodRef{Name: "b"}}}
	for _, c := range []struct {
		errs []error
		want string
	}{
		{[]error{nil, nil}, ""},
		{[]error{triton.ErrModelControl, triton.ErrModelControl}, "--model-control-mode=explicit; add"},
		{[]error{errors.New("no memory"), nil}, "was not loaded on 1 of 2 pods: pod a: no memory"},
		{[]error{triton.ErrModelControl, errors.New("no memory")}, "on 2 of 2 pods: pod a: the server's --model-control-mode is not explicit; pod b: no memory"},
	} {
		err := o.explain(pods, c.errs)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.errs, err, c.want)
		}
	}
}

// TestModelsUnloadQuestion: the question says what the model has served and which
// ensembles need it; only a typed yes is one.
func TestModelsUnloadQuestion(t *testing.T) {
	for _, c := range []struct {
		keys string
		code int
	}{{"yes\n", ExitOK}, {"y\n", ExitUsage}, {"", ExitUsage}} {
		streams, in, _, errOut := genericiooptions.NewTestIOStreams()
		in.WriteString(c.keys)
		o := NewModelsControlOptions(streams, true)
		o.Model, o.interactive = "batching", true
		err := o.ask(t.Context(), threePods(t).pods[:2])
		var exit *ExitError
		if errors.As(err, &exit); (err == nil) != (c.code == ExitOK) || exit != nil && exit.Code != c.code {
			t.Errorf("%q: %v", c.keys, err)
		}
		text := errOut.String()
		for _, want := range []string{"has served 1,531 requests ok, 4 failed since it was loaded", "These ensembles need it and will fail: ens.\n", "Unload batching from 2 pods (a, b)? Type yes: "} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in %q", want, text)
			}
		}
	}
	o := NewModelsControlOptions(genericiooptions.NewTestIOStreamsDiscard(), true)
	if err := o.ask(t.Context(), threePods(t).pods[:1]); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("without a terminal: %v", err)
	}
}

// TestModelsReadiness: an unload takes those pods out of the Service whose probe
// asks for the readiness of all models.
func TestModelsReadiness(t *testing.T) {
	for _, c := range []struct {
		path string
		args []string
		want bool
	}{
		{"/v2/health/ready", []string{"tritonserver", "--model-repository=/models"}, true},
		{"/v2/health/ready", []string{"tritonserver", "--strict-readiness=false"}, false},
		{"/v2/health/ready", []string{"exec tritonserver --strict-readiness false"}, false},
		{"/v2/health/live", []string{"tritonserver"}, false},
		{"", []string{"tritonserver"}, false},
	} {
		p := tritonPod("triton", "t")
		p.Spec.Containers[0].Args = c.args
		if c.path != "" {
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: c.path}}}
		}
		if got := leavesWithoutModel(p); got != c.want {
			t.Errorf("%s with %q: %v", c.path, c.args, got)
		}
	}
	streams, _, _, errOut := genericiooptions.NewTestIOStreams()
	o := NewModelsControlOptions(streams, true)
	pods := threePods(t).pods
	o.warn(pods, 3)
	if errOut.Len() > 0 {
		t.Errorf("nothing leaves, and it says %s", errOut.String())
	}
	pods[0].leaves = true
	o.warn(pods, 3)
	if text := strings.Join(strings.Fields(errOut.String()), " "); !strings.Contains(text, "probe of 1 pod (a) asks it") || strings.Contains(text, "no pod is left") {
		t.Errorf("one leaves, and it says %s", text)
	}
	o.warn(pods[:1], 1)
	if !strings.Contains(errOut.String(), "no pod is left to it") {
		t.Errorf("the last leaves, and it says %s", errOut.String())
	}
}
