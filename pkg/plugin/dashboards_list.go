package plugin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubectl-triton/kubectl-triton/assets"
	"github.com/kubectl-triton/kubectl-triton/pkg/dashboard"
	"github.com/kubectl-triton/kubectl-triton/pkg/grafana"
	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// DashboardsListOptions are the flags of "kubectl triton dashboards list".
type DashboardsListOptions struct {
	genericiooptions.IOStreams
	grafanaFlags
	outputFlag
}

// The states of a dashboard, seen from what the plugin ships.
const (
	dashboardCurrent = "current" // shipped, and the same in Grafana
	dashboardDiffers = "differs" // shipped, and another in Grafana
	dashboardMissing = "missing" // shipped, and not in Grafana
	dashboardUnknown = "unknown" // shipped; Grafana could not be asked
	dashboardOther   = "other"   // not shipped
)

const dashboardListSchema = "kubectl-triton/dashboards/v1"

type dashboardList struct {
	Schema     string            `json:"schema"`
	Dashboards []listedDashboard `json:"dashboards"`
}

type listedDashboard struct {
	UID         string `json:"uid"`
	Title       string `json:"title"`
	Folder      string `json:"folder,omitempty"` // empty when it is not in Grafana
	Shipped     bool   `json:"shipped"`
	Provisioned bool   `json:"provisioned"`
	State       string `json:"state"`
}

func newDashboardsListCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &DashboardsListOptions{IOStreams: streams, grafanaFlags: newGrafanaFlags()}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dashboards that the plugin ships and those in Grafana",
		Long: `List the dashboards that the plugin ships and those in Grafana.

The state of one that is shipped is current (the same in Grafana), differs,
missing, or unknown when Grafana can't be asked. Ids, versions, data sources and
chosen values make no difference.`,
		Example: `  kubectl triton dashboards list`,
		Args:    cobra.NoArgs,
		RunE:    runDashboards(func([]string) {}, o.Validate, o.Run),
	}
	o.grafanaFlags.addFlags(cmd.Flags())
	o.outputFlag.addFlags(cmd.Flags())
	return cmd
}

// Validate refuses what can't be meant.
func (o *DashboardsListOptions) Validate() error {
	return errors.Join(o.outputFlag.validate(), o.grafanaFlags.validate())
}

// Run prints the list. Without Grafana it still prints what is shipped, and
// returns the reason.
func (o *DashboardsListOptions) Run(ctx context.Context) error {
	client, done, err := o.connect(ctx)
	var list []listedDashboard
	if err == nil {
		defer done()
		list, err = listDashboards(ctx, client)
	}
	if err != nil {
		list = shippedDashboards()
	}
	slices.SortStableFunc(list, func(a, b listedDashboard) int {
		return cmp.Or(-cmp.Compare(btoi(a.Shipped), btoi(b.Shipped)), cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.Title, b.Title), cmp.Compare(a.UID, b.UID))
	})
	printed := o.print(o.IOStreams, dashboardList{Schema: dashboardListSchema, Dashboards: list}, func() error { return printDashboards(o.Out, list) })
	return errors.Join(printed, err)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func shippedDashboards() []listedDashboard {
	var list []listedDashboard
	for _, d := range assets.Dashboards() {
		list = append(list, listedDashboard{UID: d.UID, Title: d.Title, Shipped: true, State: dashboardUnknown})
	}
	return list
}

func listDashboards(ctx context.Context, client *grafana.Client) ([]listedDashboard, error) {
	hits, err := client.SearchDashboards(ctx, "")
	if err != nil {
		return nil, err
	}
	list := shippedDashboards()
	for i, d := range assets.Dashboards() {
		l := &list[i]
		there, err := client.DashboardByUID(ctx, d.UID)
		if isNotFound(err) {
			l.State = dashboardMissing
			continue
		}
		if err != nil {
			return nil, err
		}
		l.Title, l.Folder, l.Provisioned, l.State = there.Title, there.Folder, there.Provisioned, dashboardDiffers
		if sameDashboard(d.JSON, there.Model) {
			l.State = dashboardCurrent
		}
	}
	for _, hit := range hits {
		if slices.ContainsFunc(list, func(l listedDashboard) bool { return l.UID == hit.UID }) {
			continue
		}
		there, err := client.DashboardByUID(ctx, hit.UID)
		if isNotFound(err) {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		list = append(list, listedDashboard{UID: hit.UID, Title: hit.Title, Folder: there.Folder, Provisioned: there.Provisioned, State: dashboardOther})
	}
	return list, nil
}

// sameDashboard compares what remains of two dashboards when they are clean.
func sameDashboard(a, b []byte) bool {
	a, errA := dashboard.Clean(a)
	b, errB := dashboard.Clean(b)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func isNotFound(err error) bool {
	var status *grafana.StatusError
	return errors.As(err, &status) && status.Status == 404
}

func printDashboards(w io.Writer, list []listedDashboard) error {
	rows := [][]string{{"UID", "TITLE", "FOLDER", "PROVISIONED", "STATE"}}
	for _, d := range list {
		provisioned := "no"
		if d.Provisioned {
			provisioned = "yes"
		}
		if d.Folder == "" {
			d.Folder, provisioned = "-", "-"
		}
		rows = append(rows, []string{d.UID, shorten(d.Title, 28), shorten(d.Folder, 20), provisioned, d.State})
	}
	const title, shortest = 1, 12
	if excess := tableWidth(rows) - report.Width; excess > 0 {
		widest := 0
		for _, row := range rows {
			widest = max(widest, lipgloss.Width(row[title]))
		}
		for _, row := range rows {
			row[title] = shorten(row[title], max(shortest, widest-excess))
		}
	}
	return printTable(w, rows, func(r *lipgloss.Renderer, state string) lipgloss.Style {
		switch state {
		case dashboardCurrent:
			return r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "28", Dark: "78"})
		case dashboardDiffers, dashboardMissing, dashboardUnknown:
			return r.NewStyle().Foreground(lipgloss.AdaptiveColor{Light: "130", Dark: "214"})
		}
		return r.NewStyle()
	})
}

// tableWidth is that of printTable's lines.
func tableWidth(rows [][]string) int {
	total := 2 * (len(rows[0]) - 1)
	for i := range rows[0] {
		widest := 0
		for _, row := range rows {
			widest = max(widest, lipgloss.Width(row[i]))
		}
		total += widest
	}
	return total
}

// printTable aligns rows under a bold first one; style is that of the last cell.
func printTable(w io.Writer, rows [][]string, style func(r *lipgloss.Renderer, last string) lipgloss.Style) error {
	r := lipgloss.NewRenderer(w)
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row[:len(row)-1] {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-lipgloss.Width(cell)+2))
		}
		last := row[len(row)-1]
		text := line.String() + style(r, last).Render(last)
		if n == 0 {
			text = r.NewStyle().Bold(true).Render(line.String() + last)
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func shorten(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}
