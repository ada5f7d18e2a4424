package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// unloadPoll is how often a pod is asked whether a model is gone.
const unloadPoll = 200 * time.Millisecond

// ModelsControlOptions are the flags of "kubectl triton models load" and
// "unload".
type ModelsControlOptions struct {
	genericiooptions.IOStreams
	modelsFlags

	Model  string
	Unload bool
	Yes    bool

	interactive bool
}

// NewModelsControlOptions returns the defaults.
func NewModelsControlOptions(streams genericiooptions.IOStreams, unload bool) *ModelsControlOptions {
	return &ModelsControlOptions{IOStreams: streams, modelsFlags: newModelsFlags(10 * time.Minute), Unload: unload}
}

func newModelsLoadCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewModelsControlOptions(streams, false)
	cmd := &cobra.Command{
		Use:   "load MODEL",
		Short: "Have Triton load a model, or load it anew",
		Long: `Have Triton load a model, or load it anew.

It is asked on every running pod behind the Service, and the command waits until
the model is ready.

A server allows it only with --model-control-mode=explicit. It lasts until the
pod ends: a pod that starts later loads what its --load-model flags name.

Exit codes: 0 loaded on all pods, 1 could not run or not loaded on all, 2 wrong
usage, 130 interrupted.`,
		Example: `  # on all pods of the Triton
  kubectl triton models load resnet50

  # on one pod
  kubectl triton models load resnet50 --pod $(kubectl -n triton get pods -l app=triton-infer -o name | head -n 1)`,
		Args: cobra.ExactArgs(1),
		RunE: o.runE,
	}
	o.addFlags(cmd.Flags(), "longest wait until the model is ready")
	return cmd
}

func newModelsUnloadCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewModelsControlOptions(streams, true)
	cmd := &cobra.Command{
		Use:   "unload MODEL",
		Short: "Have Triton unload a model",
		Long: `Have Triton unload a model.

It is asked on every running pod behind the Service, and the command waits until
the model is gone. Requests that it has begun are still answered.

Before that it says how much the model has served and which ensembles need it,
and asks for a "yes". Mind the readiness: with any model unloaded Triton's
/v2/health/ready answers 400, and a pod whose readiness probe asks it gets no
requests of the Service until the model is loaded again. A server allows it only
with --model-control-mode=explicit. It lasts until the pod ends.

Exit codes: 0 unloaded on all pods, also when it was not loaded, 1 could not run
or not unloaded on all, 2 wrong usage or no confirmation, 130 interrupted.`,
		Example: `  # on all pods of the Triton, after a question
  kubectl triton models unload resnet50

  # without a question, for scripts
  kubectl triton models unload resnet50 --yes`,
		Args: cobra.ExactArgs(1),
		RunE: o.runE,
	}
	o.addFlags(cmd.Flags(), "longest wait until the model is gone")
	cmd.Flags().BoolVarP(&o.Yes, "yes", "y", o.Yes, "unload without asking")
	return cmd
}

func (o *ModelsControlOptions) runE(cmd *cobra.Command, args []string) error {
	if err := o.Complete(args); err != nil {
		return err
	}
	if err := o.Validate(); err != nil {
		return err
	}
	return o.Run(cmd.Context())
}

// Complete takes the argument and sees whether somebody can be asked.
func (o *ModelsControlOptions) Complete(args []string) error {
	o.Model = args[0]
	o.interactive = interactive(o.IOStreams)
	return nil
}

// Validate refuses what can't be meant.
func (o *ModelsControlOptions) Validate() error {
	if o.Model == "" {
		return usageErrorf("the name of the model is empty; list them with 'kubectl triton models -o name'")
	}
	return o.validate()
}

// Run reads what the pods have, asks, and changes them all side by side.
func (o *ModelsControlOptions) Run(ctx context.Context) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, min(o.Timeout, discoveryTimeout))
	defer cancel()
	t, err := c.openModels(limited, &o.modelsFlags)
	if err != nil {
		if ctx.Err() != nil {
			return o.interrupted("nothing was changed")
		}
		return err
	}
	defer t.dialer.Close()
	reading, err := t.read(limited)
	if ctx.Err() != nil {
		return o.interrupted("nothing was changed")
	}
	if err != nil {
		return err
	}
	return o.apply(ctx, t, reading)
}

func (o *ModelsControlOptions) interrupted(what string) error {
	return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted; " + what)}
}

// apply changes the pods that can be asked.
func (o *ModelsControlOptions) apply(ctx context.Context, t *modelsTunnel, reading *modelsReading) error {
	has := func(p podModels) bool {
		return slices.ContainsFunc(p.models, func(m podModel) bool { return m.Name == o.Model })
	}
	var pods []podModels
	known, failed := slices.ContainsFunc(reading.pods, has), 0
	for _, p := range reading.pods {
		switch {
		case p.err != nil:
			failed++
			fmt.Fprintf(o.ErrOut, "pod/%s was not asked: %v\n", p.ref.Name, p.err)
		case o.Unload && !o.loadedOn(p):
			if known {
				fmt.Fprintf(o.ErrOut, "pod/%s does not have model %s loaded\n", p.ref.Name, o.Model)
			}
		default:
			pods = append(pods, p)
		}
	}
	switch {
	case failed == len(reading.pods):
		return fmt.Errorf("model %s could not be %s: no pod behind Service %s in namespace %s answers", o.Model, o.done(), t.service.Name, t.service.Namespace)
	case o.Unload && !known:
		// Triton answers well for a model that it doesn't know.
		return fmt.Errorf("there is no model %s on the pods behind Service %s in namespace %s; list them with 'kubectl triton models -o name'", o.Model, t.service.Name, t.service.Namespace)
	}
	if o.Unload {
		o.warn(pods, len(reading.pods))
	}
	if o.Unload && len(pods) > 0 && !o.Yes {
		if err := o.ask(ctx, pods); err != nil {
			return err
		}
	}
	if err := o.change(ctx, t, pods); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("model %s was %s on %d of %d pods; repeat the command when the others answer", o.Model, o.done(), len(reading.pods)-failed, len(reading.pods))
	}
	return nil
}

func (o *ModelsControlOptions) done() string {
	if o.Unload {
		return "unloaded"
	}
	return "loaded"
}

// loadedOn tells whether a pod holds anything of the model; one that failed to
// load counts, since the server is not ready until it is unloaded.
func (o *ModelsControlOptions) loadedOn(p podModels) bool {
	return slices.ContainsFunc(p.models, func(m podModel) bool { return m.Name == o.Model && !gone(m.ModelIndex) })
}

func gone(m triton.ModelIndex) bool {
	return m.State == "" || m.State == "UNAVAILABLE" && m.Reason == "unloaded"
}

// leavesWithoutModel tells whether a pod gets no more requests of its Services
// once a model is unloaded: its readiness probe asks /v2/health/ready, which
// Triton answers with 400 then, unless it is told not to be so strict.
func leavesWithoutModel(p *corev1.Pod) bool {
	for _, c := range p.Spec.Containers {
		probe := c.ReadinessProbe
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/v2/health/ready" {
			continue
		}
		words := strings.Join(strings.Fields(strings.Join(slices.Concat(c.Command, c.Args), " ")), " ")
		if !strings.Contains(strings.ReplaceAll(words, "--strict-readiness ", "--strict-readiness="), "--strict-readiness=false") {
			return true
		}
	}
	return false
}

// warn says which pods leave the Service together with the model.
func (o *ModelsControlOptions) warn(pods []podModels, all int) {
	var leaving []string
	for _, p := range pods {
		if p.leaves {
			leaving = append(leaving, p.ref.Name)
		}
	}
	if len(leaving) == 0 {
		return
	}
	text := fmt.Sprintf("Until every model is loaded again, Triton's /v2/health/ready answers 400. The readiness probe of %s (%s) asks it: the Service will send no requests there, not for the other models either", amount(len(leaving), "pod"), strings.Join(leaving, ", "))
	if len(leaving) == all {
		text += ", and no pod is left to it"
	}
	for _, l := range report.Fold(text+". tritonserver's --strict-readiness=false prevents that.", report.Width) {
		fmt.Fprintln(o.ErrOut, l)
	}
}

// ask says what the model does now and has it confirmed.
func (o *ModelsControlOptions) ask(ctx context.Context, pods []podModels) error {
	if !o.interactive {
		return usageErrorf("nothing was changed: there is no terminal to ask on; confirm with --yes, and see what the model serves with 'kubectl triton models %s'", o.Model)
	}
	var served modelReport
	var names, ensembles []string
	for _, p := range pods {
		names = append(names, p.ref.Name)
		for _, m := range p.models {
			if m.Name == o.Model {
				served.add(p.ref.Name, m)
			}
			if m.config == nil || m.config.EnsembleScheduling == nil || slices.Contains(ensembles, m.Name) {
				continue
			}
			for _, step := range m.config.EnsembleScheduling.Step {
				if step.ModelName == o.Model && !slices.Contains(ensembles, m.Name) {
					ensembles = append(ensembles, m.Name)
				}
			}
		}
	}
	if served.Served != nil {
		fmt.Fprintf(o.ErrOut, "Model %s has served %s.\n", o.Model, servedText(served.Served, time.Now()))
	}
	if len(ensembles) > 0 {
		fmt.Fprintf(o.ErrOut, "These ensembles need it and will fail: %s.\n", strings.Join(ensembles, ", "))
	}
	return confirm(ctx, o.IOStreams, fmt.Sprintf("Unload %s from %s (%s)?", o.Model, amount(len(pods), "pod"), strings.Join(names, ", ")))
}

// change asks all pods side by side and tells each one's outcome.
func (o *ModelsControlOptions) change(ctx context.Context, t *modelsTunnel, pods []podModels) error {
	if len(pods) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	n := newNotes(o.IOStreams)
	n.step("%s %s on %s", map[bool]string{true: "Unloading", false: "Loading"}[o.Unload], o.Model, amount(len(pods), "pod"))
	errs := make([]error, len(pods))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, p := range pods {
		wg.Go(func() {
			begin := time.Now()
			errs[i] = o.changePod(limited, t.dial(p.ref))
			mu.Lock()
			defer mu.Unlock()
			if errs[i] == nil {
				fmt.Fprintf(o.Out, "model/%s %s on pod/%s in %s\n", o.Model, o.done(), p.ref.Name, report.Seconds(time.Since(begin).Seconds()))
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return o.interrupted("Triton goes on with what it has begun; see 'kubectl triton models " + o.Model + "'")
	}
	return o.explain(pods, errs)
}

// explain makes one error of those of the pods.
func (o *ModelsControlOptions) explain(pods []podModels, errs []error) error {
	var failed []string
	refused := true
	for i, err := range errs {
		if err == nil {
			continue
		}
		failed = append(failed, fmt.Sprintf("pod %s: %v", pods[i].ref.Name, err))
		refused = refused && errors.Is(err, triton.ErrModelControl)
	}
	switch {
	case len(failed) == 0:
		return nil
	case refused && len(failed) == len(pods):
		return fmt.Errorf("model %s was not %s: Triton decides by itself which models it has loaded unless it runs with --model-control-mode=explicit; add that flag to the container's command, with a --load-model for each model that a new pod is to have", o.Model, o.done())
	default:
		return fmt.Errorf("model %s was not %s on %d of %s: %s", o.Model, o.done(), len(failed), amount(len(pods), "pod"), strings.Join(failed, "; "))
	}
}

// changePod changes one pod and returns once the model is ready or gone.
func (o *ModelsControlOptions) changePod(ctx context.Context, dial dialFunc) error {
	way := transport(dial)
	defer way.CloseIdleConnections()
	// A load is answered when it is done, which can take minutes.
	way.ResponseHeaderTimeout = 0
	client := triton.NewClient(&http.Client{Transport: way}, tritonURL)
	if !o.Unload {
		return client.LoadModel(ctx, o.Model)
	}
	if err := client.UnloadModel(ctx, o.Model); err != nil {
		return err
	}
	return o.awaitGone(ctx, client)
}

// awaitGone waits for the requests that the model has begun.
func (o *ModelsControlOptions) awaitGone(ctx context.Context, client *triton.Client) error {
	tick := time.NewTicker(unloadPoll)
	defer tick.Stop()
	for {
		index, err := client.RepositoryIndex(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("it is still unloading after %s: requests in flight have not ended; see 'kubectl triton models %s'", o.Timeout, o.Model)
		case err != nil:
			return err
		case !slices.ContainsFunc(index, func(m triton.ModelIndex) bool { return m.Name == o.Model && m.State != "" && m.State != "UNAVAILABLE" }):
			return nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
