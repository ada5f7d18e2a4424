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

	"github.com/kubectl-triton/kubectl-triton/pkg/bench"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

const (
	// discoveryTimeout bounds everything up to the first request, so that a
	// wrong input is answered soon.
	discoveryTimeout = 7 * time.Second
	// closingTimeout bounds what happens after the load, each step within it.
	closingTimeout = 30 * time.Second
	// mostReadings bounds how often the counters are read after a test while they
	// lack requests that were answered, readingPause apart.
	mostReadings = 4
	readingPause = 100 * time.Millisecond
)

// loadTest is one run of "bench" from discovery to result.
type loadTest struct {
	options *BenchOptions
	route   route
	notes   *notes

	client   control
	server   triton.ServerMetadata
	metadata triton.ModelMetadata
	config   triton.ModelConfig
	version  string
	spec     *triton.RequestSpec

	missing []report.Missing
	remarks []string
}

func (t *loadTest) run(ctx context.Context) (*report.Bench, error) {
	if err := t.preflight(ctx); err != nil {
		return nil, err
	}
	r := t.describe()
	t.notes.step("model %s at %s", t.metadata.Name, t.route.found())

	marker := t.findGrafana(ctx)
	gpus := t.route.watchGPUs(ctx)
	t.measurePath(ctx, r)

	path := &loadPath{way: t.route.way(t.options.Protocol), grpc: t.options.Protocol == "grpc", spec: t.spec, options: t.options, agent: userAgent()}
	defer path.close()
	runner := bench.NewRunner(path.newRequester)
	defer runner.Close()
	if err := t.warmUp(ctx, runner); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}

	before, statisticsErr := t.readStatistics(ctx)
	// Sampling and the annotation go on while an interrupted test winds up.
	beside := context.WithoutCancel(ctx)
	gpus.start(beside)
	defer gpus.stop()
	begin := time.Now()
	if marker != nil {
		marker.start(beside, begin, t.headline(), t.tags(r))
	}
	result, err := runner.Run(ctx, t.options.load, func(p bench.Progress) { t.notes.progress("loading", p) })
	end := time.Now()
	t.notes.done()
	if err != nil {
		return nil, fmt.Errorf("the load could not be run: %w", err)
	}

	closing, cancel := context.WithTimeout(beside, closingTimeout)
	defer cancel()
	t.include(r, result, begin, end)
	if statisticsErr == nil {
		statisticsErr = t.account(closing, r, result, before)
	}
	if statisticsErr != nil {
		t.miss("server statistics", statisticsErr, "")
	}
	t.route.describe(r)
	t.closeMark(closing, marker, r, begin, end)
	gpus.include(r.Target.Pods, r.Target.Namespace)
	t.notes.step("reading the GPUs' figures")
	window, gpuErr := gpus.window(closing, begin, end)
	t.reportGPU(r, window, gpuErr)
	t.warnOfForeign(r)
	t.judge(r, result)
	r.Missing, r.Notes = t.missing, t.remarks
	return r, nil
}

// prepare finds Triton, chooses the model, and builds the request.
func (t *loadTest) prepare(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	if t.client, err = t.route.find(ctx); err != nil {
		return err
	}
	if t.server, err = t.client.ServerMetadata(ctx); err != nil {
		return t.route.explain(err)
	}
	return t.prepareModel(ctx)
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
		return "", fmt.Errorf("could not list the models of %s: %w; name one with --model", t.route, err)
	}
	switch len(ready) {
	case 0:
		return "", fmt.Errorf("%s has no model that is ready; see %s for why", t.route, t.route.logs())
	case 1:
		return ready[0], nil
	}
	return "", usageErrorf("%s has several models; name one of: %s", t.route, strings.Join(ready, ", "))
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
	if !answered(err) {
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
		return fmt.Errorf("model %s is not ready (%s); load it, or see why in %s", name, state, t.route.logs())
	}
	if slices.Contains(ready, model) {
		var answer *triton.Error
		errors.As(err, &answer)
		return fmt.Errorf("model %s is not ready or has no such version: %s", name, answer.Message)
	}
	return fmt.Errorf("there is no model %s in %s; it has: %s", name, t.route, strings.Join(ready, ", "))
}

func (t *loadTest) findGrafana(ctx context.Context) *marker {
	if t.options.NoGrafana {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, grafanaTimeout)
	defer cancel()
	m, err := t.route.mark(ctx)
	if err != nil {
		t.miss("Grafana annotation", err, t.route.missing(missingGrafana))
		return nil
	}
	return m
}

func (t *loadTest) measurePath(ctx context.Context, r *report.Bench) {
	t.notes.step("measuring the path")
	if err := t.route.measure(ctx, r); err != nil {
		t.miss("path measurement", err, "")
	}
}

func (t *loadTest) warmUp(ctx context.Context, runner *bench.Runner) error {
	if t.options.Warmup == 0 && t.options.WarmupRequests == 0 {
		return nil
	}
	load := t.options.load
	load.Duration, load.Requests = t.options.Warmup, t.options.WarmupRequests
	_, err := runner.Run(ctx, load, func(p bench.Progress) { t.notes.progress("warming up", p) })
	t.notes.done()
	if err != nil {
		return fmt.Errorf("the warm-up could not be run: %w", err)
	}
	return nil
}

func (t *loadTest) readStatistics(ctx context.Context) ([]podStatistics, error) {
	sources, err := t.route.sources(ctx)
	if err != nil {
		return nil, err
	}
	return readStatistics(ctx, sources, t.metadata.Name, t.version), nil
}

// account compares the servers' counters with those of before and with the
// client's.
func (t *loadTest) account(ctx context.Context, r *report.Bench, result *bench.Result, before []podStatistics) error {
	mean := 0.0
	if result.Service.Count() > 0 {
		mean = microseconds(result.Service.Mean())
	}
	// Triton counts a request after it has answered it: the last ones may come late.
	for reading := 1; ; reading++ {
		after, err := t.readStatistics(ctx)
		if err != nil {
			return err
		}
		r.Server = serverAccount(before, after, t.route.loaded(), result.Completed+result.Failed+result.Canceled, mean)
		if !r.Server.Complete || t.spec.Decoupled() || r.Server.Requests >= result.Completed || reading == mostReadings {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(readingPause):
		}
	}
	switch {
	case t.spec.Decoupled():
	case t.options.URL != "":
		checkOneServer(r.Server, result.Completed)
	default:
		checkRestarted(r.Server, t.route.loaded(), result.Completed, result.MaxInFlightReached)
	}
	return nil
}

// warnOfForeign says which figures are not of this test alone.
func (t *loadTest) warnOfForeign(r *report.Bench) {
	if r.Server == nil || r.Server.ForeignRequests == 0 {
		return
	}
	include := "the server's means include them"
	if r.GPU != nil && slices.ContainsFunc(r.GPU.Devices, func(d report.GPUDevice) bool { return d.EnergyPerInference != nil }) {
		include += ", and so do the GPUs' figures: an inference took less energy than is said"
	}
	t.remark("other clients sent %s requests to the same servers during the test; %s", report.Count(uint64(r.Server.ForeignRequests)), include)
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
		t.miss("Grafana annotation", err, t.route.missing(missingGrafana))
		return
	}
	if m.lost {
		t.remark("Grafana lost the annotation of the start during the test, as it does when it restarts without a persistent volume; the whole region was posted at the end")
	}
	r.Grafana = m.link(ctx, begin, end)
}

func (t *loadTest) miss(part string, err error, fix string) {
	t.missing = append(t.missing, report.Missing{Part: part, Why: err.Error(), Fix: fix})
}

func (t *loadTest) remark(format string, args ...any) {
	t.remarks = append(t.remarks, fmt.Sprintf(format, args...))
}
