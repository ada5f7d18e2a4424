package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// Set by the linker: the release, the commit and its date in RFC 3339. What is
// empty is taken from what the Go toolchain recorded.
var buildVersion, buildCommit, buildDate string

// VersionOptions are the flags of "kubectl triton version".
type VersionOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	Service string
	Client  bool
	Timeout time.Duration
	Output  string
}

// NewVersionOptions returns the defaults.
func NewVersionOptions(streams genericiooptions.IOStreams) *VersionOptions {
	return &VersionOptions{IOStreams: streams, Config: genericclioptions.NewConfigFlags(true), Timeout: 3 * time.Second, Output: "text"}
}

func newVersionCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewVersionOptions(streams)
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the plugin, the API server and Triton",
		Long: `Print the versions of the plugin, the API server and Triton.

What can't be reached within --timeout is named with the reason, and is no
failure: the exit code is 0 all the same.`,
		Example: `  # everything
  kubectl triton version

  # the plugin alone, without asking a cluster
  kubectl triton version --client -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Service, "service", o.Service, "Service of the Triton (default triton-infer, else the only one found)")
	f.BoolVar(&o.Client, "client", o.Client, "the plugin's own version only")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "longest wait for the cluster")
	f.StringVarP(&o.Output, "output", "o", o.Output, "text, json or yaml")
	o.Config.AddFlags(f)
	return cmd
}

// Validate refuses what can't be meant.
func (o *VersionOptions) Validate() error {
	if formats := []string{"text", "json", "yaml"}; !slices.Contains(formats, o.Output) {
		return usageErrorf("--output is %q; it can be %s", o.Output, strings.Join(formats, " or "))
	}
	if o.Timeout <= 0 {
		return usageErrorf("--timeout is %s; it must be above 0", o.Timeout)
	}
	return nil
}

const versionSchema = "kubectl-triton/version/v1"

// versionReport is all that "version" prints; a part that was not asked for is
// absent.
type versionReport struct {
	Schema string         `json:"schema"`
	Plugin pluginVersion  `json:"plugin"`
	Server *serverVersion `json:"kubernetes,omitempty"`
	Triton *tritonVersion `json:"triton,omitempty"`
}

type pluginVersion struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"`
	Go       string `json:"go"`
	Helm     string `json:"helm,omitempty"`
	Platform string `json:"platform"`
}

type serverVersion struct {
	Version string `json:"version,omitempty"`
	Address string `json:"address,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// tritonVersion has the versions of the pods that answered, each once.
type tritonVersion struct {
	Namespace string   `json:"namespace,omitempty"`
	Service   string   `json:"service,omitempty"`
	Versions  []string `json:"versions,omitempty"`
	Pods      int      `json:"pods_answered"`
	Problem   string   `json:"problem,omitempty"`
}

// Run asks the cluster, unless told not to, and prints.
func (o *VersionOptions) Run(ctx context.Context) error {
	r := &versionReport{Schema: versionSchema, Plugin: ownVersion()}
	if !o.Client {
		limited, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		o.ask(limited, r)
		if ctx.Err() != nil {
			return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted")}
		}
	}
	switch o.Output {
	case "json":
		return report.JSON(o.Out, r)
	case "yaml":
		return report.YAML(o.Out, r)
	}
	return r.write(o.Out)
}

// ask fills in the API server's and Triton's, side by side.
func (o *VersionOptions) ask(ctx context.Context, r *versionReport) {
	r.Server, r.Triton = &serverVersion{}, &tritonVersion{}
	c, err := connect(o.Config)
	if err != nil {
		r.Server.Problem = err.Error()
		r.Triton = nil
		return
	}
	r.Server.Address = c.rest.Host
	var wg sync.WaitGroup
	wg.Go(func() {
		var info apiversion.Info
		body, err := c.client.Discovery().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
		if err == nil {
			err = json.Unmarshal(body, &info)
		}
		if err != nil {
			r.Server.Problem = c.explain(err, "read the API server's version").Error()
		}
		r.Server.Version = info.GitVersion
	})
	wg.Go(func() {
		if err := r.Triton.ask(ctx, c, o); err != nil {
			r.Triton.Problem = err.Error()
		}
	})
	wg.Wait()
	if r.Server.Problem != "" && len(r.Triton.Versions) == 0 {
		r.Triton = nil // for the same reason
	}
}

func (v *tritonVersion) ask(ctx context.Context, c *cluster, o *VersionOptions) error {
	flags := newModelsFlags(o.Timeout)
	flags.Config, flags.Service = o.Config, o.Service
	t, err := c.openModels(ctx, &flags)
	if err != nil {
		return err
	}
	defer t.dialer.Close()
	v.Namespace, v.Service = t.service.Namespace, t.service.Name
	metas := make([]triton.ServerMetadata, len(t.pods))
	errs := make([]error, len(t.pods))
	var wg sync.WaitGroup
	for i, p := range t.pods {
		wg.Go(func() {
			if errs[i] = t.reachable(p); errs[i] == nil {
				metas[i], errs[i] = t.metadata(ctx, p.Pod)
			}
		})
	}
	wg.Wait()
	for i, m := range metas {
		if errs[i] != nil {
			continue
		}
		v.Pods++
		if !slices.Contains(v.Versions, m.Version) {
			v.Versions = append(v.Versions, m.Version)
		}
	}
	slices.Sort(v.Versions)
	if v.Pods == 0 {
		return fmt.Errorf("pod %s: %w", t.pods[0].Pod.Name, errs[0])
	}
	return nil
}

func (r *versionReport) write(w io.Writer) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s%s\n", label, fmt.Sprintf(format, args...))
	}
	line("plugin", "kubectl-triton %s (%s)", r.Plugin.Version, r.Plugin.Platform)
	if r.Plugin.Commit != "" {
		line("commit", "%s", strings.TrimSpace(r.Plugin.Commit+" "+r.Plugin.Date))
	}
	line("built with", "%s", strings.TrimSuffix(r.Plugin.Go+", Helm "+r.Plugin.Helm, ", Helm "))
	if s := r.Server; s != nil {
		if s.Problem != "" {
			line("Kubernetes", "unknown: %s", s.Problem)
		} else {
			line("Kubernetes", "%s at %s", s.Version, s.Address)
		}
	}
	if t := r.Triton; t != nil {
		if t.Problem != "" {
			line("Triton", "unknown: %s", t.Problem)
		} else {
			line("Triton", "%s on %s behind %s/%s", strings.Join(t.Versions, " and "), amount(t.Pods, "pod"), t.Namespace, t.Service)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func ownVersion() pluginVersion {
	v := pluginVersion{Version: buildVersion, Commit: buildCommit, Date: buildDate, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	v.complete(info)
	return v
}

// complete fills in what the linker was not told.
func (v *pluginVersion) complete(info *debug.BuildInfo) {
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && v.Commit == "":
			v.Commit = s.Value
		case s.Key == "vcs.time" && v.Date == "":
			v.Date = s.Value
		}
	}
	for _, d := range info.Deps {
		if d.Path == "helm.sh/helm/v3" {
			v.Helm = d.Version
		}
	}
}

// Version is the plugin's version with the commit when it is known, as results
// record it.
func Version() string {
	v := ownVersion()
	return strings.TrimSpace(v.Version + " " + v.Commit)
}
