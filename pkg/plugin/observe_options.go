package plugin

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/gpu"
	"github.com/kubectl-triton/kubectl-triton/pkg/stack"
)

// StackOptions are the flags that say what the observability stack is to be;
// "observe up", "status" and "render" share them.
type StackOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	StackNamespace  string
	Service         string
	Profile         string
	Platform        string
	ScrapeInterval  time.Duration
	CollectInterval time.Duration

	ChartDir     string
	ChartRepo    string
	ValueFiles   []string
	Sets         []string
	DCGMFiles    []string
	DCGMSets     []string
	SkipKeyCheck bool

	Prometheus string
	Adopt      bool
	Recover    bool

	prometheusValues, exporterValues stack.Values
}

// NewStackOptions returns the defaults.
func NewStackOptions(streams genericiooptions.IOStreams) StackOptions {
	return StackOptions{
		IOStreams:       streams,
		Config:          genericclioptions.NewConfigFlags(true),
		StackNamespace:  "monitoring",
		Profile:         "standard",
		Platform:        "auto",
		ScrapeInterval:  2 * time.Second,
		CollectInterval: time.Second,
	}
}

func (o *StackOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of Prometheus, Grafana and dcgm-exporter")
	f.StringVar(&o.Service, "service", o.Service, "Service of the one Triton to observe (default all that are found; --namespace limits the search)")
	f.StringVar(&o.Profile, "profile", o.Profile, "how much to install: lite, standard or full")
	f.StringVar(&o.Platform, "platform", o.Platform, "who runs the control plane: auto, generic, gke, eks or aks")
	f.DurationVar(&o.ScrapeInterval, "scrape-interval", o.ScrapeInterval, "how often Triton and the GPUs are scraped")
	f.DurationVar(&o.CollectInterval, "collect-interval", o.CollectInterval, "how often dcgm-exporter reads the GPUs")
	f.StringVar(&o.ChartDir, "chart-dir", o.ChartDir, "take the charts from this directory ('observe pull' fills one) and ask no repository")
	f.StringVar(&o.ChartRepo, "chart-repo", o.ChartRepo, "take the charts from this repository, http(s):// or oci://, instead of their own (default $"+chartRepoVariable+")")
	f.StringArrayVarP(&o.ValueFiles, "values", "f", o.ValueFiles, "values file for kube-prometheus-stack; repeat for more")
	f.StringArrayVar(&o.Sets, "set", o.Sets, "value for kube-prometheus-stack, as helm's --set")
	f.StringArrayVar(&o.DCGMFiles, "dcgm-values", o.DCGMFiles, "values file for dcgm-exporter; repeat for more")
	f.StringArrayVar(&o.DCGMSets, "dcgm-set", o.DCGMSets, "value for dcgm-exporter, as helm's --set")
	f.BoolVar(&o.SkipKeyCheck, "skip-key-check", o.SkipKeyCheck, "accept values whose keys the chart doesn't know")
	f.StringVar(&o.Prometheus, "prometheus", o.Prometheus, "the Prometheus to use, as namespace/name, where the cluster has several")
	f.BoolVar(&o.Adopt, "adopt", o.Adopt, "manage releases with the stack's names that somebody else made; their values are kept")
	f.BoolVar(&o.Recover, "recover", o.Recover, "take over a release whose last operation was killed")
	o.Config.AddFlags(f)
}

func (o *StackOptions) validate() error {
	for _, choice := range []struct {
		flag, value string
		allowed     []string
	}{
		{"--profile", o.Profile, []string{"lite", "standard", "full"}},
		{"--platform", o.Platform, []string{"auto", "generic", "gke", "eks", "aks"}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return usageErrorf("%s is %q; it can be %s", choice.flag, choice.value, strings.Join(choice.allowed, ", "))
		}
	}
	switch {
	case o.StackNamespace == "":
		return usageErrorf("--stack-namespace must not be empty")
	case o.ScrapeInterval < time.Second || o.ScrapeInterval%time.Second != 0:
		return usageErrorf("--scrape-interval is %s; it must be whole seconds, at least 1s", o.ScrapeInterval)
	case o.CollectInterval < 100*time.Millisecond:
		return usageErrorf("--collect-interval is %s; dcgm-exporter needs at least 100ms", o.CollectInterval)
	case o.ChartDir != "" && o.ChartRepo != "":
		return usageErrorf("--chart-dir and --chart-repo exclude each other; choose one")
	case o.Prometheus != "" && strings.Count(o.Prometheus, "/") != 1:
		return usageErrorf("--prometheus is %q; it must be namespace/name", o.Prometheus)
	}
	var err error
	if o.prometheusValues, err = stack.ReadValues(o.ValueFiles, o.Sets, nil, nil); err != nil {
		return &ExitError{Code: ExitUsage, Err: err}
	}
	if o.exporterValues, err = stack.ReadValues(o.DCGMFiles, o.DCGMSets, nil, nil); err != nil {
		return &ExitError{Code: ExitUsage, Err: err}
	}
	return nil
}

// chartRepoVariable names the chart repository of a whole site.
const chartRepoVariable = "KUBECTL_TRITON_CHART_REPO"

// chartMirror is the chart repository of the flag, else of the site.
func chartMirror(flag string) string { return cmp.Or(flag, os.Getenv(chartRepoVariable)) }

func (o *StackOptions) source() stack.Source {
	s := stack.Source{Dir: o.ChartDir, Mirror: chartMirror(o.ChartRepo)}
	if dir, err := os.UserCacheDir(); err == nil {
		s.CacheDir = filepath.Join(dir, "kubectl-triton", "charts")
	}
	return s
}

// stackSurvey is what the cluster shows before anything is planned.
type stackSurvey struct {
	gpus    *gpu.Cluster
	tritons []stack.Target
	notes   []string
}

// nodeProblems are what is wrong with the GPU nodes themselves, which no
// installation mends.
func (s *stackSurvey) nodeProblems() []string {
	var sentences []string
	for _, p := range s.gpus.Problems() {
		ofExporter := strings.HasPrefix(string(p.Kind), "exporter-") || p.Kind == gpu.ProblemNoExporter
		if p.Severity != gpu.SeverityNote && !ofExporter {
			sentences = append(sentences, problemSentence(p))
		}
	}
	return sentences
}

func problemSentence(p gpu.Problem) string {
	return fmt.Sprintf("%s: %s; %s", p.What, p.Cause, p.Next)
}

// survey looks at the nodes and for Tritons, side by side.
func (o *StackOptions) survey(ctx context.Context, c *cluster) (*stackSurvey, error) {
	s := &stackSurvey{}
	gpus := make(chan error, 1)
	go func() {
		var err error
		s.gpus, err = gpu.Survey(ctx, c.client)
		gpus <- err
	}()
	var err error
	s.tritons, s.notes, err = c.tritonTargets(ctx, *o.Config.Namespace, o.Service)
	gpuErr := <-gpus
	if err != nil {
		return nil, err
	}
	if gpuErr != nil {
		return nil, c.explain(gpuErr, "look at the cluster's GPU nodes")
	}
	for _, d := range s.gpus.Denied {
		s.notes = append(s.notes, fmt.Sprintf("you may not read everything of kind %s, and what follows from it is not known: %s; %s", d.Kind, d.Reason, askForRole))
	}
	return s, nil
}

// wish is what the flags and the survey make the stack to be.
func (o *StackOptions) wish(s *stackSurvey) stack.Wish {
	platform := o.Platform
	if platform == "auto" {
		platform = string(s.gpus.Platform())
	}
	placed := s.gpus.Placement()
	w := stack.Wish{
		Namespace: o.StackNamespace, Source: o.source(), Profile: o.Profile, Platform: platform,
		ScrapeInterval: o.ScrapeInterval, CollectInterval: o.CollectInterval,
		PrometheusValues: o.prometheusValues, ExporterValues: o.exporterValues, SkipKeyCheck: o.SkipKeyCheck,
		Prometheus: o.Prometheus, Adopt: o.Adopt, Recover: o.Recover, Tritons: s.tritons,
		Placement: stack.Placement{
			NodeSelector: placed.NodeSelector, Affinity: placed.Affinity, Tolerations: placed.Tolerations,
			RuntimeClass: placed.RuntimeClass, GPUNodes: placed.Total, Why: placed.Why,
		},
	}
	for i := range s.gpus.Exporters {
		e := &s.gpus.Exporters[i]
		if e.IsRelease(o.StackNamespace, stack.DCGMExporterChart().Release) {
			continue
		}
		what := "the exporter of " + e.Owner()
		if e.Kind == gpu.ExporterOther && e.ManagedBy == "" {
			what = "the exporter " + e.Owner()
		}
		w.Exporters = append(w.Exporters, stack.ExistingExporter{
			What:   what,
			Target: stack.Target{Name: e.Name, Namespace: e.Namespace, PodLabels: e.Selector, Port: e.Port, PortName: e.PortName, Declared: e.PortName != ""},
		})
	}
	return w
}

// stackClient opens the cluster for pkg/stack.
func (o *StackOptions) stackClient(c *cluster) (*stack.Client, error) {
	return stack.NewClient(c.rest, o.Config.ToRawKubeConfigLoader())
}
