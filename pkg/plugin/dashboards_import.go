package plugin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
)

// DashboardsImportOptions are the flags of "kubectl triton dashboards import".
type DashboardsImportOptions struct {
	genericiooptions.IOStreams
	grafanaFlags
	outputFlag
	Files     []string
	Folder    string
	Overwrite bool
}

const dashboardImportSchema = "kubectl-triton/dashboards-import/v1"

type dashboardImport struct {
	Schema   string              `json:"schema"`
	Imported []importedDashboard `json:"imported"`
}

type importedDashboard struct {
	File    string `json:"file"`
	UID     string `json:"uid"`
	Title   string `json:"title"`
	Version int    `json:"version"`
	Action  string `json:"action"` // created or updated
}

func newDashboardsImportCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &DashboardsImportOptions{IOStreams: streams, grafanaFlags: newGrafanaFlags()}
	cmd := &cobra.Command{
		Use:   "import [FILE…]",
		Short: "Store dashboards in Grafana, to look at or to edit there",
		Long: `Store dashboards in Grafana, to look at or to edit there.

Without a file these are the dashboards that the plugin ships. All files are
read before anything is stored. A dashboard that Grafana
provisions from a file or ConfigMap is not touched, since it would be put back;
one that is there otherwise is replaced only with --overwrite.`,
		Example: `  # those of the plugin, into a Grafana that doesn't load ConfigMaps
  kubectl triton dashboards import --folder Triton

  # your own
  kubectl triton dashboards import dashboards/*.json --folder Triton --overwrite`,
		RunE: runDashboards(o.Complete, o.Validate, o.Run),
	}
	f := cmd.Flags()
	f.StringVar(&o.Folder, "folder", o.Folder, "title or uid of the folder, made if there is none (default where the dashboard is, else the root)")
	f.BoolVar(&o.Overwrite, "overwrite", o.Overwrite, "replace dashboards that are there under the same uid")
	o.grafanaFlags.addFlags(f)
	o.outputFlag.addFlags(f)
	return cmd
}

// Complete takes the arguments.
func (o *DashboardsImportOptions) Complete(args []string) { o.Files = args }

// Validate refuses what can't be meant.
func (o *DashboardsImportOptions) Validate() error {
	return errors.Join(o.outputFlag.validate(), o.grafanaFlags.validate())
}

// candidate is a file that is about to be imported.
type candidate struct {
	file, uid, title string
	model            []byte
	exists           bool
	folder           string // uid of the one that it is in
}

// Run stores the dashboards. What was stored before an error is printed.
func (o *DashboardsImportOptions) Run(ctx context.Context) error {
	candidates, err := o.read()
	if err != nil {
		return err
	}
	client, done, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	for i := range candidates {
		if err := o.check(ctx, client, &candidates[i]); err != nil {
			return err
		}
	}
	folder, err := findOrMakeFolder(ctx, client, o.Folder)
	if err != nil {
		return err
	}
	result := dashboardImport{Schema: dashboardImportSchema, Imported: []importedDashboard{}}
	for _, c := range candidates {
		saved, saveErr := client.SaveDashboard(ctx, c.model, cmp.Or(folder, c.folder), o.Overwrite, "kubectl triton dashboards import")
		if saveErr != nil {
			err = fmt.Errorf("could not import %s: %w", c.file, saveErr)
			break
		}
		action := "created"
		if c.exists {
			action = "updated"
		}
		result.Imported = append(result.Imported, importedDashboard{File: c.file, UID: saved.UID, Title: c.title, Version: saved.Version, Action: action})
	}
	return errors.Join(o.print(o.IOStreams, result, func() error {
		rows := [][]string{{"FILE", "UID", "VERSION", "ACTION"}}
		for _, d := range result.Imported {
			rows = append(rows, []string{d.File, d.UID, fmt.Sprint(d.Version), d.Action})
		}
		return printTable(o.Out, rows, func(r *lipgloss.Renderer, _ string) lipgloss.Style { return r.NewStyle() })
	}), err)
}

// read loads and cleans all files. A copy in Grafana's database is there to be
// edited; export takes that back.
func (o *DashboardsImportOptions) read() ([]candidate, error) {
	type source struct {
		file string
		data []byte
	}
	var sources []source
	for _, file := range o.Files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("could not read the dashboard: %w", err)
		}
		sources = append(sources, source{file, data})
	}
	if len(sources) == 0 {
		for _, d := range assets.Dashboards() {
			sources = append(sources, source{d.File, d.JSON})
		}
	}
	var candidates []candidate
	for _, s := range sources {
		file, data := s.file, s.data
		d, err := dashboard.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s can't be imported: %w", file, err)
		}
		if i := slices.IndexFunc(candidates, func(c candidate) bool { return d.UID != "" && c.uid == d.UID }); i >= 0 {
			return nil, fmt.Errorf("%s and %s have the same uid %q; give one of them another", candidates[i].file, file, d.UID)
		}
		clean, err := dashboard.Clean(data)
		if err != nil {
			return nil, fmt.Errorf("%s can't be imported: %w", file, err)
		}
		model, err := editable(clean)
		if err != nil {
			return nil, fmt.Errorf("%s can't be imported: %w", file, err)
		}
		candidates = append(candidates, candidate{file: file, uid: d.UID, title: d.Title, model: model})
	}
	return candidates, nil
}

func editable(model []byte) ([]byte, error) {
	var tree map[string]json.RawMessage
	if err := json.Unmarshal(model, &tree); err != nil {
		return nil, err
	}
	tree["editable"] = json.RawMessage("true")
	return json.Marshal(tree)
}

// check refuses what Grafana would refuse, or undo, before anything is stored.
func (o *DashboardsImportOptions) check(ctx context.Context, client *grafana.Client, c *candidate) error {
	if c.uid == "" {
		return nil // Grafana makes one
	}
	there, err := client.DashboardByUID(ctx, c.uid)
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	case there.Provisioned:
		return fmt.Errorf("%s is not imported: Grafana provisions the dashboard %q (%s) from a file, and would put that back; change the ConfigMap that it comes from, or give the file another uid and title", c.file, c.uid, there.Title)
	case !o.Overwrite:
		return fmt.Errorf("%s is not imported: the dashboard %q (%s) is in Grafana's folder %s already; replace it with --overwrite, or give the file another uid and title", c.file, c.uid, there.Title, cmp.Or(there.Folder, "General"))
	}
	c.exists, c.folder = true, there.FolderUID
	return nil
}

// findOrMakeFolder returns the uid of the folder with that title or uid.
func findOrMakeFolder(ctx context.Context, client *grafana.Client, name string) (uid string, err error) {
	if name == "" {
		return "", nil
	}
	folders, err := client.Folders(ctx)
	if err != nil {
		return "", err
	}
	for _, f := range folders {
		if f.Title == name || f.UID == name {
			return f.UID, nil
		}
	}
	made, err := client.CreateFolder(ctx, name)
	return made.UID, err
}
