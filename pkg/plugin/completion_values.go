package plugin

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/triton"
)

// completionTimeout bounds what a press of the Tab key may take.
const completionTimeout = 2 * time.Second

// completer gives the values that a word of the command line can have. What
// can't be found out gives none: nobody reads an error there.
type completer func(ctx context.Context, words *commandWords) []string

// commandWords are the command whose line is completed, with the flags that are
// on the line already.
type commandWords struct {
	cmd  *cobra.Command
	args []string
}

// addCompletions gives all commands below cmd their completions, by the names of
// flags and arguments. A command's own come first.
func addCompletions(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if complete, files := flagCompleter(f); complete != nil {
			// It fails only for a flag that has one.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, complete.cobra(files))
		}
	})
	if complete := argumentCompleter(cmd); complete != nil && cmd.ValidArgs == nil && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = complete.cobra(false)
	}
	for _, c := range cmd.Commands() {
		addCompletions(c)
	}
}

// cobra fits a completer into the library; files says that a file's name can
// stand there as well.
func (c completer) cobra(files bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTimeout)
		defer cancel()
		directive := cobra.ShellCompDirectiveNoFileComp
		if files {
			directive = cobra.ShellCompDirectiveDefault
		}
		var fit []string
		for _, v := range c(ctx, &commandWords{cmd: cmd, args: args}) {
			if strings.HasPrefix(v, toComplete) && !slices.Contains(args, v) {
				fit = append(fit, v)
			}
		}
		return fit, directive
	}
}

// flagCompleter is the completer of a flag: by its name, else by the choices that
// its description lists.
func flagCompleter(f *pflag.Flag) (c completer, files bool) {
	named := map[string]completer{
		"namespace":       completeNamespaces,
		"stack-namespace": completeNamespaces,
		"context":         completeConfig(func(c *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.Contexts)) }),
		"cluster":         completeConfig(func(c *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.Clusters)) }),
		"user":            completeConfig(func(c *clientcmdapi.Config) []string { return slices.Sorted(maps.Keys(c.AuthInfos)) }),
		"service":         completeServices,
		"pod":             completePods,
		"model":           completeModels,
		"dashboard":       completeDashboards,
	}
	if c := named[f.Name]; c != nil {
		return c, false
	}
	if choices, files := choicesIn(f.Usage); len(choices) > 0 {
		return func(context.Context, *commandWords) []string { return choices }, files
	}
	return nil, false
}

// choicesIn reads the choices that a flag's description ends in: "constant or
// poisson", "text, json or yaml", "random, zero, or a JSON file". So help and
// completion can't differ. files says that a file is one of them.
func choicesIn(usage string) (choices []string, files bool) {
	if i := strings.LastIndex(usage, ": "); i >= 0 {
		usage = usage[i+2:]
	}
	usage, _, _ = strings.Cut(usage, " (")
	first, last, found := strings.Cut(usage, " or ")
	choices = strings.Split(strings.TrimSuffix(first, ","), ", ")
	if !found || slices.ContainsFunc(choices, func(c string) bool { return !oneWord(c) }) {
		return nil, false
	}
	switch {
	case oneWord(last):
		return append(choices, last), false
	case strings.Contains(last, " file"):
		return choices, true
	}
	return nil, false
}

func oneWord(text string) bool {
	return text != "" && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// argumentCompleter is the completer of a command's arguments, by what its use
// calls them.
func argumentCompleter(cmd *cobra.Command) completer {
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	one := func(c completer) completer {
		return func(ctx context.Context, w *commandWords) []string {
			if len(w.args) > 0 {
				return nil
			}
			return c(ctx, w)
		}
	}
	switch arguments {
	case "MODEL", "[MODEL]":
		return one(completeModels)
	case "[MODEL…]":
		return completeModels
	case "[NODE…]":
		return completeNodes
	case "UID":
		return one(completeDashboards)
	}
	return nil
}

// config are the connection flags of the line.
func (w *commandWords) config() *genericclioptions.ConfigFlags {
	config := genericclioptions.NewConfigFlags(false)
	into := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.AddFlags(into)
	w.cmd.Flags().Visit(func(f *pflag.Flag) {
		target := into.Lookup(f.Name)
		if target == nil {
			return
		}
		// Values that the line's own flag took, this one takes too.
		if from, ok := f.Value.(pflag.SliceValue); ok {
			if to, ok := target.Value.(pflag.SliceValue); ok {
				_ = to.Replace(from.GetSlice())
			}
			return
		}
		_ = into.Set(f.Name, f.Value.String())
	})
	return config
}

func (w *commandWords) value(flag string) string {
	if f := w.cmd.Flags().Lookup(flag); f != nil {
		return f.Value.String()
	}
	return ""
}

func (w *commandWords) connect() (*cluster, error) { return connect(w.config()) }

func completeConfig(names func(*clientcmdapi.Config) []string) completer {
	return func(_ context.Context, w *commandWords) []string {
		raw, err := w.config().ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil
		}
		return names(&raw)
	}
}

func completeNamespaces(ctx context.Context, w *commandWords) []string {
	c, err := w.connect()
	if err != nil {
		return nil
	}
	list, err := c.client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	return names
}

func completeNodes(ctx context.Context, w *commandWords) []string {
	c, err := w.connect()
	if err != nil {
		return nil
	}
	found, err := c.surveyGPUs(ctx, nil)
	if err != nil {
		return nil
	}
	var names []string
	for _, n := range found.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// completeServices gives the Services that lead to Triton, those of the default
// namespace unless the line names one.
func completeServices(ctx context.Context, w *commandWords) []string {
	c, err := w.connect()
	if err != nil {
		return nil
	}
	namespace := w.value("namespace")
	if namespace == "" {
		namespace = DefaultNamespace
	}
	services, _, _, err := c.tritonServices(ctx, namespace)
	if err != nil {
		return nil
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	return names
}

func completePods(ctx context.Context, w *commandWords) []string {
	c, err := w.connect()
	if err != nil {
		return nil
	}
	svc, err := c.findTriton(ctx, w.value("namespace"), w.value("service"), w.value("port"))
	if err != nil {
		return nil
	}
	var names []string
	if c.eachPod(ctx, svc.Namespace, svc.Selector, func(p *corev1.Pod) { names = append(names, p.Name) }) != nil {
		return nil
	}
	return names
}

// completeModels asks one ready pod of the Triton for its models; those that are
// ready, except where a model is to be loaded.
func completeModels(ctx context.Context, w *commandWords) []string {
	c, err := w.connect()
	if err != nil {
		return nil
	}
	o := newModelsFlags(completionTimeout)
	o.Config, o.Service, o.Port, o.Pod = w.config(), w.value("service"), w.value("port"), w.value("pod")
	t, err := c.openModels(ctx, &o)
	if err != nil {
		return nil
	}
	defer t.dialer.Close()
	var index []triton.ModelIndex
	for _, p := range t.pods {
		if p.Ready {
			if index, err = t.index(ctx, p.Pod); err == nil {
				break
			}
		}
	}
	unready := slices.Contains([]string{"load", "models", "list"}, w.cmd.Name())
	var names []string
	for _, m := range index {
		if (unready || m.Ready()) && !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

func completeDashboards(context.Context, *commandWords) []string {
	var uids []string
	for _, d := range assets.Dashboards() {
		uids = append(uids, d.UID)
	}
	return uids
}
