package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

// ObserveOpenOptions are the flags of "kubectl triton observe open".
type ObserveOpenOptions struct {
	genericiooptions.IOStreams
	Config *genericclioptions.ConfigFlags

	Target         string
	Service        string
	StackNamespace string
	Transport      string

	Port    int
	Timeout time.Duration

	Dashboard    string
	From, To     string
	NoBrowser    bool
	ShowPassword bool

	portChosen bool
	timeRange  grafanaRange
	openURL    func(string) error
}

// NewObserveOpenOptions returns the defaults.
func NewObserveOpenOptions(streams genericiooptions.IOStreams) *ObserveOpenOptions {
	return &ObserveOpenOptions{
		IOStreams:      streams,
		Config:         genericclioptions.NewConfigFlags(true),
		Target:         "grafana",
		StackNamespace: defaultStackNamespace,
		Transport:      string(portforward.TransportSPDY),
		Timeout:        time.Minute,
		From:           "15m",
		To:             "now",
		openURL:        openInBrowser,
	}
}

func newObserveOpenCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := NewObserveOpenOptions(streams)
	cmd := &cobra.Command{
		Use:   "open [" + strings.Join(openTargetNames(), "|") + "]",
		Short: "Forward a local port to Grafana, Prometheus, Alertmanager or Triton and open it",
		Long: `Forward a local port to Grafana, Prometheus, Alertmanager or Triton and open it.

The forward goes through the API server to one ready pod behind the Service. It
listens on 127.0.0.1 only, on the usual port (Grafana 3000, Prometheus 9090,
Alertmanager 9093, Triton 8000, 8001 and 8002) or the next free one, and stays
when the pod restarts or another takes over. Once the target has answered, its
address is printed and, on a terminal, opened in the browser: for Grafana the
first of the dashboards loadtest-annotated, triton-latency and gpu-dashboard
that it has.

Where Grafana's login is kept is said; the password itself is printed with
--show-password only.

The command runs until Ctrl-C, which ends it with exit code 0, as kubectl
port-forward does. Exit codes: 0 done, 1 could not run, 2 wrong usage, 130
interrupted before the target answered.`,
		Example: `  # Grafana, at the last 15 minutes
  kubectl triton observe open

  # what a dashboard showed an hour ago, the address only
  kubectl triton observe open grafana --dashboard gpu-dashboard --from 2h --to 1h --no-browser

  # Triton's HTTP, gRPC and metrics ports
  kubectl triton observe open triton`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: openTargetNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.Complete(cmd, args); err != nil {
				return err
			}
			if err := o.Validate(); err != nil {
				return err
			}
			return o.Run(cmd.Context())
		},
	}
	o.addFlags(cmd)
	return cmd
}

func (o *ObserveOpenOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.Port, "port", o.Port, "local port, 0 for any free one (default the target's usual one, or the next free one)")
	f.StringVar(&o.Service, "service", o.Service, "Service to forward to (default the only one found)")
	f.StringVar(&o.StackNamespace, "stack-namespace", o.StackNamespace, "namespace of Prometheus, Alertmanager and Grafana")
	f.StringVar(&o.Transport, "transport", o.Transport, "tunnel through the API server: spdy or websocket")
	f.DurationVar(&o.Timeout, "timeout", o.Timeout, "longest wait for the first answer")
	f.StringVar(&o.Dashboard, "dashboard", o.Dashboard, "uid of the Grafana dashboard")
	f.StringVar(&o.From, "from", o.From, "begin of the dashboard's time range: a time ago such as 15m, an RFC 3339 time, or Grafana's own form such as now-2d/d")
	f.StringVar(&o.To, "to", o.To, "end of the dashboard's time range, in the same forms")
	f.BoolVar(&o.NoBrowser, "no-browser", o.NoBrowser, "print the address and don't open it")
	f.BoolVar(&o.ShowPassword, "show-password", o.ShowPassword, "print Grafana's user and password")
	o.Config.AddFlags(f)
}

// Complete fills in what the arguments and flags leave open.
func (o *ObserveOpenOptions) Complete(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		o.Target = args[0]
	}
	o.portChosen = cmd.Flags().Changed("port")
	if o.Target != "grafana" {
		for _, flag := range []string{"dashboard", "from", "to", "show-password"} {
			if cmd.Flags().Changed(flag) {
				return usageErrorf("--%s is for Grafana; %s has no such thing", flag, o.Target)
			}
		}
	}
	if o.Target == "triton" && cmd.Flags().Changed("stack-namespace") {
		return usageErrorf("--stack-namespace is the observability stack's; name Triton's namespace with --namespace")
	}
	return nil
}

// Validate refuses what can't be meant.
func (o *ObserveOpenOptions) Validate() error {
	if !slices.Contains([]string{string(portforward.TransportSPDY), string(portforward.TransportWebSocket)}, o.Transport) {
		return usageErrorf("--transport is %q; it can be spdy or websocket", o.Transport)
	}
	if o.portChosen && (o.Port < 0 || o.Port > 65535) {
		return usageErrorf("--port is %d; a port is between 0 and 65535", o.Port)
	}
	if o.Timeout <= 0 {
		return usageErrorf("--timeout must be above 0")
	}
	var err error
	if o.timeRange, err = newGrafanaRange(o.From, o.To, time.Now()); err != nil {
		return &ExitError{Code: ExitUsage, Err: err}
	}
	return nil
}

// kubectl is a kubectl command for the cluster that the flags name.
func (o *ObserveOpenOptions) kubectl(format string, args ...any) string {
	command := "kubectl"
	if c := o.Config.Context; c != nil && *c != "" {
		command += " --context " + *c
	}
	if k := o.Config.KubeConfig; k != nil && *k != "" {
		command += " --kubeconfig " + *k
	}
	return command + " " + fmt.Sprintf(format, args...)
}
