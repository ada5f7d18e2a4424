package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubectl-triton/kubectl-triton/pkg/metrics"
	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// configsAtOnce bounds the requests that one pod gets at the same time.
const configsAtOnce = 8

// modelsReading is what the pods behind a Service said of their models.
type modelsReading struct {
	service *tritonService
	time    time.Time
	pods    []podModels // in order of names
}

// podModels is what one pod said, or why it said nothing.
type podModels struct {
	ref     portforward.PodRef // with Triton's HTTP port
	ready   bool
	reason  string // why it is not ready
	version string // of its Triton
	// leaves tells that the pod's readiness fails while any model is unloaded.
	leaves bool
	models []podModel
	err    error
}

// podModel is one line of a pod's index with what else is known of it.
type podModel struct {
	triton.ModelIndex
	config    *triton.ModelConfig     // of a ready model
	configErr error                   // why there is none
	stats     *triton.ModelStatistics // nil when it has none
	counters  *metrics.ModelCounters  // nil when the metrics can't be read
}

// modelsTunnel is the way to the pods whose models are meant.
type modelsTunnel struct {
	dialer  *portforward.Dialer
	dial    func(portforward.PodRef) dialFunc // to a pod's port
	service *tritonService
	pods    []portforward.Candidate
	objects []corev1.Pod
}

// openModels finds the Triton and its pods, or the one pod that was asked for.
func (c *cluster) openModels(ctx context.Context, o *modelsFlags) (*modelsTunnel, error) {
	svc, err := c.findTriton(ctx, *o.Config.Namespace, o.Service, o.Port)
	if err != nil {
		return nil, err
	}
	dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client, Transport: portforward.Transport(o.Transport)})
	if err != nil {
		return nil, err
	}
	t := &modelsTunnel{dialer: dialer, service: svc}
	t.dial = func(ref portforward.PodRef) dialFunc {
		if pod := t.object(ref); pod != nil {
			return dialer.PodOf(pod, fmt.Sprint(ref.Port)).DialContext
		}
		return dialer.Pod(ref.Namespace, ref.Name, fmt.Sprint(ref.Port)).DialContext
	}
	if err := t.choose(ctx, c, o); err != nil {
		return nil, errors.Join(err, dialer.Close())
	}
	return t, nil
}

func (t *modelsTunnel) choose(ctx context.Context, c *cluster, o *modelsFlags) (err error) {
	if t.objects, err = c.podsOf(ctx, t.service); err != nil {
		return err
	}
	// An evicted pod stays as a record, and will answer no more.
	t.objects = slices.DeleteFunc(t.objects, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	if t.pods, err = t.service.endpoint(t.dialer, t.objects, t.service.HTTPPort).Candidates(ctx); err != nil {
		return err
	}
	if name := strings.TrimPrefix(o.Pod, "pod/"); name != "" {
		t.pods = slices.DeleteFunc(t.pods, func(p portforward.Candidate) bool { return p.Pod.Name != name })
		if len(t.pods) == 0 {
			return fmt.Errorf("there is no pod %s behind Service %s in namespace %s; list them with 'kubectl -n %s get pods -l %s'", name, t.service.Name, t.service.Namespace, t.service.Namespace, t.service.Selector)
		}
	}
	if len(t.pods) == 0 {
		return fmt.Errorf("no pod is behind Service %s in namespace %s; see 'kubectl -n %s get pods -l %s'", t.service.Name, t.service.Namespace, t.service.Namespace, t.service.Selector)
	}
	return nil
}

// object is a pod's as the API server last told it, nil if it came later.
func (t *modelsTunnel) object(p portforward.PodRef) *corev1.Pod {
	for i := range t.objects {
		if string(t.objects[i].UID) == p.UID {
			return &t.objects[i]
		}
	}
	return nil
}

// readModels asks all pods side by side.
func (c *cluster) readModels(ctx context.Context, o *modelsFlags, n *notes) (*modelsReading, error) {
	t, err := c.openModels(ctx, o)
	if err != nil {
		return nil, err
	}
	defer t.dialer.Close()
	n.step("Asking %s behind %s/%s, %s", amount(len(t.pods), "pod"), t.service.Namespace, t.service.Name, t.service.How)
	return t.read(ctx)
}

func (t *modelsTunnel) read(ctx context.Context) (*modelsReading, error) {
	r := &modelsReading{service: t.service, time: time.Now(), pods: make([]podModels, len(t.pods))}
	var wg sync.WaitGroup
	for i, p := range t.pods {
		wg.Go(func() { r.pods[i] = t.readPod(ctx, p) })
	}
	wg.Wait()
	return r, r.closed()
}

// closed is the error that keeps every pod from being asked, if it is one of
// permission: nothing of a pod's is the reason then.
func (r *modelsReading) closed() error {
	var forbidden *portforward.ForbiddenError
	for _, p := range r.pods {
		if !errors.As(p.err, &forbidden) {
			return nil
		}
	}
	return forbidden
}

// reachable says why a pod can't be asked; one that runs but is not ready can be.
func (t *modelsTunnel) reachable(p portforward.Candidate) error {
	object := t.object(p.Pod)
	switch {
	case object == nil || object.Status.Phase != corev1.PodRunning || object.DeletionTimestamp != nil:
		return fmt.Errorf("the pod does not run: %s", cmp.Or(p.Reason, "it is new"))
	case p.Pod.Port == 0:
		return errors.New(p.Reason)
	}
	return nil
}

func (t *modelsTunnel) readPod(ctx context.Context, p portforward.Candidate) podModels {
	r := podModels{ref: p.Pod, ready: p.Ready, reason: p.Reason}
	if r.err = t.reachable(p); r.err != nil {
		return r
	}
	r.leaves = leavesWithoutModel(t.object(p.Pod))
	hc := httpClient(t.dial(p.Pod))
	defer hc.CloseIdleConnections()
	client := triton.NewClient(hc, tritonURL)
	meta, err := client.ServerMetadata(ctx)
	if err != nil {
		r.err = err
		return r
	}
	r.version = meta.Version
	index, err := client.RepositoryIndex(ctx)
	if err != nil {
		r.err = err
		return r
	}
	var wg sync.WaitGroup
	var stats []triton.ModelStatistics
	var counters map[metrics.ModelKey]metrics.ModelCounters
	// Both only add to what the index says; a server may refuse them.
	wg.Go(func() { stats, _ = client.Statistics(ctx, "", "") })
	wg.Go(func() { counters = t.counters(ctx, p.Pod) })
	r.models = make([]podModel, len(index))
	turn := make(chan struct{}, configsAtOnce)
	for i, m := range index {
		r.models[i].ModelIndex = m
		if !m.Ready() {
			continue
		}
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			config, err := client.ModelConfig(ctx, m.Name, m.Version)
			if err != nil {
				r.models[i].configErr = err
				return
			}
			r.models[i].config = &config
		})
	}
	wg.Wait()
	for i := range r.models {
		m := &r.models[i]
		if j := slices.IndexFunc(stats, func(s triton.ModelStatistics) bool { return s.Name == m.Name && s.Version == m.Version }); j >= 0 {
			m.stats = &stats[j]
		}
		if c, ok := counters[metrics.ModelKey{Name: m.Name, Version: m.Version}]; ok {
			m.counters = &c
		}
	}
	return r
}

// index asks one pod for its models' names and states.
func (t *modelsTunnel) index(ctx context.Context, ref portforward.PodRef) ([]triton.ModelIndex, error) {
	hc := httpClient(t.dial(ref))
	defer hc.CloseIdleConnections()
	return triton.NewClient(hc, tritonURL).RepositoryIndex(ctx)
}

// metadata asks one pod which Triton it runs.
func (t *modelsTunnel) metadata(ctx context.Context, ref portforward.PodRef) (triton.ServerMetadata, error) {
	return triton.NewClient(httpClient(t.dial(ref)), tritonURL).ServerMetadata(ctx)
}

// counters reads the pod's metrics, which alone tell how long loading took; nil
// when they can't be read.
func (t *modelsTunnel) counters(ctx context.Context, ref portforward.PodRef) map[metrics.ModelKey]metrics.ModelCounters {
	port, ok := containerPort(t.object(ref), []string{"metrics", "metrics-inference-server"}, tritonMetric)
	if !ok {
		port = tritonMetric
	}
	ref.Port = port
	hc := httpClient(t.dial(ref))
	defer hc.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, tritonURL+"/metrics", http.NoBody)
	if err != nil {
		return nil
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	reading, err := metrics.ParseTriton(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil
	}
	return reading.Models
}
