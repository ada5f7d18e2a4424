package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const (
	// discoveryTimeout bounds everything up to the first request, so that a
	// wrong input is answered soon.
	discoveryTimeout = 7 * time.Second
	// closingTimeout bounds what happens after the load, each step within it.
	closingTimeout = 30 * time.Second
)

// loadTest is one run of "bench" from discovery to result.
type loadTest struct {
	options *BenchOptions
	cluster *cluster
	notes   *notes

	dialer   *portforward.Dialer
	service  *tritonService
	endpoint *portforward.Endpoint
	pod      portforward.PodRef
	pods     []corev1.Pod
	client   *triton.Client
	server   triton.ServerMetadata
	metadata triton.ModelMetadata
	config   triton.ModelConfig
	version  string
	spec     *triton.RequestSpec

	missing []report.Missing
	remarks []string
}

func (t *loadTest) run(ctx context.Context) (*report.Bench, error) {
	dialer, err := portforward.New(portforward.Config{REST: t.cluster.rest, Client: t.cluster.client, Transport: t.options.transport})
	if err != nil {
		return nil, err
	}
	t.dialer = dialer
	defer dialer.Close()
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	t.notes.step("model %s at %s/%s, %s", t.metadata.Name, t.service.Namespace, t.service.Name, t.service.How)
	t.notes.step("pod %s on %s", t.pod.Name, t.pod.Node)

	marker := t.findGrafana(ctx)
	gpus := t.findGPUs(ctx)
	tunnel := t.probeTunnel(ctx)

	path := &loadPath{endpoint: t.endpoint, spec: t.spec, options: t.options, loaded: map[string]bool{}}
	if t.options.Protocol == "grpc" {
		path.endpoint, path.grpc = t.service.endpoint(dialer, t.pods, t.service.GRPCPort), true
	}
	defer path.close()
	runner := bench.NewRunner(path.newRequester)
	defer runner.Close()
	if err := t.warmUp(ctx, runner); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}

	statistics := &statisticsReader{dialer: dialer, port: t.pod.Port, model: t.metadata.Name, version: t.version}
	before := statistics.read(ctx, t.pods)
	// Sampling and the annotation go on while an interrupted test winds up.
	beside := context.WithoutCancel(ctx)
	gpus.start(beside)
	defer gpus.stop()
	begin := time.Now()
	if marker != nil {
		marker.start(beside, begin, t.describe(), t.tags())
	}
	result, err := runner.Run(ctx, t.options.load, func(p bench.Progress) { t.notes.progress("loading", p) })
	end := time.Now()
	t.notes.done()
	if err != nil {
		return nil, fmt.Errorf("the load could not be run: %w", err)
	}

	closing, cancel := context.WithTimeout(beside, closingTimeout)
	defer cancel()
	r := t.report(result, begin, end, tunnel)
	t.account(closing, r, result, statistics, before, path.loadedPods())
	t.closeMark(closing, marker, r, begin, end)
	gpus.include(r.Target.Pods, t.service.Namespace)
	t.notes.step("reading the GPUs' figures")
	window, gpuErr := gpus.window(closing, begin, end)
	t.reportGPU(r, window, gpuErr)
	t.judge(r, result)
	r.Missing, r.Notes = t.missing, t.remarks
	return r, nil
}

// prepare finds Triton, chooses pod and model, and builds the request.
func (t *loadTest) prepare(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	o := t.options
	if t.service, err = t.cluster.findTriton(ctx, o.namespace, o.Service, o.Port); err != nil {
		return err
	}
	if err := t.checkGRPCPort(); err != nil {
		return err
	}
	if t.pods, err = t.cluster.podsOf(ctx, t.service); err != nil {
		return err
	}
	t.endpoint = t.service.endpoint(t.dialer, t.pods, t.service.HTTPPort)
	if t.pod, err = t.endpoint.Resolve(ctx); err != nil {
		return err
	}
	t.client = triton.NewClient(httpClient(t.endpoint.DialContext), tritonURL)
	if t.server, err = t.client.ServerMetadata(ctx); err != nil {
		return t.explainServer(err)
	}
	return t.prepareModel(ctx)
}

// explainServer says why the chosen pod's port gives no server metadata: the way
// there is closed, or what answers is not Triton.
func (t *loadTest) explainServer(err error) error {
	var forbidden *portforward.ForbiddenError
	var refused *portforward.RefusedError
	switch {
	case errors.As(err, &forbidden):
		return forbidden
	case errors.As(err, &refused):
		return fmt.Errorf("%w; choose Triton's HTTP port with --port", refused)
	}
	where := fmt.Sprintf("port %s of Service %s in namespace %s (pod %s)", t.service.HTTPPort, t.service.Name, t.service.Namespace, t.pod.Name)
	var answer *triton.Error
	if errors.As(err, &answer) && answer.Class != triton.ClassNotTriton && answer.Status == 0 {
		return fmt.Errorf("could not reach Triton at %s: %w; see 'kubectl -n %s logs %s'", where, err, t.service.Namespace, t.pod.Name)
	}
	return fmt.Errorf("%s does not answer as Triton: %w; choose Triton's HTTP port with --port", where, err)
}

func (t *loadTest) prepareModel(ctx context.Context) (err error) {
	o := t.options
	model := o.Model
	if model == "" {
		if model, err = t.onlyModel(ctx); err != nil {
			return err
		}
	}
	if t.metadata, err = t.client.ModelMetadata(ctx, model, o.ModelVersion); err != nil {
		return t.explainModel(ctx, model, err)
	}
	if err = t.client.ModelReady(ctx, model, o.ModelVersion); err != nil {
		return t.explainModel(ctx, model, err)
	}
	if t.config, err = t.client.ModelConfig(ctx, model, o.ModelVersion); err != nil {
		return fmt.Errorf("could not read the configuration of model %s: %w", model, err)
	}
	t.version = servedVersion(o.ModelVersion, t.metadata.Versions)
	o.request.Version = o.ModelVersion
	t.spec, err = triton.BuildRequest(t.metadata, t.config, o.request)
	if err != nil {
		return &ExitError{Code: ExitUsage, Err: err}
	}
	return t.checkEndpoint()
}

// servedVersion is the version that answers: the one asked for, else the
// greatest, which is what Triton takes when a request names none.
func servedVersion(asked string, versions []string) string {
	if asked != "" || len(versions) == 0 {
		return asked
	}
	return slices.MaxFunc(versions, func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return cmp.Compare(x, y)
	})
}

// onlyModel chooses the model when none was named.
func (t *loadTest) onlyModel(ctx context.Context) (string, error) {
	ready, _, err := t.models(ctx)
	if err != nil {
		return "", fmt.Errorf("could not list the models of pod %s: %w; name one with --model", t.pod.Name, err)
	}
	switch len(ready) {
	case 0:
		return "", fmt.Errorf("pod %s has no model that is ready; see 'kubectl -n %s logs %s' for why", t.pod.Name, t.pod.Namespace, t.pod.Name)
	case 1:
		return ready[0], nil
	}
	return "", usageErrorf("pod %s has several models; name one of: %s", t.pod.Name, strings.Join(ready, ", "))
}

// models lists the names of the ready models, and the state of the others.
func (t *loadTest) models(ctx context.Context) (ready []string, others map[string]string, err error) {
	index, err := t.client.RepositoryIndex(ctx)
	if err != nil {
		return nil, nil, err
	}
	others = map[string]string{}
	for _, m := range index {
		if m.Ready() {
			if !slices.Contains(ready, m.Name) {
				ready = append(ready, m.Name)
			}
			continue
		}
		state := m.State
		if state == "" {
			state = "not loaded"
		}
		if m.Reason != "" {
			state += ", " + m.Reason
		}
		others[m.Name] = state
	}
	return ready, others, nil
}

// explainModel says why a model can't be loaded: unknown, or known and not ready.
func (t *loadTest) explainModel(ctx context.Context, model string, err error) error {
	var answer *triton.Error
	if !errors.As(err, &answer) || answer.Status == 0 {
		return fmt.Errorf("could not read model %s: %w", model, err)
	}
	name := model
	if t.options.ModelVersion != "" {
		name += " version " + t.options.ModelVersion
	}
	ready, others, indexErr := t.models(ctx)
	if indexErr != nil {
		return fmt.Errorf("model %s can't be tested: %w", name, err)
	}
	if state, known := others[model]; known && !slices.Contains(ready, model) {
		return fmt.Errorf("model %s is not ready (%s); load it, or see why in 'kubectl -n %s logs %s'", name, state, t.pod.Namespace, t.pod.Name)
	}
	if slices.Contains(ready, model) {
		return fmt.Errorf("model %s is not ready or has no such version: %s", name, answer.Message)
	}
	return fmt.Errorf("there is no model %s in pod %s; it has: %s", name, t.pod.Name, strings.Join(ready, ", "))
}

func (t *loadTest) findGrafana(ctx context.Context) *marker {
	if t.options.NoGrafana {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	m, err := newMarker(ctx, t.cluster, t.dialer, t.options)
	if err != nil {
		t.miss("Grafana annotation", err, t.grafanaFix())
		return nil
	}
	return m
}

func (t *loadTest) findGPUs(ctx context.Context) *gpuWatch {
	loaded := slices.DeleteFunc(slices.Clone(t.pods), func(p corev1.Pod) bool { return string(p.UID) != t.pod.UID })
	return newGPUWatch(ctx, t.cluster, t.dialer, t.options, loaded)
}

func (t *loadTest) probeTunnel(ctx context.Context) *report.Tunnel {
	t.notes.step("measuring the tunnel")
	tunnel, err := measureTunnel(ctx, t.endpoint.DialContext)
	if err != nil {
		t.miss("tunnel measurement", err, "")
		return nil
	}
	return tunnel
}

func (t *loadTest) warmUp(ctx context.Context, runner *bench.Runner) error {
	if t.options.Warmup == 0 {
		return nil
	}
	load := t.options.load
	load.Duration, load.Requests = t.options.Warmup, 0
	_, err := runner.Run(ctx, load, func(p bench.Progress) { t.notes.progress("warming up", p) })
	t.notes.done()
	if err != nil {
		return fmt.Errorf("the warm-up could not be run: %w", err)
	}
	return nil
}

func (t *loadTest) account(ctx context.Context, r *report.Bench, result *bench.Result, reader *statisticsReader, before []podStatistics, loaded map[string]bool) {
	pods, err := t.cluster.podsOf(ctx, t.service)
	if err != nil {
		t.miss("server statistics", err, "")
		return
	}
	r.Target.Pods = describePods(t.pods, pods, loaded)
	r.Path.PodsLoaded = len(loaded)
	after := reader.read(ctx, pods)
	mean := 0.0
	if result.Service.Count() > 0 {
		mean = microseconds(result.Service.Mean())
	}
	r.Server = serverAccount(before, after, loaded, result.Completed+result.Failed+result.Canceled, mean)
	if r.Server.ForeignRequests > 0 {
		t.remark("other clients sent %s requests to the same pods during the test; the server's means include them", report.Count(uint64(r.Server.ForeignRequests)))
	}
}

func (t *loadTest) closeMark(ctx context.Context, m *marker, r *report.Bench, begin, end time.Time) {
	if m == nil {
		return
	}
	summary := fmt.Sprintf("%s ok, %s failed, %s req/s", report.Count(r.Client.Succeeded), report.Count(r.Client.Failed), report.Significant(r.Client.RequestRatePerSecond))
	if r.Client.Response != nil {
		summary += ", p99 " + report.Microseconds(r.Client.Response.P99US)
	}
	if err := m.stop(ctx, begin, end, summary); err != nil {
		t.miss("Grafana annotation", err, t.grafanaFix())
		return
	}
	if m.lost {
		t.remark("Grafana lost the annotation of the start during the test, as it does when it restarts without a persistent volume; the whole region was posted at the end")
	}
	r.Grafana = m.link(ctx, begin, end)
}

func (t *loadTest) grafanaFix() string {
	if t.options.GrafanaURL != "" {
		return "check --grafana-url and --grafana-token-file"
	}
	return fmt.Sprintf("'kubectl -n %s get pods,services -l app.kubernetes.io/name=grafana', or name a Grafana with --stack-namespace, or --grafana-url and --grafana-token-file", t.options.StackNamespace)
}

func (t *loadTest) miss(part string, err error, fix string) {
	t.missing = append(t.missing, report.Missing{Part: part, Why: err.Error(), Fix: fix})
}

func (t *loadTest) remark(format string, args ...any) {
	t.remarks = append(t.remarks, fmt.Sprintf(format, args...))
}
